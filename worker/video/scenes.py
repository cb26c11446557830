"""Where scenes begin, from how light and colours of whole frames change."""

from __future__ import annotations

import base64
from collections import deque
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from worker.video.planes import planes

Light = NDArray[np.uint16]  # (sum(BINS),): the histograms of a frame, one after the other

BINS = (32, 16, 16)  # of the histograms of luma and both chroma planes
STEP = 4  # pixels between those that are counted
SCALE = 65535  # a share of all pixels is kept as a 16 bit number

# A scene begins where at least this share of the pixels is of other bins than on the frame before,
# and half as much again as on the frames around: when all of them change, the camera moves.
MIN_CHANGE = 0.12
TIMES_AROUND = 1.5
AROUND = 4  # frames on either side


def light_of(picture: av.VideoFrame) -> Light:
    """The histograms of a yuv420p picture; no picture can be made from them."""
    shares = []
    for plane, bins in zip(planes(picture), BINS, strict=True):
        levels = plane[::STEP, ::STEP] // (256 // bins)
        counts = np.bincount(levels.ravel(), minlength=bins)
        shares.append(counts / counts.sum())
    return np.round(np.concatenate(shares) * SCALE).astype("<u2")


class CutDetector:
    """Tells whether a scene begins with a frame: mostly at once, at most ``AROUND`` frames later.

    Frames come in the order of the video, or in the opposite one: a cut is one from either side.
    The first frame follows none, so it is no cut.
    """

    def __init__(self) -> None:
        self._last: Light | None = None
        self._changes: deque[float] = deque(maxlen=2 * AROUND + 1)  # the latest
        self._undecided = 0  # frames

    def add(self, light: Light) -> list[bool]:
        """Take the next frame; give what is decided by now, of the frames in their order."""
        self._changes.append(0.0 if self._last is None else _change(self._last, light))
        self._last = light
        self._undecided += 1
        decided = []
        while self._undecided and (not (cut := self._may_be_cut()) or self._undecided > AROUND):
            decided.append(cut)
            self._undecided -= 1
        return decided

    def finish(self) -> list[bool]:
        """What is decided about the last frames when no more come."""
        decided = []
        for _ in range(self._undecided):
            decided.append(self._may_be_cut())
            self._undecided -= 1
        return decided

    def dump(self) -> dict[str, Any]:
        """Everything that ``load`` needs to go on, in JSON's types."""
        light = None if self._last is None else base64.b64encode(self._last.tobytes()).decode()
        return {"light": light, "changes": list(self._changes), "undecided": self._undecided}

    @classmethod
    def load(cls, state: dict[str, Any]) -> CutDetector:
        """The detector that ``dump`` described."""
        detector = cls()
        if state["light"] is not None:
            detector._last = np.frombuffer(base64.b64decode(state["light"]), "<u2")
        detector._changes.extend(state["changes"])
        detector._undecided = state["undecided"]
        return detector

    def _may_be_cut(self) -> bool:
        """Whether the first undecided frame is a cut by all that is known now."""
        at = len(self._changes) - self._undecided
        changes = list(self._changes)
        around = changes[max(at - AROUND, 0) : at] + changes[at + 1 : at + 1 + AROUND]
        return changes[at] >= max(MIN_CHANGE, TIMES_AROUND * max(around, default=0.0))


def _change(before: Light, after: Light) -> float:
    """The share of the pixels that moved to other bins, over the three planes: 0 to 1."""
    moved = np.abs(before.astype(np.float64) - after.astype(np.float64)).sum()
    return float(moved) / (2 * len(BINS) * SCALE)
