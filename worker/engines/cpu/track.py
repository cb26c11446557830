"""One object over time, and what a tracker is told of it."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any

import numpy as np

from worker.engines.cpu.appearance import Box, Look, blend

VELOCITY_GAIN = 0.2  # the filter's beta; its alpha is 1: a detected place is believed
DAMPING = 0.8  # per unseen frame: an unseen object is soon expected to stand still
LOOK_GAIN = 0.1  # of the running mean of looks


@dataclass(frozen=True, slots=True)
class Detection:
    """A box on one frame; ``label`` tells apart what is tracked on its own (the prompts)."""

    label: int
    score: float
    box: Box
    look: Look | None = field(default=None, compare=False)  # None where it is not known

    def dump(self) -> dict[str, Any]:
        """Its fields in JSON's types."""
        return _dump(self)

    @classmethod
    def load(cls, known: dict[str, Any]) -> Detection:
        """The detection that ``dump`` described."""
        return cls(**known | {"box": tuple(known["box"]), "look": _load_look(known["look"])})


class TrackState(StrEnum):
    TENTATIVE = "tentative"  # may still be a false alarm
    CONFIRMED = "confirmed"  # has an object id
    LOST = "lost"  # unseen for so long that only its look can find it again
    DELETED = "deleted"  # a false alarm, of an earlier scene, or unseen for too long


@dataclass(slots=True, eq=False)
class BoxTrack:
    """One object over time.

    Attributes:
        number: of birth, from 1; false alarms have one too.
        box: where it was seen on the last frame, or is expected to have been.
        first_score: of the detection that began it; ``score`` is that of the last one. None where
            it is assumed to have begun earlier: see ``Query.assume_until_s``.
        mean_score: of all its detections.
        seen_s: time at which it was last seen.
        look: a running mean; None where no look is known.
        velocity: of the box's centre, x and y in pixels per second of the video, whichever way
            that is tracked.
        object_id: from 1, in the order of confirmation; 0 before.
        age: frames since it was first seen, that one included.
        hits: frames on which it was seen.
        misses: frames since it was last seen; 0 if it was seen on the last one.
    """

    number: int
    label: int
    score: float
    box: Box
    seen_s: float
    first_score: float | None
    mean_score: float
    look: Look | None = None
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
        (ex, ey), (sx, sy) = centre(self.box), centre(detection.box)
        gain = VELOCITY_GAIN / step_s
        self.velocity = (
            self.velocity[0] + gain * (sx - ex),
            self.velocity[1] + gain * (sy - ey),
        )
        self.box = detection.box
        self.score = detection.score
        self.look = blend(self.look, detection.look, LOOK_GAIN)
        self.seen_s = time_s
        self.hits += 1
        self.mean_score += (detection.score - self.mean_score) / self.hits
        self.misses = 0

    def slow_down(self) -> None:
        """Expect it to stand still soon: it was not seen where it was expected."""
        self.velocity = (self.velocity[0] * DAMPING, self.velocity[1] * DAMPING)

    def continue_from(self, earlier: BoxTrack) -> None:
        """Become the same object as an earlier track, which ends."""
        self.object_id = earlier.object_id
        self.first_score = earlier.first_score
        earlier.state = TrackState.DELETED

    def dump(self) -> dict[str, Any]:
        """Its fields in JSON's types."""
        return _dump(self)

    @classmethod
    def load(cls, known: dict[str, Any]) -> BoxTrack:
        """The track that ``dump`` described."""
        track = cls(**known)
        track.box = tuple(known["box"])
        track.velocity = tuple(known["velocity"])
        track.state = TrackState(known["state"])
        track.look = _load_look(known["look"])
        return track


def centre(box: Box) -> tuple[float, float]:
    """The middle of a box, x and y."""
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def _dump(each: Detection | BoxTrack) -> dict[str, Any]:
    known = {field.name: getattr(each, field.name) for field in fields(each)}
    if each.look is not None:
        known["look"] = base64.b64encode(each.look.tobytes()).decode()
    return known


def _load_look(text: str | None) -> Look | None:
    return None if text is None else np.frombuffer(base64.b64decode(text), np.float32)
