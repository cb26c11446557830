"""Objects that were pointed at: what to tell the package of them in a window."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from shoal.errors import UnsupportedByEngine
from worker.engines.base import FrameResult, Mask, Query, VisualPrompt
from worker.engines.sam3_native.client import FIRST_CORNER, INSIDE, LAST_CORNER
from worker.video.frame import VideoInfo


@dataclass(frozen=True, slots=True)
class NativeHint:
    """Where an object is on a frame, as ``NativeSession.point`` takes it."""

    object_id: int
    points: list[list[float]]
    labels: list[int]


class NativePointed:
    """The objects that a user pointed at.

    The boxes of the package's requests ask for everything that looks like what is in them. A box
    of ours means one object, as its tracker has it: two points that are opposite corners.

    Attributes:
        labels: of the objects, by their ids.

    Raises:
        UnsupportedByEngine: one is given by a mask, which the package's requests do not know.
    """

    def __init__(self, query: Query, video: VideoInfo) -> None:
        if any(prompt.mask for prompt in query.objects):
            raise UnsupportedByEngine("sam3-native supports points and boxes only")
        self._ids = query.object_ids
        self._prompts = query.objects
        self._size = (video.width, video.height)
        self.labels = {i: label for (label, _), i in self._ids.items()}

    def hints(
        self, indices: Sequence[int], held: Sequence[FrameResult]
    ) -> dict[int, list[NativeHint]]:
        """What to tell in a window: what the user did, and where known objects are.

        An object of the window before is pointed at where it shows first in the overlap, by the
        box of its mask and a point inside.

        Args:
            indices: ``Frame.index`` of the window's frames.
            held: results for the first of them.

        Returns:
            By frame, counted from the start of the window; in the order of frames.
        """
        hints: dict[int, list[NativeHint]] = defaultdict(list)
        carried: set[int] = set()
        for frame, known in enumerate(held):
            for each in known.objects:
                if each.object_id in self.labels and each.object_id not in carried:
                    carried.add(each.object_id)
                    hints[frame].append(self._around(each.object_id, each.mask))
        places = {index: frame for frame, index in enumerate(indices)}
        for prompt in self._prompts:
            if prompt.frame in places:
                hints[places[prompt.frame]].append(self._as_given(prompt))
        return dict(sorted(hints.items()))

    def _as_given(self, prompt: VisualPrompt) -> NativeHint:
        points = [(x, y) for x, y, _ in prompt.points]
        labels: list[int] = [label for *_, label in prompt.points]
        if prompt.box is not None:
            points, labels = [prompt.box[:2], prompt.box[2:]], [FIRST_CORNER, LAST_CORNER]
        return self._hint(self._ids[prompt.label, prompt.object], points, labels)

    def _around(self, object_id: int, mask: Mask) -> NativeHint:
        """The box of a mask, and the pixel that lies deepest inside."""
        height, width = mask.bits.shape
        depth = cv2.distanceTransform(np.pad(mask.bits, 1), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        row, column = divmod(int(depth.argmax()), depth.shape[1])
        corners = [(mask.x, mask.y), (mask.x + width, mask.y + height)]
        deepest = (mask.x + column - 0.5, mask.y + row - 0.5)  # its middle, less the padding
        return self._hint(object_id, [*corners, deepest], [FIRST_CORNER, LAST_CORNER, INSIDE])

    def _hint(
        self, object_id: int, points: Sequence[tuple[float, float]], labels: list[int]
    ) -> NativeHint:
        width, height = self._size
        return NativeHint(object_id, [[x / width, y / height] for x, y in points], labels)
