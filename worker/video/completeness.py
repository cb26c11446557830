"""How much of a video file could not be read, by the best measure that its format has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from shoal.errors import TruncatedVideo
from worker.video.announced import structure_of
from worker.video.demux import Demuxer, measured_s
from worker.video.probe import COVER_ART, VideoLimits
from worker.video.timeline import SIGNALS, StreamTimeline

# A file may end this much before what it announces: rounding, a last packet without duration.
TOLERATED_S = 1.0
TOLERATED_SHARE = 0.02

TOLD_HEAD_S = 0.1

# A last picture that stands for less than this longer than the others, by the announced duration of
# a whole file, is a rounding or that of the sound. AVI counts pictures, and is exact.
STATIC_END_S = 0.5

# Formats that end with their last packets, and how much may lie behind what was read of them:
# stuffing, and what other streams have there.
WITHOUT_TRAILER = SIGNALS | {"flv", "asf"}
UNREAD_BYTES, UNREAD_SHARE = 4096, 0.05


class Completeness:
    """Compares what was read of a file with what it announces.

    Attributes:
        announced_s: seconds of video, 0 if unknown.
    """

    def __init__(self, demuxer: Demuxer, path: Path, limits: VideoLimits, *, allow: bool) -> None:
        """``allow`` lets a video pass that was cut off."""
        self._path = path
        self._limits = limits
        self._allow = allow
        self._size = path.stat().st_size
        self._structure = structure_of(path, demuxer.format)
        self.announced_s = demuxer.announced_s
        self._beyond = _packets_beyond(demuxer, self._size)
        self._packets = len(demuxer.video.index_entries) if demuxer.is_mp4 else 0
        self._head_s = 0.0  # before the first picture
        self._first_s = 0.0  # the first stamp
        self._missing_s = 0.0  # behind it

    def check_announced(self, demuxer: Demuxer) -> None:
        """Refuse at once what is too large or too short.

        Raises:
            VideoTooLarge: by what is announced, or where that may be wrong, by its packets.
            TruncatedVideo: an index points beyond the file's end.
        """
        context = demuxer.video.codec_context
        self._limits.check_size(context.width, context.height)
        if self.announced_s > self._limits.max_duration_s and not demuxer.is_mp4:
            self.announced_s = measured_s(self._path, self._limits)
        self._limits.check_duration(self.announced_s)
        if self._beyond:  # not after hours of tracking
            self._missing_s = self._beyond / self._packets * self.announced_s
            self.refuse_if_short(self.announced_s - self._missing_s)

    def begin(self, zero_s: float, timeline: StreamTimeline) -> None:
        """Take the stamp of the first picture; what was sent before it could not be decoded."""
        if timeline.first_s is not None:
            self._first_s = timeline.first_s
            self._head_s = max(0.0, zero_s - timeline.first_s)

    def missing_s(self, demuxer: Demuxer, read_s: float, undecodable_s: float) -> float:
        """Seconds that could not be read, now that all else is.

        Args:
            read_s: of the pictures that were read.
            undecodable_s: of packets between them.
        """
        self._missing_s = max(0.0, self._cut_off_s(demuxer, read_s)) + undecodable_s
        return round(self._head_s + self._missing_s, 3)

    def _cut_off_s(self, demuxer: Demuxer, read_s: float) -> float:
        if self._packets:
            return self._beyond / self._packets * self.announced_s
        lacking = self._structure.bytes_missing
        if lacking == 0 or demuxer.is_estimated or demuxer.timeline.seams:
            return 0.0
        if lacking and not self.announced_s:
            return lacking / self._size * read_s
        if not self.announced_s:
            return 0.0
        # The picture may rightly end before the sound.
        read_s = max(read_s, demuxer.timeline.reached_s - self._first_s)
        return self.announced_s - self._head_s - read_s

    def static_end_s(self, demuxer: Demuxer, end_s: float) -> float:
        """When the last picture of a whole file has been shown, by what it announces; else 0."""
        is_exact = demuxer.format == "avi"
        is_told = self._structure.bytes_missing == 0 and not demuxer.is_mp4
        told_s = self.announced_s - self._head_s
        if not is_told or demuxer.timeline.seams or told_s > self._limits.max_duration_s:
            return 0.0
        return told_s if is_exact or told_s - end_s > STATIC_END_S else 0.0

    def refuse_if_short(self, read_s: float) -> bool:
        """Whether more is missing than is tolerated.

        Raises:
            TruncatedVideo: and that is not allowed.
        """
        announced_s = read_s + self._missing_s
        is_short = self._missing_s > max(TOLERATED_S, TOLERATED_SHARE * announced_s)
        if is_short and not self._allow:
            raise TruncatedVideo(
                f"{self._path.name} announces {announced_s:.1f} s of video, "
                f"{self._missing_s:.1f} s of it cannot be read"
            )
        return is_short

    def left_out(self, demuxer: Demuxer) -> tuple[str, ...]:
        """What of the file was not read, each in a sentence."""
        told = [*_other_videos(demuxer)]
        unread = self._size - demuxer.position
        is_much = unread > max(UNREAD_BYTES, UNREAD_SHARE * self._size)
        is_cut = bool(self._structure.bytes_missing)
        if demuxer.format in WITHOUT_TRAILER and is_much and not is_cut and not told:
            told.append(
                f"The last {unread / self._size:.0%} of the file were not read: they belong to "
                "none of the streams that it announces at its beginning."
            )
        if self._structure.begins_again:
            told.append("A second video that follows in the same file was not read.")
        if self._head_s >= TOLD_HEAD_S:
            told.insert(
                0,
                f"The first {self._head_s:.1f} s cannot be decoded: "
                "the recording begins between two key frames.",
            )
        return tuple(told)


def _other_videos(demuxer: Demuxer) -> Iterator[str]:
    for stream in demuxer.container.streams.video:
        if stream.index != demuxer.video.index and not stream.disposition.value & COVER_ART:
            context = stream.codec_context
            what = f" ({context.name})" if context else ""
            yield f"Video stream {stream.index}{what} was not read: the file has several."


def _packets_beyond(demuxer: Demuxer, file_size: int) -> int:
    """How many packets the index of an mp4 places, wholly or in part, behind the file's end."""
    if not demuxer.is_mp4:
        return 0
    entries, beyond = demuxer.video.index_entries, 0
    while beyond < len(entries):
        entry = entries[len(entries) - 1 - beyond]
        if entry.pos + entry.size <= file_size:
            break
        beyond += 1
    return beyond
