"""What must be hidden on each frame: what was found, and what was missed around it.

A detector misses faces for some frames: turned away, blurred by motion, half behind something. So

* a gap of up to ``gap_s`` seconds between two sightings of an object is **bridged**: its box is
  interpolated from both sides. Where a track is lost and another one begins near by, they are
  taken for the same object.
* an object is **held** for some frames before its first sighting and after its last one, and,
  unless it was uncertain, as far as the border of the scene where that is within ``gap_s``, plus
  one frame beyond: pictures at a cut may show both scenes.

It is decided with a look-ahead of ``gap_s`` seconds; nothing grows with the video. What was not
found on a frame itself, or with a low score, is listed for a person to check.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise

Box = tuple[float, float, float, float]  # x0, y0, x1, y1 in frame pixels

MARGIN_S = 0.5  # for which an object is held, far from any border
UNCERTAIN = 0.5  # score below which a sighting is listed for a person to check
REACH = 3.0  # a lost track and a new one are the same within so many sides of their boxes
GROWTH = 1.2  # of a box whose place is a guess
VELOCITY_GAIN = 0.5  # of a running mean


class CoverReason(StrEnum):
    """Why something is hidden on a frame."""

    FOUND = "found"
    UNCERTAIN = "uncertain"  # found, but with a low score
    BRIDGED = "bridged"  # found before and after
    HELD = "held"  # found before or after


@dataclass(frozen=True, slots=True)
class Sighting:
    """An object that was found on a frame.

    Attributes:
        counts: COCO's compressed run lengths of its mask, which is not empty.
    """

    object_id: int
    prompt: str
    score: float
    box: Box
    counts: str

    @property
    def key(self) -> tuple[str, int]:
        return self.prompt, self.object_id


@dataclass(frozen=True, slots=True)
class Cover:
    """What is hidden of an object on a frame.

    Attributes:
        box: all of it, or where there are ``counts`` what is around the mask.
        counts: of the mask; empty where the box is all that is known.
    """

    why: CoverReason
    prompt: str
    object_id: int
    box: Box
    counts: str = ""


@dataclass(slots=True)
class Moment:
    """A frame and what is hidden on it.

    Attributes:
        index: ``Frame.index``.
        scene: counts up from scene to scene.
    """

    index: int
    time_s: float
    scene: int
    covers: list[Cover] = field(default_factory=list)


@dataclass(slots=True)
class _Track:
    """An object as it was seen last; velocity is its centre's, in pixels per second."""

    prompt: str
    object_id: int
    seen_s: float
    box: Box
    score: float
    velocity: tuple[float, float] = (0.0, 0.0)

    def see(self, sighting: Sighting, time_s: float) -> None:
        (x, y), (from_x, from_y) = _centre(sighting.box), _centre(self.box)
        step_s = max(time_s - self.seen_s, 1e-3)
        self.velocity = (
            self.velocity[0] + VELOCITY_GAIN * ((x - from_x) / step_s - self.velocity[0]),
            self.velocity[1] + VELOCITY_GAIN * ((y - from_y) / step_s - self.velocity[1]),
        )
        self.seen_s, self.box, self.score = time_s, sighting.box, sighting.score

    def held(self, time_s: float) -> Cover:
        """What it may cover after it was seen last: its place then, and that where it went."""
        step_s = min(time_s - self.seen_s, MARGIN_S)
        dx, dy = self.velocity[0] * step_s, self.velocity[1] * step_s
        x0, y0, x1, y1 = self.box
        reach = x0 + min(dx, 0), y0 + min(dy, 0), x1 + max(dx, 0), y1 + max(dy, 0)
        return Cover(CoverReason.HELD, self.prompt, self.object_id, _grown(reach))


