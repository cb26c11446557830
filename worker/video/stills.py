"""A few pictures from anywhere in a video file, without reading the rest of it.

A picture is found by seeking to the key frame before it. Where it is enough that pictures are
spread over the video, that key frame itself is taken: nothing else need be decoded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from typing import Any, BinaryIO, NamedTuple, TypeAlias

import av
from av.packet import Packet

from shoal.errors import NoFrames, VideoBomb
from worker.video.colour import Converter, colours_of
from worker.video.crop import crop_in
from worker.video.decode import SEEK_BACK_S
from worker.video.demux import MAX_FAILURES
from worker.video.pictures import plain_packet
from worker.video.planes import orientation_of, upright
from worker.video.probe import VideoLimits, open_file

AnyPacket: TypeAlias = "Packet[Any]"

REORDERED = 17  # packets after a key frame that may be shown before it: the most of H.264 and HEVC
MAX_TRIMMED = 1000  # packets at the beginning of an mp4 that its edit list may leave out
UNKNOWN_STEP_S = 1.0  # between pictures of a video that does not tell how long it is
MAX_DECODED = 3000  # pictures on the way to those that are wanted, all together
THREADS = 2  # of the decoder; a video may be at work beside it


class Wanted(NamedTuple):
    """Which pictures to take.

    Attributes:
        number: how many, spread over the video; only where there are no ``times_s``.
        times_s: seconds from the first picture on.
        frames: numbers of pictures, which are taken besides, before all others.
    """

    number: int
    times_s: Sequence[float] = ()
    frames: Sequence[int] = ()


class Still(NamedTuple):
    """One picture.

    Attributes:
        number: in the video, from 0; reckoned by time and rate unless ``is_exact``.
        time_s: seconds since the first picture.
        picture: upright 8-bit yuv420p, SDR, tagged as what it is.
        asked: the frame it was taken for, where it was asked for by number.
    """

    number: int
    is_exact: bool
    time_s: float
    picture: av.VideoFrame
    asked: int | None


class StillFile:
    """A video that is read through a seekable file object.

    Attributes:
        fps: mean frames per second, as announced; 0 where unknown.
        duration_s: as announced; 0 where unknown.
    """

    def __init__(self, file: BinaryIO, name: str, limits: VideoLimits) -> None:
        """
        Raises:
            NotAVideo, UnsupportedCodec, AudioOnly, NoFrames, TruncatedVideo, VideoBomb,
            VideoTooLarge: as far as that shows at the start.
        """
        self._container, self._stream = open_file(file, name, limits)
        stream, self._limits = self._stream, limits
        self._tick_s = float(stream.time_base or 0)
        self._start = stream.start_time or 0
        self._is_avi = self._container.format.name == "avi"
        self.fps = float(stream.average_rate or stream.guessed_rate or 0)
        whole_s = (self._container.duration or 0) / av.time_base
        self.duration_s = max(0.0, (stream.duration or 0) * self._tick_s or whole_s)
        limits.check_size(stream.codec_context.width, stream.codec_context.height)
        limits.check_duration(self.duration_s)
        self._entries = self._read_index()
        self._crop = crop_in(file, stream)
        self._decoded = 0
        stream.codec_context.thread_type = "AUTO"
        stream.codec_context.thread_count = THREADS
        stream.codec_context.options = limits.decoder_options

    def stills(self, wanted: Wanted) -> Iterator[Still]:
        """The pictures that are wanted, none twice: those of ``frames`` in the order of their
        times, then the others.

        Raises:
            NoFrames: not one can be decoded.
            VideoBomb: the next one asks for too much memory.
        """
        seen: set[int] = set()
        for time_s, slack_s, asked in self._places(wanted):
            if asked is not None and self._entries:
                still = self._take_by_index(asked)
            else:
                still = self._take(time_s, slack_s, asked)
            if still and (still.number not in seen or asked is not None):
                seen.add(still.number)
                yield still
        if not seen:
            raise NoFrames("none of the packets that were read is a picture")

    def close(self) -> None:
        self._container.close()

    def _places(self, wanted: Wanted) -> list[tuple[float, float, int | None]]:
        """The time of each picture, how much earlier it may be, and its number if it has to be
        that one."""
        places: list[tuple[float, float, int | None]] = []
        if wanted.times_s:
            places += [(time_s, 0.0, None) for time_s in wanted.times_s]
        elif wanted.number:
            step_s = self.duration_s / wanted.number or UNKNOWN_STEP_S
            middle = step_s / 2 if self.duration_s else 0.0
            places += [(n * step_s + middle, 0.5 * step_s, None) for n in range(wanted.number)]
        asked = [(self._time_of(frame), 0.0, frame) for frame in wanted.frames]
        return sorted(asked) + sorted(places, key=lambda place: place[0])

    def _time_of(self, frame: int) -> float:
        """When a frame is shown: by the index of an mp4, else by the rate."""
        if self._entries and frame + self._trimmed < len(self._entries):
            first, its = (self._entries[n + self._trimmed].timestamp for n in (0, frame))
            return float((its - first) * self._tick_s)
        return frame / self.fps if self.fps else frame * UNKNOWN_STEP_S

    def _take(self, time_s: float, slack_s: float, asked: int | None) -> Still | None:
        """The picture that is shown at a time, or the key frame at most ``slack_s`` before."""
        ticks = 1 / self._tick_s if self._tick_s else 0.0
        target = self._start + round(time_s * ticks)
        reading = self._enter_before(target, ticks)
        if reading is None or reading.key is None:
            return None
        key = reading.key
        if slack_s and (key.pts is None or key.pts >= target - slack_s * ticks):
            picture = self._decode_one(key)
        else:
            picture = self._decode_until(target, reading, key)
        return None if picture is None else self._still(picture, reading, asked)

    def _take_by_index(self, asked: int) -> Still | None:
        """The picture with this number, from a key frame that an mp4's index lists before it."""
        entry = min(asked + self._trimmed, len(self._entries) - 1)
        while entry >= 0:
            while entry > 0 and not self._entries[entry].is_keyframe:
                entry -= 1
            self._container.seek(self._entries[entry].timestamp, stream=self._stream)
            reading = _Reading(self._packets())
            key = reading.next_key()
            first = self._number_of(key.pts, reading) if key else None
            if key is None or first is None or key.pts is None:
                return None
            if first <= asked:
                shown = (
                    picture
                    for picture in self._pictures(reading.all_from(key))
                    if picture.pts is not None and picture.pts >= key.pts
                )
                picture = next(islice(shown, asked - first, None), None)
                return None if picture is None else self._still(picture, reading, asked)
            entry -= 1  # pictures that follow this key frame in the file are shown before it
        return None

    def _enter_before(self, target: int, ticks: float) -> _Reading | None:
        """Read on from a key frame at or before a timestamp, or from the first one."""
        for back_s in (*SEEK_BACK_S, target / ticks if ticks else 0.0):
            try:
                self._container.seek(target - round(back_s * ticks), stream=self._stream)
            except av.FFmpegError:
                continue
            reading = _Reading(self._packets())
            key = reading.next_key()
            if key and (key.pts is None or key.pts <= max(target, self._start)):
                return reading
        return None

    def _packets(self) -> Iterator[AnyPacket]:
        failures = 0
        while failures < MAX_FAILURES:
            try:
                for packet in self._container.demux(self._stream):
                    if packet.size:
                        failures = 0
                        if self._is_avi:  # it has no other times; FFmpeg makes some up
                            packet.pts = packet.dts
                        yield packet
                return
            except MemoryError as error:
                raise VideoBomb("it asks for too much memory on the way") from error
            except av.FFmpegError:
                failures += 1

    def _decode_one(self, key: AnyPacket) -> av.VideoFrame | None:
        return next(self._pictures(iter((key,))), None)

    def _decode_until(self, target: int, reading: _Reading, key: AnyPacket) -> av.VideoFrame | None:
        """Decode from a key frame to the picture that is shown at ``target``."""
        shown: av.VideoFrame | None = None
        for picture in self._pictures(reading.all_from(key)):
            self._decoded += 1
            is_later = picture.pts is None or picture.pts > target
            if (is_later and shown is not None) or self._decoded > MAX_DECODED:
                break
            shown = picture
            if is_later:
                break
        return shown

    def _pictures(self, packets: Iterator[AnyPacket]) -> Iterator[av.VideoFrame]:
        decoder = self._stream.codec_context
        decoder.flush_buffers()
        for packet in packets:
            try:
                yield from decoder.decode(plain_packet(packet, decoder.name))
            except av.FFmpegError:
                continue
        try:
            yield from decoder.decode(None)
        except av.FFmpegError:
            return

    def _still(self, picture: av.VideoFrame, reading: _Reading, asked: int | None) -> Still:
        orientation = orientation_of(picture)._replace(crop=self._crop)
        self._limits.check_size(*orientation.size(picture))
        time_s = max(0.0, ((picture.pts or self._start) - self._start) * self._tick_s)
        number = self._number_of(picture.pts, reading)
        converted = Converter(colours_of(picture).sdr).convert(picture)
        return Still(
            number=round(time_s * (self.fps or 1 / UNKNOWN_STEP_S)) if number is None else number,
            is_exact=number is not None,
            time_s=time_s,
            picture=upright(converted, orientation),
            asked=asked,
        )

    # --- numbers of pictures: an mp4 lists all its packets ---------------------------------------

    def _read_index(self) -> Any:
        """The list of all packets in the order of decoding; empty where there is none."""
        self._trimmed = 0
        stream = self._stream
        if "mp4" not in self._container.format.name or not stream.frames:
            return ()
        entries: Any = stream.index_entries
        while self._trimmed < min(len(entries), MAX_TRIMMED) and entries[self._trimmed].is_discard:
            self._trimmed += 1
        return entries

    def _number_of(self, pts: int | None, reading: _Reading) -> int | None:
        """How many pictures are shown before the one with this timestamp; None if not known.

        Those before its key frame, and of the packets from that on those with an earlier time.
        """
        key = reading.key
        if not self._entries or pts is None or key is None or key.dts is None:
            return None
        number: int = self._stream.index_entries.search_timestamp(key.dts)
        if number < 0 or self._entries[number].timestamp != key.dts:
            return None
        times = reading.times_around(pts)
        if any(earlier == later for earlier, later in pairwise(sorted(times))):
            return None
        return max(0, number - self._trimmed) + sum(time < pts for time in times)


class _Reading:
    """Packets from a place in the file on, and the times of those that were read."""

    def __init__(self, packets: Iterator[AnyPacket]) -> None:
        self._packets = packets
        self._held: deque[AnyPacket] = deque()  # read ahead
        self._times: list[int] = []
        self.key: AnyPacket | None = None

    def next_key(self) -> AnyPacket | None:
        self.key = next((packet for packet in self._packets if packet.is_keyframe), None)
        return self.key

    def all_from(self, key: AnyPacket) -> Iterator[AnyPacket]:
        yield key
        while packet := self._held.popleft() if self._held else self._read():
            yield packet

    def times_around(self, pts: int) -> list[int]:
        """Of the packets read, and of those that follow and may be shown before ``pts``."""
        for _ in range(REORDERED):
            packet = self._read()
            if packet is None:
                break
            self._held.append(packet)
            if packet.dts is not None and packet.dts >= pts:
                break
        first = [self.key.pts] if self.key and self.key.pts is not None else []
        return first + self._times

    def _read(self) -> AnyPacket | None:
        packet = next(self._packets, None)
        if packet is not None and packet.pts is not None and not packet.is_discard:
            self._times.append(packet.pts)
        return packet
