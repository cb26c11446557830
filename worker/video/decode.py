"""Read the pictures of a video file, and say honestly how far that went."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import NamedTuple

import av

from shoal.errors import CheckpointUnusable, NoFrames
from worker.video.clock import Clock, Spacing
from worker.video.colour import colours_of
from worker.video.completeness import Completeness
from worker.video.crop import container_crop
from worker.video.demux import AnyPacket, Demuxer
from worker.video.frame import VideoInfo
from worker.video.pictures import plain_packet
from worker.video.planes import Decoded, orientation_of
from worker.video.position import Key, Mark
from worker.video.probe import WITHOUT_TIMES, VideoLimits, raw_rate
from worker.video.timeline import SIGNALS

MAX_THREADS = 8  # each holds a few decoded pictures

# Pictures that are decoded before the first one is given out: how they follow each other shows how
# far apart they are, and whether they come in the order of their stamps.
HEAD_PICTURES, HEAD_BYTES = 12, 64 << 20

BELIEVED = 1.25  # by how much an announced rate may differ from that of the first pictures

# How far before a picture to look for a key frame. Formats without an index, such as MPEG-TS, are
# entered anywhere, and the next key frame may then come too late.
SEEK_BACK_S = (0, 2, 10, 60)
SEAM_PACKETS = 3  # before a seam in which FFmpeg may find its traces
MAX_DISORDER = 17  # pictures that may come between one and its place: the most of H.264 and HEVC


class Timed(NamedTuple):
    """A picture, its time in seconds since the first, and the place after it."""

    picture: av.VideoFrame
    time_s: float
    mark: Mark


class VideoFile:
    """The pictures of one video file, in presentation order.

    Attributes:
        info: size and rotation of the first picture, the rest as announced.
        missing_s: seconds that were announced but could not be read; known at the end.
        truncated: whether that is more than is tolerated; refused unless allowed.
        left_out: what of the file was not read, each in a sentence; all known at the end.
    """

    def __init__(self, path: Path, limits: VideoLimits, *, allow_truncated: bool = False) -> None:
        """Open the file and decode its first pictures.

        Raises:
            SourceNotFound, NotAVideo, AudioOnly, NoFrames, TruncatedVideo, VideoTooLarge: as far
            as that shows at the start.
        """
        self.missing_s = 0.0
        self.truncated = False
        self.left_out: tuple[str, ...] = ()
        self._path = path
        self._limits = limits
        self._delay: int | None = None  # see _stamp
        self._open()
        try:
            self._complete = Completeness(self._demuxer, path, limits, allow=allow_truncated)
            self._complete.check_announced(self._demuxer)
            head = self._read_head()
            self._zero = self._take_zero(head)
            crop = container_crop(path, self._stream)
            self._orientation = orientation_of(head[0])._replace(crop=crop)
            self.info = self._describe(head)
        except BaseException:
            self.close()
            raise
        self._clock = self._new_clock()
        self._decoded_ahead = self._look_ahead()

    def _open(self) -> None:
        """Begin to read the file, at its start."""
        self._errors = 0  # packets that were damaged or could not be decoded
        self._lost = 0  # packets that could not be decoded, from the first picture on
        self._demuxer = Demuxer(self._path, self._limits)
        self._stream = self._demuxer.video
        base = self._stream.time_base or Fraction(0)
        self._tick_s = base.numerator, base.denominator
        self._mark = Mark(-1)
        self._decoded: Iterator[av.VideoFrame] = self._decode(self._demuxer.pictures())

    def _reopen(self) -> None:
        self.close()
        self._open()
        self._clock = self._new_clock()
        self._decoded_ahead = self._look_ahead()

    def _new_clock(self) -> Clock:
        return Clock(1 / self.info.fps if self.info.fps else 0.0, self._limits)

    def pictures(self) -> Iterator[Decoded]:
        """Yield the pictures that are left; all are turned as the first one must be.

        One more than is yielded is decoded, since a picture lasts until the next.

        Raises:
            UnsupportedFrameRate, VideoTooLarge: as soon as they show.
            TruncatedVideo: at the end, unless allowed.
        """
        for decoded in self._decoded_ahead:  # noqa: UP028  # 'yield from' would close it
            yield decoded

    @property
    def decode_errors(self) -> int:
        """Packets so far that were damaged or could not be decoded.

        What a signal lost without a trace shows in that pictures are missing.
        """
        holes = self._clock.holes if self._demuxer.format in SIGNALS else 0
        return max(self._errors, holes)

    def mark(self) -> Mark:
        """The place after the picture yielded last."""
        return self._mark

    def skip_to(self, index: int, on_picture: Callable[[], None]) -> None:
        """Decode and drop the pictures before this one; see ``Reader.skip_to``."""
        for _ in islice(self.pictures(), max(0, index - 1 - self._mark.index)):
            on_picture()

    def resume(
        self, mark: Mark, is_it: Callable[[Decoded], bool], on_picture: Callable[[], None]
    ) -> None:
        """Read on after a place of an earlier run; see ``Reader.resume``.

        By the picture's timestamp, if that is unique and leads to the very same picture; else by
        counting from the start.
        """
        if self._seek(mark, is_it, on_picture):
            return
        self._reopen()
        self.skip_to(mark.index + 1, on_picture)
        if self._mark.index < mark.index:
            raise CheckpointUnusable(f"{self._path.name} ends before picture {mark.index}")

    def _seek(
        self, mark: Mark, is_it: Callable[[Decoded], bool], on_picture: Callable[[], None]
    ) -> bool:
        """Go to a marked picture from the key frame before; whether that led there."""
        if mark.pts is None or mark.clock is None or not self._enter_before(mark.pts, mark.key):
            return False
        beyond = 0
        for picture in self._decoded:
            on_picture()
            if picture.pts == mark.pts:
                self._mark = mark
                self._clock.resume(mark.clock)
                self._errors, self._lost = mark.decode_errors, mark.lost
                return is_it(Decoded(mark.index, mark.clock.now_s, picture, self._orientation))
            beyond += picture.pts is None or picture.pts > mark.pts
            if beyond > MAX_DISORDER:
                break
        return False

    def _enter_before(self, pts: int, before: Key | None) -> bool:
        """Read on from a key frame at or before a timestamp; whether there is one."""
        for back_s in SEEK_BACK_S:
            self._reopen()
            self._demuxer.timeline.restore(before)
            try:
                target = pts - round(back_s / (self._stream.time_base or 1))
                self._demuxer.container.seek(target, stream=self._stream)
            except av.FFmpegError:
                return False
            packets = self._demuxer.pictures()
            key = next((packet for packet in packets if packet.is_keyframe), None)
            if key is not None and key.pts is not None and key.pts <= pts:
                self._decoded = self._decode(chain([key], packets))
                return True
        return False

    def close(self) -> None:
        self._demuxer.close()

    def _look_ahead(self) -> Iterator[Decoded]:
        """The pictures that are left, each with the time of the next; then judge the whole."""
        timed = self._timed()
        held = next(timed, None)
        while held is not None:
            following = next(timed, None)
            until_s = following.time_s if following else self._end_s(held.time_s)
            self._mark = held.mark
            yield Decoded(
                held.mark.index,
                held.time_s,
                held.picture,
                self._orientation,
                until_s=until_s,
                is_last=following is None,
            )
            held = following
        self._clock.finish()
        step_s, read_s = self._clock.step_s, self._clock.now_s + self._clock.step_s
        self.missing_s = self._complete.missing_s(self._demuxer, read_s, self._lost * step_s)
        self.left_out = self._complete.left_out(self._demuxer)
        self.truncated = self._complete.refuse_if_short(read_s)

    def _timed(self) -> Iterator[Timed]:
        for picture in self._decoded:
            stamp = self._stamp(picture)
            time_s = self._clock.tick(self._time_s(stamp))
            yield Timed(picture, time_s, self._mark_after(picture))

    def _time_s(self, stamp: int | None) -> float | None:
        """Seconds since the first picture by a stamp; by their number where there are none."""
        if self._demuxer.format in WITHOUT_TIMES:
            return self._clock.frames / (self.info.fps or 25)
        return None if stamp is None else self._seconds(stamp - self._zero)

    def _mark_after(self, picture: av.VideoFrame) -> Mark:
        clock = self._clock
        is_unique = clock.is_sound or self._delay is not None
        pts = picture.pts if is_unique and not self._demuxer.timeline.seams else None
        key = self._demuxer.timeline.key_of(pts) if pts is not None else None
        return Mark(clock.frames - 1, pts, clock.state(), self._errors, self._lost, key)

    def _end_s(self, last_s: float) -> float:
        """When the last picture has been shown."""
        end_s = self._demuxer.timeline.end_s - self._seconds(self._zero)
        end_s = max(end_s, self._complete.static_end_s(self._demuxer, end_s))
        return end_s if end_s > last_s else last_s + (self._clock.step_s or 0.04)

    def _stamp(self, picture: av.VideoFrame) -> int | None:
        """When a picture is shown.

        Where pictures do not come in the order of their stamps, those are of decoding. As FFmpeg
        does, the time is then that of the packet that the decoder was given when the picture came
        out, less the time that the first one took (``guess_correct_pts``, libavcodec).
        """
        if self._delay is None:
            return picture.pts
        return picture.dts - self._delay if picture.dts is not None else None

    def _decode(self, packets: Iterable[AnyPacket]) -> Iterator[av.VideoFrame]:
        decoder = self._stream.codec_context
        decoder.thread_type = "AUTO"
        decoder.thread_count = min(os.cpu_count() or 1, MAX_THREADS)
        decoder.options = self._limits.decoder_options
        has_picture, seams = False, 0
        recent: deque[bool] = deque(maxlen=SEAM_PACKETS)
        for packet in packets:
            damaged = packet.is_corrupt
            if self._demuxer.timeline.seams > seams:  # what looks damaged there is the seam itself
                seams, damaged = self._demuxer.timeline.seams, False
                self._errors -= sum(recent)
            recent.append(damaged)
            self._errors += damaged
            try:
                pictures = decoder.decode(plain_packet(packet, decoder.name))
            except av.FFmpegError:
                self._errors += not damaged
                self._lost += has_picture
                continue
            has_picture = has_picture or bool(pictures)
            yield from pictures
        # What is left inside; each of its threads may still report an error of its own.
        for _ in range(2 * MAX_THREADS):
            try:
                yield from decoder.decode(None)
                return
            except av.error.EOFError:
                return
            except av.FFmpegError:
                self._errors += 1
                self._lost += 1

    def _read_head(self) -> list[av.VideoFrame]:
        """The first pictures, which are also the first of ``_decoded``."""
        head = list(islice(self._decoded, 1))
        if not head:
            counted = self._demuxer.counted
            raise NoFrames(f"{self._path.name}: none of its {counted} packets is a picture")
        size = head[0].width * head[0].height * 3 // 2
        head += islice(self._decoded, max(1, min(HEAD_PICTURES, HEAD_BYTES // max(1, size)) - 1))
        self._decoded = chain(head, self._decoded)
        return head

    def _take_zero(self, head: list[av.VideoFrame]) -> int:
        """The stamp of the first picture, and whether stamps are of decoding."""
        first = head[0]
        shown = [picture.pts for picture in head if picture.pts is not None]
        is_disordered = any(later < earlier for earlier, later in pairwise(shown))
        if (self._demuxer.format == "avi" or is_disordered) and first.dts is not None:
            self._delay = first.dts - (first.pts if first.pts is not None else first.dts)
        zero = first.pts if first.pts is not None else self._stamp(first)
        self._complete.begin(self._seconds(zero or 0), self._demuxer.timeline)
        return zero or 0

    def _describe(self, head: list[av.VideoFrame]) -> VideoInfo:
        stream = self._stream
        width, height = self._orientation.size(head[0])
        self._limits.check_size(width, height)
        aspect = stream.sample_aspect_ratio or Fraction(1)  # unknown is 0 or None
        return VideoInfo(
            width=width,
            height=height,
            fps=self._fps(head),
            duration_s=self._complete.announced_s,
            frames=stream.frames,
            codec=stream.codec_context.name,
            rotation=self._orientation.degrees,
            pixel_aspect=1 / aspect if self._orientation.transpose else aspect,
            start_s=self._seconds(self._zero),
            colours=colours_of(head[0]),
        )

    def _fps(self, head: list[av.VideoFrame]) -> float:
        """The announced rate, if the first pictures do not contradict it."""
        if rate := raw_rate(self._stream):
            return float(rate)
        announced = float(self._stream.average_rate or self._stream.guessed_rate or 0)
        spacing = Spacing()
        for earlier, later in pairwise(self._stamp(picture) for picture in head):
            if earlier is not None and later is not None and later > earlier:
                spacing.add(self._seconds(later - earlier))
        if not spacing.step_s or (self._demuxer.is_mp4 and announced):
            return announced
        measured = 1 / spacing.step_s
        is_believed = measured / BELIEVED <= announced <= measured * BELIEVED
        return announced if is_believed else measured

    def _seconds(self, stamp: int) -> float:
        return stamp * self._tick_s[0] / self._tick_s[1]
