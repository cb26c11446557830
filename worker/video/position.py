"""Places in a source from which reading continues as if it had never been interrupted."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClockState:
    """A ``Clock`` between two frames; times in seconds.

    Attributes:
        frames: counted so far.
        now_s: of the last one.
        step_s: the last spacing.
        start_s: timestamp that counts as zero.
        usable: timestamps that could be taken as they were.
    """

    frames: int
    now_s: float
    step_s: float
    start_s: float
    usable: int


@dataclass(frozen=True, slots=True)
class Mark:
    """A reader just after a picture.

    Attributes:
        index: of the picture; -1 before the first one.
        pts: its timestamp, in the stream's time base, if that tells it from all before it.
        clock: after it; pictures of a sequence have none.
        decode_errors: so far.
    """

    index: int
    pts: int | None = None
    clock: ClockState | None = None
    decode_errors: int = 0


@dataclass(frozen=True, slots=True)
class Position:
    """A source just after a frame it has yielded.

    Attributes:
        mark: the reader's part of it.
        time_s: of the frame, in seconds since the first.
        frames_read: pictures decoded so far.
        written: frames chosen to be written so far.
        written_tick, tracked_tick: the last tick that each sampler has seen.
    """

    mark: Mark
    time_s: float
    frames_read: int
    written: int
    written_tick: int
    tracked_tick: int


@dataclass(frozen=True, slots=True)
class Extent:
    """How far a video was read, and what was amiss.

    Attributes:
        frames_read: pictures decoded, also those that nobody needed.
        last_time_s: seconds from the first picture to the latest.
        missing_s: seconds that were announced but could not be read; known once all is read.
        truncated: whether so much is missing that it took ``allow_truncated`` to go on.
        decode_errors: packets or pictures that were skipped because they could not be decoded.
    """

    frames_read: int = 0
    last_time_s: float = 0.0
    missing_s: float = 0.0
    truncated: bool = False
    decode_errors: int = 0
