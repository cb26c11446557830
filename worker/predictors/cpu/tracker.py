"""From detections on single frames to tracks.

After ByteTrack (Zhang et al., ECCV 2022): strong detections are matched to tracks first, weak
ones then continue the tracks that are left, and only strong ones begin a track. Motion is a
constant velocity, kept by an alpha-beta filter; similarity is buffered IoU (Yang et al., WACV
2023): a thrown ball leaves its own outline from one frame to the next.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

Box = tuple[float, float, float, float]  # x0, y0, x1, y1 in frame pixels

STRONG = 0.45  # score from which a detection is matched in the first round
BIRTH = 0.5  # score from which an unmatched detection begins a track
MIN_SIMILARITY = 0.2  # buffered IoU below which a track and a detection are not the same
VELOCITY_GAIN = 0.2  # the filter's beta; its alpha is 1: a detected place is believed
DAMPING = 0.8  # per unseen frame: an unseen object is soon expected to stand still
HITS_TO_CONFIRM = 3  # sightings ...
CONFIRMATION_FRAMES = 5  # ... within this many frames from the first make a track
KEEP_S = 1.0  # a track ends when it was unseen for longer, and for CONFIRMATION_FRAMES
MIN_STEP_S = 1e-3  # of time between frames, where the clock stands still


@dataclass(frozen=True, slots=True)
class Detection:
    """A box on one frame; ``label`` tells apart what is tracked on its own (the prompts)."""

    label: int
    score: float
    box: Box


class TrackState(StrEnum):
    TENTATIVE = "tentative"  # may still be a false alarm
    CONFIRMED = "confirmed"  # has an object id
    DELETED = "deleted"  # a false alarm, or too long unseen


@dataclass(slots=True, eq=False)
class Track:
    """One object over time.

    Attributes:
        number: of birth, from 1; false alarms have one too.
        box: where it was seen on the last frame, or is expected to have been.
        first_score: of the detection that began it; ``score`` is that of the last one.
        velocity: of the box's centre, x and y in pixels per second of the video, whichever way
            that is tracked.
        object_id: from 1, in the order of confirmation; 0 before.
        age: frames since it was first seen, that one included.
        hits: frames on which it was seen.
        misses: frames since it was last seen; 0 if it was seen on the last one.
        seen_s: time at which it was last seen.
    """

    number: int
    label: int
    score: float
    box: Box
    seen_s: float
    first_score: float
    velocity: tuple[float, float] = (0.0, 0.0)
    state: TrackState = TrackState.TENTATIVE
    object_id: int = 0
    age: int = 1
    hits: int = 1
    misses: int = 0

    def predict(self, step_s: float) -> None:
        """Move on by the time from one frame to the next, negative when tracking backward."""
        self.age += 1
        dx, dy = self.velocity[0] * step_s, self.velocity[1] * step_s
        x0, y0, x1, y1 = self.box
        self.box = (x0 + dx, y0 + dy, x1 + dx, y1 + dy)

    def correct(self, detection: Detection, time_s: float, step_s: float) -> None:
        """Take over what was seen instead of what was expected."""
        (ex, ey), (sx, sy) = _centre(self.box), _centre(detection.box)
        gain = VELOCITY_GAIN / step_s
        self.velocity = (
            self.velocity[0] + gain * (sx - ex),
            self.velocity[1] + gain * (sy - ey),
        )
        self.box = detection.box
        self.score = detection.score
        self.seen_s = time_s
        self.hits += 1
        self.misses = 0

    def miss(self) -> None:
        """Note that it was not seen where it was expected."""
        self.misses += 1
        self.velocity = (self.velocity[0] * DAMPING, self.velocity[1] * DAMPING)


class Tracker:
    """All tracks of a video.

    Args:
        buffer: pixels by which boxes are grown on every side before they are compared: about
            how far an object may stray from its predicted place. It is the same for all sizes,
            so it helps small objects and hardly changes large ones.
        birth: score from which a detection begins a track.
        max_objects: at most so many confirmed tracks at a time; 0 is no limit. A track that finds
            no room is dropped, and begins anew while it is seen.
        eager: labels whose tracks are confirmed at first sight, each with a ``birth`` of its own.
    """

    def __init__(
        self,
        buffer: float,
        birth: float = BIRTH,
        max_objects: int = 0,
        eager: Mapping[int, float] = MappingProxyType({}),
    ) -> None:
        self.tracks: list[Track] = []
        self._buffer = buffer
        self._birth = birth
        self._eager = eager
        self._max_objects = max_objects
        self._time_s = 0.0
        self._births = 0
        self._confirmations = 0

    def update(self, time_s: float, detections: Sequence[Detection]) -> list[Track]:
        """Take in the next frame.

        Args:
            time_s: of the frame, seconds; it may rise from frame to frame, or fall.

        Returns:
            The tracks seen on it, tentative ones included.
        """
        step_s = time_s - self._time_s
        if abs(step_s) < MIN_STEP_S:
            step_s = math.copysign(MIN_STEP_S, step_s)
        self._time_s = time_s
        for track in self.tracks:
            track.predict(step_s)

        strong = [d for d in detections if d.score >= min(STRONG, self._birth_of(d.label))]
        weak = [d for d in detections if d not in strong]
        pairs, unseen, unmatched = self._match(self.tracks, strong)
        more, unseen, _ = self._match(unseen, weak)
        for track, detection in pairs + more:
            track.correct(detection, time_s, step_s)
        for track in unseen:
            track.miss()
        for detection in unmatched:
            if detection.score >= self._birth_of(detection.label):
                self._begin(detection)
        self._judge()
        return [track for track in self.tracks if not track.misses]

    def finish(self) -> None:
        """Decide on the tracks that are still tentative when the video ends.

        One that was seen on every frame of its short life is kept: a video of one frame has
        objects, too.
        """
        for track in self.tracks:
            if track.state is TrackState.TENTATIVE:
                self._decide(track, track.hits == track.age)

    def dump(self) -> dict[str, Any]:
        """Everything that ``load`` needs to go on, in JSON's types."""
        return {
            "time_s": self._time_s,
            "births": self._births,
            "confirmations": self._confirmations,
            "tracks": [asdict(track) for track in self.tracks],
        }

    @classmethod
    def load(
        cls,
        state: dict[str, Any],
        buffer: float,
        birth: float = BIRTH,
        max_objects: int = 0,
        eager: Mapping[int, float] = MappingProxyType({}),
    ) -> Tracker:
        """The tracker that ``dump`` described."""
        tracker = cls(buffer, birth, max_objects, eager)
        tracker._time_s = state["time_s"]
        tracker._births = state["births"]
        tracker._confirmations = state["confirmations"]
        for fields in state["tracks"]:
            track = Track(**fields)
            track.box = tuple(fields["box"])
            track.velocity = tuple(fields["velocity"])
            track.state = TrackState(fields["state"])
            tracker.tracks.append(track)
        return tracker

    def _match(
        self, tracks: Sequence[Track], detections: Sequence[Detection]
    ) -> tuple[list[tuple[Track, Detection]], list[Track], list[Detection]]:
        """Pair greedily, the most similar first: pairs, tracks left, detections left."""
        if not tracks or not detections:
            return [], list(tracks), list(detections)
        similarity = buffered_iou(
            np.array([t.box for t in tracks]), np.array([d.box for d in detections]), self._buffer
        )
        labels = (
            np.array([t.label for t in tracks])[:, None],
            np.array([d.label for d in detections]),
        )
        similarity[labels[0] != labels[1]] = 0.0

        free_tracks, free_detections = dict(enumerate(tracks)), dict(enumerate(detections))
        pairs = []
        for flat in np.argsort(-similarity, axis=None, kind="stable"):
            row, column = divmod(int(flat), len(detections))
            if similarity[row, column] < MIN_SIMILARITY:
                break
            if row in free_tracks and column in free_detections:
                pairs.append((free_tracks.pop(row), free_detections.pop(column)))
        return pairs, list(free_tracks.values()), list(free_detections.values())

    def _birth_of(self, label: int) -> float:
        return self._eager.get(label, self._birth)

    def _begin(self, detection: Detection) -> None:
        self._births += 1
        self.tracks.append(
            Track(
                number=self._births,
                label=detection.label,
                score=detection.score,
                box=detection.box,
                seen_s=self._time_s,
                first_score=detection.score,
            )
        )

    def _judge(self) -> None:
        """Confirm, drop and end tracks."""
        for track in self.tracks:
            if track.state is TrackState.TENTATIVE:
                if track.hits >= HITS_TO_CONFIRM or track.label in self._eager:
                    self._decide(track, True)
                elif track.age >= CONFIRMATION_FRAMES:
                    self._decide(track, False)
            elif abs(self._time_s - track.seen_s) > KEEP_S and track.misses >= CONFIRMATION_FRAMES:
                track.state = TrackState.DELETED
        self.tracks = [track for track in self.tracks if track.state is not TrackState.DELETED]

    def _decide(self, track: Track, confirm: bool) -> None:
        if confirm and self._has_room():
            self._confirmations += 1
            track.object_id = self._confirmations
            track.state = TrackState.CONFIRMED
        else:
            track.state = TrackState.DELETED

    def _has_room(self) -> bool:
        known = sum(track.state is TrackState.CONFIRMED for track in self.tracks)
        return not self._max_objects or known < self._max_objects


def buffered_iou(
    a: NDArray[np.float64], b: NDArray[np.float64], buffer: float
) -> NDArray[np.float64]:
    """Intersection over union of boxes grown by ``buffer`` pixels on every side.

    Args:
        a: (M, 4), x0, y0, x1, y1.
        b: (N, 4), likewise.

    Returns:
        (M, N), 0 to 1.
    """
    grow = np.array([-buffer, -buffer, buffer, buffer])
    a, b = (a + grow)[:, None], (b + grow)[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    overlap = sides.clip(min=0.0).prod(axis=-1)
    area_a, area_b = ((box[..., 2:] - box[..., :2]).prod(axis=-1) for box in (a, b))
    iou: NDArray[np.float64] = overlap / (area_a + area_b - overlap)
    return iou


def _centre(box: Box) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
