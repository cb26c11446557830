"""The packets of a video file, on one timeline."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import av
from av.audio.stream import AudioStream
from av.packet import Packet

from shoal.errors import VideoBomb
from worker.video.probe import VideoLimits, open_container
from worker.video.timeline import SIGNALS, SoundPlacer, StreamTimeline

AnyPacket: TypeAlias = "Packet[Any]"

CLOCK = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)")
MAX_FAILURES = 10  # reads in a row that fail before the rest of a file is given up


class Demuxer:
    """An open video file.

    Attributes:
        container, video: the file and the stream whose pictures are shown.
        timeline: where the packets read last lie.
        counted: packets of the pictures that were read.
        position: where the packet read last ends, in bytes from the file's beginning.
    """

    def __init__(self, path: Path, limits: VideoLimits) -> None:
        """
        Raises:
            SourceNotFound, NotAVideo, AudioOnly, NoFrames, TruncatedVideo: see ``open_container``.
        """
        self.container, self.video = open_container(path, limits)
        rate = self.video.average_rate or self.video.guessed_rate
        step_s = float(1 / rate) if rate else 0.0
        self._is_avi = self.format == "avi"
        self.timeline = StreamTimeline(self.format, step_s, indexed=self.is_indexed)
        self.counted = self.position = 0

    @property
    def format(self) -> str:
        """FFmpeg's name of the container's format."""
        return str(self.container.format.name)

    @property
    def is_mp4(self) -> bool:
        """Whether an index lists all packets; that of a fragmented mp4 grows as it is read."""
        return "mp4" in self.format and self.video.frames > 0

    @property
    def is_indexed(self) -> bool:
        """Whether no packet's time is its own: it follows from its place in the file."""
        return self.is_mp4 or self.format in ("avi", "gif")

    @property
    def announced_s(self) -> float:
        """Seconds of video that the file announces, from its first stamp; 0 if it does not."""
        stream_s = float((self.video.duration or 0) * (self.video.time_base or 0))
        if self._is_avi and self.video.average_rate:  # FFmpeg cuts the duration to the file's size
            return float(self.video.frames / self.video.average_rate) or stream_s
        end_s = stream_s or self._container_s
        if self.is_mp4:
            return end_s
        start_s = float((self.video.start_time or 0) * (self.video.time_base or 0))
        return end_s if self.is_estimated or not 0 < start_s < end_s else end_s - start_s

    @property
    def _container_s(self) -> float:
        """Duration of the file, without what only its subtitles add; 0 if that is not known."""
        whole_s = (self.container.duration or 0) / av.time_base
        track = CLOCK.fullmatch(self.video.metadata.get("DURATION", ""))  # Matroska's statistics
        if track:
            hours, minutes, seconds = map(float, track.groups())
            return min(whole_s, 3600 * hours + 60 * minutes + seconds)
        return 0.0 if self.container.streams.subtitles else whole_s

    @property
    def is_estimated(self) -> bool:
        """Whether FFmpeg reckons the duration from the stamps at both ends of the file."""
        return self.format in SIGNALS or self.format == "ogg"

    def pictures(self) -> Iterator[AnyPacket]:
        """Yield the packets of the pictures that are left."""
        return self.packets(None)

    def packets(self, sound: AudioStream | None) -> Iterator[AnyPacket]:
        """Yield the packets that are left of the pictures, and of a sound track beside them."""
        timeline = self.timeline
        placer = SoundPlacer(timeline) if sound else None
        for packet, position in self._read():
            self.position = max(self.position, position + packet.size)
            if packet.stream_index == self.video.index:
                self.counted += 1
                if self._is_avi:  # it has no other times; FFmpeg makes some up
                    packet.pts = packet.dts
                timeline.place_picture(packet, position)
                yield packet
                if placer:
                    yield from placer.release()
                continue
            timeline.reach(packet)
            if placer and sound and packet.stream_index == sound.index:
                yield from placer.place(packet, position)
        if placer:
            yield from placer.release(flush=True)

    def _read(self) -> Iterator[tuple[AnyPacket, int]]:
        """The packets of pictures and sound, and where in the file they lie."""
        streams = [self.video, *self.container.streams.audio]
        is_fragmented = "mp4" in self.format and not self.is_mp4
        begun: set[int] = set()
        failures = 0
        while failures < MAX_FAILURES:
            try:
                for packet in self.container.demux(streams):
                    if not packet.size:
                        continue
                    failures = 0
                    if not packet.is_discard:
                        begun.add(packet.stream_index)
                    position = packet.pos or 0
                    if packet.is_discard and is_fragmented and packet.stream_index in begun:
                        packet = _kept(packet)
                    yield packet, position
            except MemoryError as error:
                raise VideoBomb("it asks for too much memory on the way") from error
            except av.FFmpegError:
                failures += 1
            else:
                return

    def close(self) -> None:
        self.container.close()


def _kept(packet: AnyPacket) -> AnyPacket:
    """A packet that is to be shown all the same.

    FFmpeg has those of a fragment discarded that begins before the end of the one before. Where
    two recordings were put end to end, they are the second one.
    """
    # Not made of Python's bytes: a thread of the decoder would need the interpreter to free them,
    # which whoever closes the decoder may hold.
    kept = av.Packet(packet.size)
    kept.update(bytes(packet))
    kept.stream, kept.time_base = packet.stream, packet.time_base
    kept.pts, kept.dts, kept.duration = packet.pts, packet.dts, packet.duration
    kept.is_keyframe = packet.is_keyframe
    return kept


def measured_s(path: Path, limits: VideoLimits) -> float:
    """Seconds of video in a file, from its packets alone: none is decoded."""
    demuxer = Demuxer(path, limits)
    try:
        for _ in demuxer.pictures():
            pass
        timeline = demuxer.timeline
        return timeline.end_s - timeline.first_s if timeline.first_s is not None else 0.0
    finally:
        demuxer.close()
