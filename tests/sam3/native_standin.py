"""A stand-in for Meta's predictor where there is no CUDA device, as strict as the real one.

It takes the requests of ``Sam3VideoPredictorMultiGPU`` (sam3 0.1.4) and answers in its shapes and
types. What it asserts and what it forgets is noted with the place in the package. In place of a
network it looks at colours: a text names one, and finds the blobs of it.
"""

from __future__ import annotations

import itertools
from collections.abc import Generator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from worker.engines.sam3_native.predictor import LoadedNative, Sam3NativePredictor

MAX_OBJECTS, THRESHOLD, SCORE = 10_000, 0.7, 0.75
COLOURS = {"red": 0, "green": 1, "blue": 2}
FIELDS = {
    "start_session": {"resource_path", "session_id"},
    "add_prompt": {
        "session_id",
        "frame_index",
        "text",
        "points",
        "point_labels",
        "bounding_boxes",
        "bounding_box_labels",
        "obj_id",
    },
    "remove_object": {"session_id", "obj_id", "is_user_action"},
    "reset_session": {"session_id"},
    "close_session": {"session_id"},
    "propagate_in_video": {
        "session_id",
        "propagation_direction",
        "start_frame_index",
        "max_frame_num_to_track",
    },
}
Blobs = dict[int, NDArray[np.bool_]]  # by object id


@dataclass
class State:
    """What the package keeps of a session.

    Attributes:
        frames: (T, H, W, 3) uint8.
        cached: results by frame; points are taken only where there are some.
        colours: of the objects that were pointed at, each with its last mask.
    """

    frames: NDArray[np.uint8]
    text: str | None = None
    cached: dict[int, Blobs] = field(default_factory=dict)
    pointed: dict[int, tuple[int, NDArray[np.bool_]]] = field(default_factory=dict)
    history: list[str] = field(default_factory=list)


