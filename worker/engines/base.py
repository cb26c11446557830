"""The protocol of engines, and the values that it exchanges."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from shoal.model.prompts import Exemplar, Removal, VisualPrompt, labels, object_ids
from shoal.model.sam3_options import Sam3Options
from worker.video.frame import Frame, VideoInfo

__all__ = [
    "Exemplar",
    "ExemplarReader",
    "FrameResult",
    "LongStep",
    "Mask",
    "ObjectResult",
    "PictureDetector",
    "Predictor",
    "Query",
    "Removal",
    "Session",
    "VisualPrompt",
]


@dataclass(frozen=True, slots=True)
class Mask:
    """A binary mask, stored as the window of the frame that contains all its pixels.

    Attributes:
        x, y: top left corner of the window in frame pixels.
        bits: (h, w) uint8, 1 inside the object and 0 outside; within the frame.
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
        object_id: positive, constant within a track, unique within the video.
        prompt: the prompt of the object, as submitted.
        score: 0 to 1, on this frame.
        box: x0, y0, x1, y1 in frame pixels.
        detection_score: 0 to 1, score of the detector at the first detection, constant within a
            track; None without a detection.
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
    """What to track in a video.

    Attributes:
        prompts: text prompts; may be empty if there are objects.
        objects: visual prompts; the first of an object starts its track, later ones correct it.
        remove_objects: objects to exclude from the results. Others are not affected.
        exemplars: boxes that show what to find on all frames, or what not; for an engine whose
            sessions are ``ExemplarReader``.
        track_fps: frames to step per second of video, at least; 0 = only the processed frames;
            None = ``Predictor.tracking_fps``.
        sam3: settings of the engine of that name; None = its defaults.
        assume_until_s: time of the last frame on which an object may begin that is seen as badly
            as one that goes on, as it may have begun before the first frame; -1 = none. Until the
            object is seen well enough to begin by itself, it has no detection score. Only engines
            that tell the two apart heed it.
    """

    prompts: tuple[str, ...]
    objects: tuple[VisualPrompt, ...] = ()
    remove_objects: tuple[Removal, ...] = ()
    max_objects: int = 0
    score_threshold: float | None = None
    exemplars: tuple[Exemplar, ...] = ()
    track_fps: float | None = None
    sam3: Sam3Options | None = None
    assume_until_s: float = -1.0

    @property
    def concepts(self) -> tuple[str, ...]:
        """What is looked for on all frames: the text prompts, then those of exemplars alone."""
        return labels(self.prompts, (), self.exemplars)

    @property
    def labels(self) -> tuple[str, ...]:
        """All values of ``ObjectResult.prompt``: the concepts, then further labels."""
        return labels(self.prompts, self.objects, self.exemplars)

    @property
    def object_ids(self) -> dict[tuple[str, str], int]:
        """IDs of the objects of visual prompts, by label and object."""
        return object_ids(self.objects)

    @property
    def frames(self) -> frozenset[int]:
        """``Frame.index`` of frames with visual prompts, which must be stepped."""
        return frozenset(each.frame for each in self.objects)

    @property
    def exemplar_frames(self) -> frozenset[int]:
        """``Frame.index`` of frames with exemplars, which need not be stepped."""
        return frozenset(each.frame for each in self.exemplars)

    def leaves_out(self, object_id: int, index: int) -> bool:
        """Whether an object is excluded from the results on the frame with this index."""
        return any(
            each.object_id == object_id and each.frame <= index for each in self.remove_objects
        )


class Session(Protocol):
    """One video in one predictor."""

    def step(self, frames: Sequence[Frame]) -> list[FrameResult]:
        """Track the next frames.

        Returns:
            Results in frame order, one per frame. They may be delayed: an engine may look a few
            frames ahead before it returns a result.

        Raises:
            GpuOutOfMemory: the frames do not fit into GPU memory.
            GpuError: the GPU failed; the process must be restarted.
        """
        ...

    def finish(self) -> list[FrameResult]:
        """The pending results after the last frame; raises what ``step`` raises."""
        ...

    def state(self) -> bytes:
        """Everything that another process needs to resume, of bounded size.

        It resumes after the last stepped frame, or after the last frame with a result: see
        ``Predictor.steps_again``.
        """
        ...

    def close(self) -> None:
        """Release all resources; may be called twice."""
        ...


