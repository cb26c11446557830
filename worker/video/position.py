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
        index: of the picture.
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
