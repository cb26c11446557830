"""Where a video is cut into segments.

Two neighbours both track the ``OVERLAP`` frames around a cut: there their objects are recognised,
and in the middle the results change over from one to the other. By then the later segment has
seen enough frames to have taken back what was no object (hotstart, 15 frames), and the earlier one
sees as many beyond. With an engine that needs longer until it tracks as if it had seen all that
came before (``warm_up_s``), the later segment begins as much earlier.

Only reading from the start tells which number and time a frame has, and which frames are written.
So the video is read once, without tracking, and places are noted from which reading goes on as if
it had never been interrupted: a segment's frames are the very frames of an unsplit run.
"""

from __future__ import annotations

import contextlib
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from shoal.results.layout import EngineMetadata
from worker.video.frame import Frame
from worker.video.planes import fingerprint
from worker.video.position import Position
from worker.video.source import Source

VERSION = 1
OVERLAP = 32  # written frames that both neighbours of a cut track, or more: half before it
MIN_FRAMES = 2 * OVERLAP  # written frames of a segment
MIN_SEGMENT_S = 60.0  # of one that 'auto' makes
NEAR = 0.05  # of a segment's length: so near a key frame is preferred, which is entered at once
ASSUME_S = 0.5  # of a segment's beginning: objects there may have begun before it
STRIDE = 4  # written frames from one place to the next, as long as there is room ...
MAX_PLACES = 2048  # ... for so many


class CutPlace(BaseModel):
    """A source just after a written frame; before the first one there is no position.

    Attributes:
        picture: fingerprint of that frame.
    """

    model_config = ConfigDict(frozen=True)

    position: Position | None = None
    picture: int = 0

    @property
    def written(self) -> int:
        """Written frames up to here, from the start of the video."""
        return self.position.written if self.position else 0

    @property
    def index(self) -> int:
        """Of the frame, as ``Frame.index``."""
        return self.position.mark.index if self.position else -1


class PlannedSegment(BaseModel):
    """Attributes:
    start: after which its tracking begins.
    own: after which its results count.
    own_until: the written frames, counted from the start of the video, up to which they do; 0: to
        the end of the video.
    until: the same of its tracking.
    """

    model_config = ConfigDict(frozen=True)

    start: CutPlace
    own: CutPlace
    own_until: int
    until: int


class SplitPlan(BaseModel):
    """Where the segments of a job lie, and the engine that tracks all of them.

    Attributes:
        frames: written frames of the whole video.
        timings: seconds by stage that making the plan took.
    """

    model_config = ConfigDict(frozen=True)

    version: Annotated[int, Field(ge=VERSION, le=VERSION)] = VERSION
    job_id: str
    engine: EngineMetadata
    frames: int
    segments: tuple[PlannedSegment, ...]
    timings: dict[str, float] = {}


@dataclass(slots=True)
class Cut:
    """A place where a segment may begin."""

    start: CutPlace
    own: CutPlace | None = None  # known half an overlap later
    at_key: bool = False

    @property
    def written(self) -> int:
        """Written frames before those of the segment."""
        return self.own.written if self.own else 0


@dataclass(slots=True)
class CutSurvey:
    """What reading a video has shown.

    Attributes:
        frames: written ones.
        lead: written frames that a segment tracks before its own.
        end_s: when the last frame has been shown.
        cuts: where it may be cut, in order.
    """

    frames: int = 0
    lead: int = OVERLAP // 2
    end_s: float = 0.0
    cuts: list[Cut] = field(default_factory=list)


def read(source: Source, tracking_fps: float, lead: int, on_frame: Callable[[], None]) -> CutSurvey:
    """Read a source to its end, for the places where the video may be cut.

    Args:
        source: at the first frame that is tracked.
        tracking_fps: see ``Predictor.tracking_fps``.
        lead: written frames that a segment tracks before its own.
        on_frame: called for each written frame.

    Raises:
        ResolutionChanged, TruncatedVideo, UnsupportedFrameRate, VideoTooLarge: see ``Source``.
    """
    open_cuts = [Cut(CutPlace())]
    found = CutSurvey(lead=lead, cuts=open_cuts.copy())
    stride = STRIDE
    last = 0  # written frames at the last cut
    with contextlib.closing(source.frames(tracking_fps)) as frames:
        for frame in frames:
            if not frame.wanted:
                continue
            on_frame()
            position = source.position()
            found.frames = position.written
            if open_cuts and position.written == open_cuts[0].start.written + lead:
                open_cuts.pop(0).own = _place(position, frame)
            since = position.written - last
            at_key = _is_key(position)
            if since >= stride or (at_key and 4 * since >= stride):
                open_cuts.append(Cut(_place(position, frame), at_key=at_key))
                found.cuts.append(open_cuts[-1])
                last = position.written
            if len(found.cuts) > MAX_PLACES:
                found.cuts = found.cuts[::2]
                stride *= 2
    found.end_s = source.extent.end_s
    found.cuts = [each for each in found.cuts if each.own]
    return found


def choose(found: CutSurvey, segments: int) -> list[PlannedSegment]:
    """Segments that track about the same number of frames; fewer, where they would be too short."""
    segments = min(segments, found.frames // MIN_FRAMES)
    length = found.frames / max(1, segments)
    first = length
    shared = found.lead + OVERLAP // 2  # frames that two neighbours track
    if length >= MIN_FRAMES + shared:
        # The first segment shares frames at its end only, the last one at its beginning.
        first += found.lead - shared / segments
        length -= shared / segments
    own = [each.written for each in found.cuts]
    cuts: list[Cut] = []
    last = -OVERLAP // 2  # there is no frame before the first segment
    for number in range(1, segments):
        chosen = _nearest(found.cuts, own, first + (number - 1) * length, NEAR * length)
        if chosen is None or chosen.written - last < MIN_FRAMES:
            continue
        if found.frames - chosen.written < MIN_FRAMES - OVERLAP // 2:
            break
        cuts.append(chosen)
        last = chosen.written
    return _between(cuts)


def auto_segments(duration_s: float, segment_s: float) -> int:
    """How many segments 'auto' makes of a video; 1: it stays whole."""
    if duration_s < 2 * segment_s:
        return 1
    return max(2, min(round(duration_s / segment_s), int(duration_s / MIN_SEGMENT_S)))


def _nearest(cuts: list[Cut], own: list[int], target: float, near: float) -> Cut | None:
    """The cut nearest to so many written frames; of those that are near one at a key frame."""
    if not cuts:
        return None
    first, beyond = bisect_left(own, target - near), bisect_left(own, target + near)
    at_key = [n for n in range(first, beyond) if cuts[n].at_key]
    place = bisect_left(own, target)
    choices = at_key or [n for n in (place - 1, place) if 0 <= n < len(cuts)]
    return cuts[min(choices, key=lambda n: abs(own[n] - target))]


def _between(cuts: list[Cut]) -> list[PlannedSegment]:
    begin = Cut(CutPlace(), CutPlace())
    made = []
    for here, following in pairwise([begin, *cuts, None]):
        assert here is not None
        assert here.own is not None
        own = following.own if following else None
        made.append(
            PlannedSegment(
                start=here.start,
                own=here.own,
                own_until=own.written if own else 0,
                until=following.written + OVERLAP // 2 if following else 0,
            )
        )
    return made


def _place(position: Position, frame: Frame) -> CutPlace:
    return CutPlace(position=position, picture=fingerprint(frame.picture))


def _is_key(position: Position) -> bool:
    """Whether the picture is a key frame: reading that begins with it decodes nothing else."""
    mark = position.mark
    return mark.pts is not None and mark.key is not None and mark.key.pts == mark.pts