@runtime_checkable
class ExemplarReader(Protocol):
    """What a ``Session`` provides besides where its engine supports exemplars."""

    def read_exemplars(self, frames: Iterable[Frame]) -> None:
        """Read the exemplars of ``Query.exemplar_frames``; they apply to all frames of the video.

        Called once, before the first step of a session that was opened without a state. One with a
        state knows them.

        Raises:
            GpuOutOfMemory, GpuError: as ``Session.step``.
        """
        ...


@runtime_checkable
class LongStep(Protocol):
    """What a ``Session`` has besides where a step may take minutes.

    Attributes:
        on_beat: set by the caller. To be called every few seconds within a step, so that it is not
            taken for one that hangs. It raises ``Stopped`` if the job must stop; the session must
            leave its state as it was before the step then.
    """

    on_beat: Callable[[], None]


class Predictor(Protocol):
    """A loaded model; one per model process, for all its videos.

    Attributes:
        name: name of the engine.
        device: device that it runs on, such as ``cpu`` or ``cuda:0 NVIDIA L4``.
        versions: versions of the libraries and weights that affect the output.
        steps_again: whether a resumed session needs the frames again whose results were pending
            when its state was saved. False if the state contains all of them.
    """

    name: str
    device: str
    versions: dict[str, str]
    steps_again: bool

    def tracking_fps(self, video: VideoInfo) -> float:
        """The minimum rate at which frames must be stepped for reliable tracking.

        Returns:
            Frames per second of video; 0 = only the processed frames.
        """
        ...

    def open(self, video: VideoInfo, query: Query, state: bytes | None = None) -> Session:
        """Start a video, or resume one from ``Session.state()``.

        Raises:
            UnknownPrompt: the model does not recognize a prompt.
            UnsupportedByEngine: it does not support a feature of the query.
            CheckpointUnusable: the state is from another version of the engine.
        """
        ...


def tracking_fps(predictor: Predictor, query: Query, video: VideoInfo) -> float:
    """The minimum rate at which a predictor is to be stepped: the query's, else its own."""
    return predictor.tracking_fps(video) if query.track_fps is None else query.track_fps


@runtime_checkable
class WarmsUp(Protocol):
    """A ``Predictor`` whose sessions track differently at their beginning.

    Attributes:
        warm_up_s: seconds of video after which a session that began in the middle of a video
            mostly tracks as one that has seen all of it.
    """

    warm_up_s: float


def warm_up_s(predictor: Predictor) -> float:
    """As ``WarmsUp``; 0 where nothing is said."""
    return predictor.warm_up_s if isinstance(predictor, WarmsUp) else 0.0


@runtime_checkable
class PictureDetector(Protocol):
    """What a ``Predictor`` provides besides where it can answer previews.

    It keeps no state from one call to the next, and changes none of a session's: previews are
    answered between two steps of one, from another thread.
    """

    def detect(
        self, frames: Sequence[Frame], query: Query, shown: Sequence[Frame] = ()
    ) -> list[FrameResult]:
        """Find objects on single pictures, without tracks.

        Args:
            query: ``score_threshold`` is the least score; without one, it is that of
                ``start_scores``. Visual prompts apply to the frame with their number, exemplars
                to all frames.
            shown: the frames that the query's exemplars are on.

        Returns:
            One result per frame. IDs number the objects of a frame from 1; objects of visual
            prompts have those of ``Query.object_ids``.

        Raises:
            UnknownPrompt, InvalidPrompt, UnsupportedByEngine: as ``Predictor.open``.
            GpuOutOfMemory, GpuError: as ``Session.step``.
        """
        ...

    def start_scores(self, prompts: Sequence[str]) -> dict[str, float]:
        """By prompt: the score from which a detection starts a track, if none is given."""
        ...
