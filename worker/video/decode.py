"""Read the pictures of a video file, and say honestly how far that went."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import Any

import av
from av.packet import Packet

from shoal.errors import CheckpointUnusable, NoFrames, TruncatedVideo
from worker.video.clock import Clock
from worker.video.frame import VideoInfo
from worker.video.planes import Decoded, orientation_of
from worker.video.position import Mark
from worker.video.probe import Limits, open_container

MAX_THREADS = 8  # each holds a few decoded pictures

# A file may end this much before what it announces: rounding, a last packet without duration.
TOLERATED_S = 1.0
TOLERATED_SHARE = 0.02

# How far before a picture to look for a key frame. Formats without an index, such as MPEG-TS, are
# entered anywhere, and the next key frame may then come too late.
SEEK_BACK_S = (0, 2, 10, 60)


class VideoFile:
    """The pictures of one video file, in presentation order.

    Attributes:
        info: size and rotation of the first picture, the rest as announced.
        decode_errors: packets that could not be decoded and were skipped.
        missing_s: seconds that were announced but could not be read; known at the end.
        truncated: whether that is more than is tolerated; refused unless allowed.
    """

    def __init__(self, path: Path, limits: Limits, *, allow_truncated: bool = False) -> None:
        """Open the file and decode its first picture.

        Raises:
            SourceNotFound, NotAVideo, AudioOnly, NoFrames, TruncatedVideo, VideoTooLarge: as far
            as that shows at the start.
        """
        self.missing_s = 0.0
        self.truncated = False
        self._path = path
        self._limits = limits
        self._allow_truncated = allow_truncated
        self._decoded: Iterator[av.VideoFrame]
        self._open()
        try:
            self._check_announced(path.stat().st_size)
            first = list(islice(self._decoded, 2))
            if not first:
                raise NoFrames(f"{path.name}: none of its {self._packets} packets is a picture")
            self._decoded = chain(first, self._decoded)
            self._orientation = orientation_of(first[0])
            self.info = self._describe(first)
        except BaseException:
            self.close()
            raise
        self._clock = self._new_clock()

    def _open(self) -> None:
        """Begin to read the file, at its start."""
        self.decode_errors = 0
        self._packets = 0  # of the video stream, read so far
        self._end_s = 0.0  # latest end of a packet of any stream
        self._pts: int | None = None  # of the picture yielded last
        self._container, self._stream = open_container(self._path, self._limits)
        self._decoded = self._decode(self._read_packets())

    def _new_clock(self) -> Clock:
        return Clock(1 / self.info.fps if self.info.fps else 0.0, self._limits)

    def pictures(self) -> Iterator[Decoded]:
        """Yield the pictures that are left; all are turned as the first one must be.

        Raises:
            UnsupportedFrameRate, VideoTooLarge: as soon as they show.
            TruncatedVideo: at the end, unless allowed.
        """
        clock = self._clock
        for picture in self._decoded:
            self._pts = picture.pts
            time_s = clock.tick(self._time_s(picture))
            yield Decoded(clock.frames - 1, time_s, picture, self._orientation)
        clock.finish()
        self._check_complete(clock.frames, clock.now_s + clock.step_s)

    def mark(self) -> Mark:
        """The place after the picture yielded last."""
        clock = self._clock
        pts = self._pts if clock.is_sound else None
        return Mark(clock.frames - 1, pts, clock.state(), self.decode_errors)

    def skip_to(self, index: int, on_picture: Callable[[], None]) -> None:
        """Decode and drop the pictures before this one; see ``Reader.skip_to``."""
        for _ in islice(self.pictures(), max(0, index - self._clock.frames)):
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
        if self._clock.frames <= mark.index:
            raise CheckpointUnusable(f"{self._path.name} ends before picture {mark.index}")

    def _seek(
        self, mark: Mark, is_it: Callable[[Decoded], bool], on_picture: Callable[[], None]
    ) -> bool:
        """Go to a marked picture from the key frame before; whether that led there."""
        if mark.pts is None or mark.clock is None or not self._enter_before(mark.pts):
            return False
        for picture in self._decoded:
            on_picture()
            if picture.pts == mark.pts:
                self._pts = mark.pts
                self._clock.resume(mark.clock)
                self.decode_errors = mark.decode_errors
                return is_it(Decoded(mark.index, mark.clock.now_s, picture, self._orientation))
            if picture.pts is None or picture.pts > mark.pts:
                break
        return False

    def _enter_before(self, pts: int) -> bool:
        """Read on from a key frame at or before a timestamp; whether there is one."""
        for back_s in SEEK_BACK_S:
            self._reopen()
            try:
                target = pts - round(back_s / (self._stream.time_base or 1))
                self._container.seek(target, stream=self._stream)
            except av.FFmpegError:
                return False
            packets = self._read_packets()
            key = next((packet for packet in packets if packet.is_keyframe), None)
            if key is not None and key.pts is not None and key.pts <= pts:
                if self._announced_packets and key.dts is not None:
                    before = self._stream.index_entries.search_timestamp(key.dts)
                    self._packets = before + 1
                self._decoded = self._decode(chain([key], packets))
                return True
        return False

    def _reopen(self) -> None:
        self.close()
        self._open()
        self._clock = self._new_clock()

    def close(self) -> None:
        self._container.close()

    def _check_announced(self, file_size: int) -> None:
        stream = self._stream
        self._limits.check_size(stream.codec_context.width, stream.codec_context.height)
        self._limits.check_duration(max(self._stream_s, self._container_s))
        if self._announced_packets:
            # An index that points beyond the file: refuse it now, not after hours of tracking.
            entries, beyond = stream.index_entries, 0
            while beyond < len(entries):
                entry = entries[len(entries) - 1 - beyond]
                if entry.pos + entry.size <= file_size:
                    break
                beyond += 1
            share = beyond / self._announced_packets
            self._refuse_if_short(share * self._stream_s, self._stream_s)

    def _check_complete(self, frames: int, read_s: float) -> None:
        """Compare what was read with what was announced, by the best measure the format has."""
        spacing_s = read_s / frames
        undecodable_s = self.decode_errors * spacing_s
        if self._announced_packets:
            missing_s = (self._announced_packets - self._packets) * spacing_s + undecodable_s
        elif self._stream_s:
            missing_s = self._stream_s - read_s
        else:  # the picture may rightly end before the sound
            missing_s = self._container_s - self._end_s + undecodable_s if self._container_s else 0
        self.missing_s = max(0.0, round(missing_s, 3))
        self._refuse_if_short(self.missing_s, read_s + self.missing_s)

    def _refuse_if_short(self, missing_s: float, announced_s: float) -> None:
        tolerated_s = max(TOLERATED_S, TOLERATED_SHARE * announced_s)
        self.truncated = missing_s > tolerated_s
        if self.truncated and not self._allow_truncated:
            raise TruncatedVideo(
                f"{self._path.name} announces {announced_s:.1f} s of video, "
                f"the last {missing_s:.1f} s of it cannot be read"
            )

    @property
    def _announced_packets(self) -> int:
        """What the index of an mp4 lists, edits applied; 0 in formats without such an index.

        A fragmented mp4 announces no frames: its index grows while it is read.
        """
        is_mp4 = "mp4" in self._container.format.name
        return len(self._stream.index_entries) if is_mp4 and self._stream.frames else 0

    @property
    def _stream_s(self) -> float:
        """Announced seconds of the video stream, 0 if unknown."""
        return float((self._stream.duration or 0) * (self._stream.time_base or 0))

    @property
    def _container_s(self) -> float:
        """Announced seconds of the longest stream, 0 if unknown."""
        return (self._container.duration or 0) / av.time_base

    def _decode(self, packets: Iterable[Packet[Any]]) -> Iterator[av.VideoFrame]:
        decoder = self._stream.codec_context
        decoder.thread_type = "AUTO"
        decoder.thread_count = min(os.cpu_count() or 1, MAX_THREADS)
        decoder.options = self._limits.decoder_options
        for packet in packets:
            try:
                yield from decoder.decode(packet)
            except av.FFmpegError:
                self.decode_errors += 1
        # What is left inside; each of its threads may still report an error of its own.
        for _ in range(2 * MAX_THREADS):
            try:
                yield from decoder.decode(None)
                return
            except av.error.EOFError:
                return
            except av.FFmpegError:
                self.decode_errors += 1

    def _read_packets(self) -> Iterator[Packet[Any]]:
        start_s = (self._container.start_time or 0) / av.time_base
        try:
            for packet in self._container.demux():
                if not packet.size:
                    continue
                if packet.pts is not None:
                    end_s = float((packet.pts + (packet.duration or 0)) * packet.time_base)
                    self._end_s = max(self._end_s, end_s - start_s)
                if packet.stream_index == self._stream.index:
                    self._packets += 1
                    yield packet
        except av.FFmpegError:
            return  # nothing beyond can be reached: _check_complete tells how much that is

    def _describe(self, first: list[av.VideoFrame]) -> VideoInfo:
        stream = self._stream
        width, height = self._orientation.size(first[0])
        self._limits.check_size(width, height)
        times = [self._time_s(each) for each in first]
        if stream.average_rate or stream.guessed_rate:
            fps = float(stream.average_rate or stream.guessed_rate or 0)
        elif len(times) == 2 and times[0] is not None and (times[1] or 0) > times[0]:
            fps = 1 / ((times[1] or 0) - times[0])
        else:
            fps = 0.0
        aspect = stream.sample_aspect_ratio or Fraction(1)  # unknown is 0 or None
        return VideoInfo(
            width=width,
            height=height,
            fps=fps,
            duration_s=self._stream_s or self._container_s,
            frames=stream.frames,
            codec=stream.codec_context.name,
            rotation=self._orientation.degrees,
            pixel_aspect=1 / aspect if self._orientation.transpose else aspect,
        )

    def _time_s(self, picture: av.VideoFrame) -> float | None:
        if picture.pts is None or not self._stream.time_base:
            return None
        return float(picture.pts * self._stream.time_base)