class Bridge:
    """Takes frames in order, gives them back decided, ``gap_s`` seconds later."""

    def __init__(self, gap_s: float) -> None:
        self._gap_s = gap_s
        self._margin_s = min(MARGIN_S, gap_s)
        self._scene_starts_s = 0.0
        self._window: deque[Moment] = deque()  # not yet decided
        self._tracks: dict[tuple[str, int], _Track] = {}  # of this scene, seen within gap_s

    def add(self, moment: Moment, sightings: Sequence[Sighting]) -> Iterator[Moment]:
        """Take the next frame, with what was found on it; yield what is decided by now."""
        if not self._window or moment.scene != self._window[-1].scene:
            self._end_scene(moment)
            self._scene_starts_s = moment.time_s
        self._window.append(moment)
        seen = {each.key for each in sightings}
        for sighting in sightings:
            self._see(sighting, moment, seen)
        for key, track in list(self._tracks.items()):
            since_s = moment.time_s - track.seen_s
            if since_s > self._gap_s:
                del self._tracks[key]
            elif key not in seen and since_s <= self._margin_s:
                moment.covers.append(track.held(moment.time_s))
        # One frame more stays: a scene that begins may reach into it.
        while len(self._window) > 1 and moment.time_s - self._window[1].time_s > self._gap_s:
            yield self._window.popleft()

    def finish(self) -> Iterator[Moment]:
        """The frames that are left, after the last one."""
        self._end_scene(None)
        yield from self._window
        self._window.clear()

    def _see(self, sighting: Sighting, moment: Moment, seen: Iterable[tuple[str, int]]) -> None:
        why = CoverReason.UNCERTAIN if sighting.score < UNCERTAIN else CoverReason.FOUND
        moment.covers.append(Cover(why, *sighting.key, sighting.box, sighting.counts))
        track = self._tracks.get(sighting.key)
        if track and moment.time_s - track.seen_s <= self._gap_s:
            self._bridge(track, sighting, moment)
            track.see(sighting, moment.time_s)
            return
        if lost := self._lost_near(sighting, moment.time_s, seen):
            self._bridge(lost, sighting, moment)
            del self._tracks[lost.prompt, lost.object_id]
        self._hold_before(sighting, moment)
        self._tracks[sighting.key] = _Track(
            *sighting.key, moment.time_s, sighting.box, sighting.score
        )

    def _lost_near(
        self, sighting: Sighting, time_s: float, seen: Iterable[tuple[str, int]]
    ) -> _Track | None:
        """The nearest track that may have been this object's."""
        near = [
            (distance, track.object_id, track)
            for key, track in self._tracks.items()
            if key not in seen
            and track.prompt == sighting.prompt
            and time_s - track.seen_s <= self._gap_s
            and (distance := _distance(track.box, sighting.box)) <= REACH
        ]
        return min(near)[2] if near else None

    def _bridge(self, track: _Track, sighting: Sighting, moment: Moment) -> None:
        """Fill the frames between two sightings."""
        span_s = moment.time_s - track.seen_s
        for each in self._window:
            if not track.seen_s < each.time_s < moment.time_s:
                continue
            if track.object_id == sighting.object_id:  # known better than when it was held
                each.covers = [
                    cover
                    for cover in each.covers
                    if cover.why is not CoverReason.HELD
                    or (cover.prompt, cover.object_id) != sighting.key
                ]
            part = (each.time_s - track.seen_s) / span_s
            sides = [
                (1 - part) * a + part * b for a, b in zip(track.box, sighting.box, strict=True)
            ]
            box = _grown((sides[0], sides[1], sides[2], sides[3]))
            each.covers.append(Cover(CoverReason.BRIDGED, *sighting.key, box))

    def _hold_before(self, sighting: Sighting, moment: Moment) -> None:
        """Fill the frames before a first sighting."""
        cover = Cover(CoverReason.HELD, *sighting.key, _grown(sighting.box))
        reaches_border = (
            moment.time_s - self._scene_starts_s <= self._gap_s and sighting.score >= UNCERTAIN
        )
        for each, following in pairwise(self._window):
            if each.scene != moment.scene:
                is_held = following.scene == moment.scene and reaches_border
            else:
                is_held = reaches_border or moment.time_s - each.time_s <= self._margin_s
            if is_held:
                each.covers.append(cover)

    def _end_scene(self, following: Moment | None) -> None:
        """Hold what was seen last shortly before a border, up to the frame after it."""
        if not self._window:
            return
        end_s = following.time_s if following else self._window[-1].time_s
        for track in self._tracks.values():
            if end_s - track.seen_s > self._gap_s or track.score < UNCERTAIN:
                continue
            for each in self._window:
                if each.time_s - track.seen_s > self._margin_s:  # until then it is held already
                    each.covers.append(track.held(each.time_s))
            if following:
                following.covers.append(track.held(following.time_s))
        self._tracks.clear()


def _centre(box: Box) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def _distance(a: Box, b: Box) -> float:
    """Between two boxes' centres, in sides of the larger one."""
    side = max(a[2] - a[0], a[3] - a[1], b[2] - b[0], b[3] - b[1])
    return math.dist(_centre(a), _centre(b)) / max(side, 1.0)


def _grown(box: Box) -> Box:
    """A box ``GROWTH`` times as wide and as high."""
    x0, y0, x1, y1 = box
    dx, dy = (GROWTH - 1) / 2 * (x1 - x0), (GROWTH - 1) / 2 * (y1 - y0)
    return x0 - dx, y0 - dy, x1 + dx, y1 + dy
