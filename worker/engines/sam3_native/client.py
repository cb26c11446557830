"""Meta's predictor, as it is spoken to: one of its sessions over some frames."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from PIL import Image

from worker.engines.base import Mask

# Labels of points, as the package's tracker reads them (sam3_tracking_predictor.py:223): a box is
# its first and its last corner.
OUTSIDE, INSIDE, FIRST_CORNER, LAST_CORNER = 0, 1, 2, 3


class Native(Protocol):
    """What is used of ``sam3.model.sam3_video_predictor.Sam3VideoPredictorMultiGPU``.

    Attributes:
        model: of it ``max_num_objects`` and ``new_det_thresh``, for which there is no request. The
            first GPU decides by them for all (sam3_video_base.py:534).
    """

    model: Any

    def handle_request(self, request: dict[str, Any]) -> dict[str, Any]: ...

    def handle_stream_request(
        self, request: dict[str, Any]
    ) -> Generator[dict[str, Any], None, None]: ...


@dataclass(frozen=True, slots=True)
class NativeDetection:
    """An object on a frame.

    Attributes:
        id: within the session.
        score: 0 to 1, of its first detection; 1 for one that was pointed at.
        mask: at the size of the video, not empty.
    """

    id: int
    score: float
    mask: Mask


@contextmanager
def started(
    native: Native, pictures: Sequence[Image.Image], on_beat: Callable[[], None] = lambda: None
) -> Iterator[NativeSession]:
    """A session over these pictures, closed whatever happens.

    The package prepares each picture for the network (59 ms for one of 1080p on a CPU), so one
    session serves all prompts: each of them resets it, and keeps the pictures.

    They are handed over as they are. Nothing is encoded anew, and the package's reader of video
    files by OpenCV is passed by, which does not scale pixels to 0..1 (io_utils.py:304). Nothing is
    settled there: sam3#493 asks whether the weights expect that, sam3#522 and sam3#603 propose to
    scale; all are open.
    """
    request = {"type": "start_session", "resource_path": list(pictures)}
    on_beat()
    session_id = native.handle_request(request)["session_id"]
    try:
        yield NativeSession(native, session_id, len(pictures), on_beat)
    finally:
        native.handle_request({"type": "close_session", "session_id": session_id})


@contextmanager
def limited(native: Native, max_objects: int, score_threshold: float | None) -> Iterator[None]:
    """Within, a session finds at most so many objects at a time, from this score on.

    Args:
        max_objects: 0 for no limit.
        score_threshold: 0 to 1; None for the package's own, 0.7. It detects nothing below 0.5.
    """
    model = native.model
    before = model.max_num_objects, model.new_det_thresh
    if max_objects:
        model.max_num_objects = max_objects
    if score_threshold is not None:
        model.new_det_thresh = score_threshold
    try:
        yield
    finally:
        model.max_num_objects, model.new_det_thresh = before


class NativeSession:
    """A session of the package; frames are counted from 0 within it.

    Args:
        on_beat: called with every frame that was passed. What it raises ends the pass.
    """

    def __init__(
        self, native: Native, session_id: str, frames: int, on_beat: Callable[[], None]
    ) -> None:
        self._native = native
        self._session_id = session_id
        self._frames = frames
        self._on_beat = on_beat

    def find(self, text: str) -> list[list[NativeDetection]]:
        """Everything that a text names, frame by frame. It resets the session."""
        self._ask("add_prompt", frame_index=0, text=_not_reserved(text))
        return self.propagate()

    def expect_points(self) -> None:
        """Reset the session, and let ``point`` be its next prompt.

        The package wants every frame to have been visited: it asserts a result for each before it
        takes a point (sam3_video_inference.py:556, sam3#368). "visual" is its word for a prompt
        without a text, to which nothing is found.
        """
        self._ask("add_prompt", frame_index=0, text="visual")
        self.propagate()

    def point(
        self, frame: int, object_id: int, points: list[list[float]], labels: list[int]
    ) -> None:
        """Mark an object, a new one or one to be corrected.

        Args:
            points: x and y, relative to width and height: 0 to 1.
            labels: ``INSIDE`` or ``OUTSIDE``, or the corners of a box.
        """
        self._ask(
            "add_prompt",
            frame_index=frame,
            points=points,
            point_labels=labels,
            obj_id=object_id,
        )

    def propagate(self, start: int = 0) -> list[list[NativeDetection]]:
        """Track what was prompted through all frames from ``start`` on.

        Always forward: a video that is tracked backward comes in that order.

        Returns:
            For every frame of the session its objects; none where it was not passed.
        """
        found: list[list[NativeDetection]] = [[] for _ in range(self._frames)]
        request = {
            "type": "propagate_in_video",
            "session_id": self._session_id,
            "propagation_direction": "forward",
            "start_frame_index": start,
        }
        with closing(self._native.handle_stream_request(request)) as answers:
            for answer in answers:
                found[answer["frame_index"]] = _sightings(answer["outputs"])
                self._on_beat()
        return found

    def _ask(self, kind: str, **fields: Any) -> None:
        self._native.handle_request({"type": kind, "session_id": self._session_id, **fields})


def _not_reserved(text: str) -> str:
    """The package takes "visual" for no text at all; its tokenizer ignores letter case."""
    return "Visual" if text == "visual" else text


def _sightings(outputs: dict[str, Any]) -> list[NativeDetection]:
    """
    Args:
        outputs: ``out_obj_ids`` (N,) int64, ``out_probs`` (N,) float32, ``out_binary_masks``
            (N, H, W) bool. Its ``out_boxes_xywh`` are of the masks before those of several
            objects were kept apart, so they are not used.
    """
    masks = map(Mask.from_full, outputs["out_binary_masks"])
    each = zip(outputs["out_obj_ids"].tolist(), outputs["out_probs"].tolist(), masks, strict=True)
    return [NativeDetection(i, score, mask) for i, score, mask in each if mask.bits.size]
