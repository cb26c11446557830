"""Places in a source from which reading continues as if it had never been interrupted."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClockState:
    """A ``Clock`` between two frames; times in seconds.

    Attributes:
        frames: counted so far.
        now_s: of the last one.
        spacings: the last few between pictures.
        stamp_s: the largest stamp.
        usable: stamps that could be taken as they were.
        holes: places where pictures that came evenly are missing.
    """

    frames: int
    now_s: float
    spacings: tuple[float, ...]
    stamp_s: float | None
    usable: int
    holes: int


@dataclass(frozen=True, slots=True)
class Key:
    """A key frame from which a timeline can go on.

    Attributes:
        pts: its timestamp.
        near: seconds at which the last few pictures are shown, sorted.
    """

    pts: int | None
    near: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """A reader just after a picture.

    Attributes:
        index: of the picture; -1 before the first one.
        pts: its timestamp, in the stream's time base, if that tells it from all before it.
        clock: after it; pictures of a sequence have none.
        decode_errors: so far.
        lost: packets so far that gave no picture because they could not be decoded.
        key: the key frame before it.
        before: where to begin to have the neighbours of the next picture, of a reader that needs
            them; then nothing but ``index`` counts of the rest.
    """

    index: int
    pts: int | None = None
    clock: ClockState | None = None
    decode_errors: int = 0
    lost: int = 0
    key: Key | None = None
    before: Mark | None = None


@dataclass(frozen=True, slots=True)
class Position:
    """A source just after a frame it has yielded.

    Attributes:
        mark: the reader's part of it.
        time_s: of the frame, in seconds since the first.
        until_s: when the next one begins, or the video ends.
        frames_read: pictures decoded so far.
        written: frames chosen to be written so far.
        written_tick, tracked_tick: the last tick that each sampler has seen.
    """

    mark: Mark
    time_s: float
    until_s: float
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
        decode_errors: packets or pictures that were damaged or could not be decoded.
        end_s: when the latest picture has been shown, in seconds since the first.
        fps: pictures a second, measured; 0 for a single one.
        whole: whether the video was read to its end.
        left_out: what of the file was not read, each in a sentence.
    """

    frames_read: int = 0
    last_time_s: float = 0.0
    missing_s: float = 0.0
    truncated: bool = False
    decode_errors: int = 0
    end_s: float = 0.0
    fps: float = 0.0
    whole: bool = False
    left_out: tuple[str, ...] = ()
