"""The protocol every engine speaks, and the values that cross it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from shoal.prompts import Removal, VisualPrompt, labels, object_ids
from worker.video.frame import Frame, VideoInfo

__all__ = [
    "FrameResult",
    "Mask",
    "ObjectResult",
    "Predictor",
    "Query",
    "Removal",
    "Session",
    "VisualPrompt",
]


@dataclass(frozen=True, slots=True)
class Mask:
    """A binary mask, kept as the window of the frame that holds all its pixels.

    Attributes:
        x, y: the window's top left corner in frame pixels.
        bits: (h, w) uint8, 1 inside the object and 0 outside; lies wholly within the frame.
    """

    x: int
    y: int
    bits: NDArray[np.uint8]

    @classmethod
    def from_full(cls, full: NDArray[np.bool_] | NDArray[np.uint8]) -> Mask:
        """Crop a whole-frame mask, (H, W) of bool or 0/1, to its window."""
        rows = np.flatnonzero(full.any(axis=1))
        columns = np.flatnonzero(full.any(axis=0))
        if not len(rows):
            return cls(0, 0, np.zeros((0, 0), np.uint8))
        y0, y1, x0, x1 = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
        return cls(int(x0), int(y0), np.ascontiguousarray(full[y0:y1, x0:x1], dtype=np.uint8))

    def to_full(self, height: int, width: int) -> NDArray[np.uint8]:
        """The mask over the whole frame, (height, width) uint8 of 0 and 1."""
        full = np.zeros((height, width), np.uint8)
        h, w = self.bits.shape
        full[self.y : self.y + h, self.x : self.x + w] = self.bits
        return full


@dataclass(frozen=True, slots=True)
class ObjectResult:
    """One object on one frame.

    Attributes:
        object_id: positive, the same on every frame of the track, unique within the video.
        prompt: the user's prompt that it answers, word for word.
        score: 0 to 1, on this frame.
        box: x0, y0, x1, y1 in frame pixels.
        detection_score: 0 to 1, the detector's when it first saw the object, the same on every
            frame; None where no detector found it.
    """

    object_id: int
    prompt: str
    score: float
    box: tuple[float, float, float, float]
    mask: Mask
    detection_score: float | None = None


@dataclass(frozen=True, slots=True)
class FrameResult:
    """All objects on the frame with this ``index`` (``Frame.index``)."""

    index: int
    objects: list[ObjectResult] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked of a video.

    Attributes:
        prompts: texts; there may be none where there are objects.
        objects: objects that were pointed at, each from the frame on where it was first; on later
            frames the track is corrected.
        remove_objects: objects that results leave out. All others stay as they would be.
        max_objects: at most so many are tracked at a time; 0 is no limit.
        score_threshold: 0 to 1, from which a new object is tracked; None for the engine's own.
    """

    prompts: tuple[str, ...]
    objects: tuple[VisualPrompt, ...] = ()
    remove_objects: tuple[Removal, ...] = ()
    max_objects: int = 0
    score_threshold: float | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """All that ``ObjectResult.prompt`` may be: the texts, then other labels."""
        return labels(self.prompts, self.objects)

    @property
    def object_ids(self) -> dict[tuple[str, str], int]:
        """The ids of the objects that were pointed at, by label and object."""
        return object_ids(self.objects)

    @property
    def frames(self) -> frozenset[int]:
        """Those with visual prompts, by ``Frame.index``: they must be stepped."""
        return frozenset(each.frame for each in self.objects)

    def leaves_out(self, object_id: int, index: int) -> bool:
        """Whether an object is not shown on the frame with this index."""
        return any(
            each.object_id == object_id and each.frame <= index for each in self.remove_objects
        )


class Session(Protocol):
    """One video through one predictor."""

    def step(self, frames: Sequence[Frame]) -> list[FrameResult]:
        """Track through the next frames.

        Results come in frame order, one per frame, but may lag behind: an engine may look a few
        frames ahead before it commits to a result.
        """
        ...

    def finish(self) -> list[FrameResult]:
        """The results still owed after the last frame."""
        ...

    def state(self) -> bytes:
        """All that is needed to continue in another process.

        It does so after the last stepped frame, or after the last one that has its result: see
        ``Predictor.steps_again``.
        """
        ...

    def close(self) -> None:
        """Release what the session holds; may be called twice."""
        ...


class Predictor(Protocol):
    """A loaded model. One per model process, for all its videos.

    Attributes:
        versions: of the libraries and weights that shape the output.
        steps_again: whether a session that continues wants the frames again whose results were
            owed when its state was taken. False where the state knows all of them.
    """

    name: str
    device: str
    versions: dict[str, str]
    steps_again: bool

    def tracking_fps(self, video: VideoInfo) -> float:
        """The rate at which frames must be stepped for tracking to hold.

        Frames per second of video; 0 asks for no more than the frames that are written.
        """
        ...

    def open(self, video: VideoInfo, query: Query, state: bytes | None = None) -> Session:
        """Start a video, or continue one from ``Session.state()``.

        Raises:
            UnknownPrompt: the model has no word for a prompt.
            UnsupportedByEngine: it cannot do what is asked besides.
            CheckpointUnusable: the state is of another version of the engine.
        """
        ...