class StandIn:
    """
    Attributes:
        sessions: that are open, by their ids.
        started: the number of frames of each session there was.
        requests: the types of all requests, in order.
        fails_at: raise this on the n-th frame that is propagated, counted over all sessions.
    """

    def __init__(self) -> None:
        self.model = SimpleNamespace(max_num_objects=MAX_OBJECTS, new_det_thresh=THRESHOLD)
        self.sessions: dict[str, State] = {}
        self.started: list[int] = []
        self.requests: list[str] = []
        self.fails_at: tuple[int, BaseException] | None = None
        self._frames_done = 0
        self._names = (f"session-{n}" for n in itertools.count())

    def handle_request(self, request: dict[str, Any]) -> dict[str, Any]:
        kind, fields = self._checked(request)
        if kind == "start_session":
            return self._start(**fields)
        if kind == "close_session":
            self.sessions.pop(fields["session_id"], None)
            return {"is_success": True}
        state = self._state(fields.pop("session_id"))
        if kind == "add_prompt":
            frame = fields.pop("frame_index")
            return {"frame_index": frame, "outputs": self._add(state, frame, **fields)}
        if kind == "remove_object":
            for blobs in state.cached.values():
                blobs.pop(fields["obj_id"], None)
            state.pointed.pop(fields["obj_id"], None)
            return {"is_success": True}
        raise AssertionError(f"not used: {kind}")

    def handle_stream_request(
        self, request: dict[str, Any]
    ) -> Generator[dict[str, Any], None, None]:
        _, fields = self._checked(request)
        state = self._state(fields["session_id"])
        direction = fields.get("propagation_direction", "both")
        assert direction in ("both", "forward", "backward")
        start = fields.get("start_frame_index")
        if start is None:
            start = min(state.cached)  # fails where no prompt was received
        count = len(state.frames)
        assert state.history[-1:] != ["propagation"], "the package would only repeat itself"
        orders = {"forward": range(start, count), "backward": range(start - 1, -1, -1)}
        for name, order in orders.items():
            if direction in ("both", name):
                for frame in order:
                    yield {"frame_index": frame, "outputs": self._propagate(state, frame)}
        state.history.append("propagation")

    def _checked(self, request: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        kind = request["type"]
        self.requests.append(kind)
        fields = {k: v for k, v in request.items() if k != "type"}
        unknown = fields.keys() - FIELDS[kind]
        assert not unknown, f"the package would ignore {unknown}"
        return kind, fields

    def _state(self, session_id: str) -> State:
        if session_id not in self.sessions:  # sam3_video_predictor.py:254
            raise RuntimeError(f"Cannot find session {session_id}; it might have expired")
        return self.sessions[session_id]

    def _start(self, resource_path: Any, session_id: str | None = None) -> dict[str, Any]:
        assert isinstance(resource_path, list)
        assert resource_path
        assert all(isinstance(picture, Image.Image) for picture in resource_path)
        session_id = session_id or next(self._names)
        frames = np.stack([np.asarray(picture.convert("RGB")) for picture in resource_path])
        self.sessions[session_id] = State(frames)
        self.started.append(len(frames))
        return {"session_id": session_id}

    def _add(
        self,
        state: State,
        frame: int,
        text: str | None = None,
        points: list[list[float]] | None = None,
        point_labels: list[int] | None = None,
        bounding_boxes: list[list[float]] | None = None,
        bounding_box_labels: list[int] | None = None,
        obj_id: int | None = None,
    ) -> dict[str, Any]:
        if points is not None:  # sam3_video_inference.py:1369
            assert text is None
            assert bounding_boxes is None
            assert obj_id is not None
            assert point_labels is not None
            assert frame in state.cached, "No cached outputs found."
            self._point(state, frame, obj_id, points, point_labels)
            return _outputs(state, state.cached[frame])
        assert text is not None or bounding_boxes is not None
        assert 0 <= frame < len(state.frames)
        assert bounding_boxes is None, "not used"
        state.text = None if text == "visual" else text  # and all else is forgotten: line 863
        state.cached, state.pointed, state.history = {}, {}, []
        state.cached[frame] = self._found(state, frame, {})
        return _outputs(state, state.cached[frame])

    def _point(
        self, state: State, frame: int, i: int, points: list[list[float]], labels: list[int]
    ) -> None:
        """A box holds the object in its middle; a point lies on it; others are off it."""
        assert len(points) == len(labels)
        assert all(0 <= each <= 1 for point in points for each in point), "relative"
        height, width = state.frames.shape[1:3]
        pixels = [(int(x * width), int(y * height)) for x, y in points]
        inside = [pixel for pixel, label in zip(pixels, labels, strict=True) if label == 1]
        corners = [pixel for pixel, label in zip(pixels, labels, strict=True) if label in (2, 3)]
        if corners:
            assert labels[:2] == [2, 3]
            inside.append(tuple(sum(each) // 2 for each in zip(*corners, strict=True)))
        x, y = inside[0] if inside else _centre(state.cached[frame][i])
        colour = int(state.frames[frame, y, x].argmax())
        blob = next(blob for blob in _blobs(state.frames[frame], colour) if blob[y, x])
        state.pointed[i] = colour, blob
        state.cached[frame] = state.cached[frame] | {i: blob}
        state.history.append("add")

    def _propagate(self, state: State, frame: int) -> dict[str, Any]:
        if self.fails_at and self._frames_done == self.fails_at[0]:
            error, self.fails_at = self.fails_at[1], None
            raise error
        self._frames_done += 1
        if "add" in state.history:  # a partial propagation merges with what it had: line 1071
            assert frame in state.cached, "No cached outputs found."
            for i, (colour, last) in list(state.pointed.items()):
                for blob in _nearest(_blobs(state.frames[frame], colour), last):
                    state.pointed[i] = colour, blob
                    state.cached[frame] = state.cached[frame] | {i: blob}
        else:
            known = state.cached.get(frame - 1, {})
            state.cached[frame] = self._found(state, frame, known)
        return _outputs(state, state.cached[frame])

    def _found(self, state: State, frame: int, known: Blobs) -> Blobs:
        """Of a text the blobs of its colour: known ones keep their ids, from right to left."""
        if state.text is None:
            return {}
        left = _blobs(state.frames[frame], COLOURS[state.text.lower()])
        left.sort(key=lambda blob: -_centre(blob)[0])
        found: Blobs = {}
        for i, last in known.items():
            for nearest in _nearest(left, last):
                found[i] = nearest
                left = [blob for blob in left if blob is not nearest]
        if self.model.new_det_thresh > SCORE:
            left = []
        del left[max(0, self.model.max_num_objects - len(found)) :]
        used = [i for blobs in state.cached.values() for i in blobs]
        return found | dict(enumerate(left, max(used, default=-1) + 1))


def _blobs(picture: NDArray[np.uint8], colour: int) -> list[NDArray[np.bool_]]:
    """The connected parts of a picture, (H, W, 3), in which one channel stands out."""
    others = np.delete(picture, colour, axis=2).max(axis=2).astype(int)
    strong = picture[..., colour].astype(int) - others > 100
    count, labels = cv2.connectedComponents(strong.astype(np.uint8))
    return [labels == n for n in range(1, count)]


def _centre(blob: NDArray[np.bool_]) -> tuple[int, int]:
    """x and y."""
    rows, columns = np.nonzero(blob)
    return int(columns.mean()), int(rows.mean())


def _nearest(blobs: list[NDArray[np.bool_]], last: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """The one that overlaps most with the last mask of an object; none where none does."""
    overlapping = [blob for blob in blobs if (blob & last).any()]
    return sorted(overlapping, key=lambda blob: -int((blob & last).sum()))[:1]


def _outputs(state: State, blobs: Blobs) -> dict[str, Any]:
    """As ``_postprocess_output`` has them (sam3_video_inference.py:429)."""
    height, width = state.frames.shape[1:3]
    ids = sorted(i for i, blob in blobs.items() if blob.any())
    masks = np.array([blobs[i] for i in ids], bool).reshape(-1, height, width)
    boxes = np.zeros((len(ids), 4), np.float32)
    for box, mask in zip(boxes, masks, strict=True):
        x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
        box[:] = x / width, y / height, w / width, h / height
    return {
        "out_obj_ids": np.array(ids, np.int64),
        "out_probs": np.array([1.0 if i in state.pointed else SCORE for i in ids], np.float32),
        "out_boxes_xywh": boxes,
        "out_binary_masks": masks,
        "frame_stats": None,
    }


def predictor(native: StandIn, window: int = 16, overlap: int = 4) -> Sam3NativePredictor:
    """The engine on a stand-in."""
    loaded = LoadedNative(native, device="a stand-in", versions={"sam3": "a stand-in"})
    return Sam3NativePredictor(loaded, window, overlap)


def load() -> Sam3NativePredictor:
    """For ``SHOAL_ENGINE=tests.sam3.native_standin:load``."""
    return predictor(StandIn())
