"""Objects that were pointed at: what to tell the package of them in a window."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from worker.predictors.base import FrameResult, Mask, VisualPrompt
from worker.predictors.sam3_native.client import FIRST_CORNER, INSIDE, LAST_CORNER
from worker.video.frame import VideoInfo


@dataclass(frozen=True, slots=True)
class Hint:
    """Where an object is on a frame, as ``NativeSession.point`` takes it."""

    object_id: int
    points: list[list[float]]
    labels: list[int]


class Pointed:
    """The objects that a user pointed at.

    The package's own boxes ask for everything that looks like what is in them. A box of ours means
    one object, which its tracker takes as two points: two opposite corners.

    Attributes:
        labels: by object id, from 1 on in the order in which they were given.
    """

    def __init__(self, prompts: Sequence[VisualPrompt], video: VideoInfo) -> None:
        self.labels = dict(enumerate(dict.fromkeys(prompt.label for prompt in prompts), 1))
        self._prompts = sorted(prompts, key=lambda prompt: prompt.frame)
        self._size = (video.width, video.height)

    def hints(self, indices: Sequence[int], held: Sequence[FrameResult]) -> dict[int, list[Hint]]:
        """What to tell in a window.

        Besides the user's own prompts: an object of the window before is pointed at where it shows
        first in the overlap, since the package takes no masks.

        Args:
            indices: ``Frame.index`` of the window's frames.
            held: results for the first of them.

        Returns:
            By frame, counted from the start of the window; in the order of frames.
        """
        hints: dict[int, list[Hint]] = defaultdict(list)
        ids = {label: i for i, label in self.labels.items()}
        carried: set[int] = set()
        for frame, known in enumerate(held):
            for each in known.objects:
                if each.object_id in self.labels and each.object_id not in carried:
                    carried.add(each.object_id)
                    hints[frame].append(self._around(each.object_id, each.mask))
        for prompt in self._prompts:
            if indices[0] <= prompt.frame <= indices[-1]:
                frame = bisect_left(indices, prompt.frame)
                hints[frame].append(self._as_given(ids[prompt.label], prompt))
        return dict(sorted(hints.items()))

    def _as_given(self, object_id: int, prompt: VisualPrompt) -> Hint:
        points = [(x, y) for x, y, _ in prompt.points]
        labels = [label for *_, label in prompt.points]
        if prompt.box is not None:
            x0, y0, x1, y1 = prompt.box
            points, labels = [(x0, y0), (x1, y1)], [FIRST_CORNER, LAST_CORNER]
        return self._hint(object_id, points, labels)

    def _around(self, object_id: int, mask: Mask) -> Hint:
        """The box of a mask, and the point that lies deepest inside."""
        height, width = mask.bits.shape
        depth = cv2.distanceTransform(np.pad(mask.bits, 1), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        row, column = np.unravel_index(int(depth.argmax()), depth.shape)
        return self._hint(
            object_id,
            [
                (mask.x, mask.y),
                (mask.x + width, mask.y + height),
                (mask.x + float(column) - 0.5, mask.y + float(row) - 0.5),
            ],
            [FIRST_CORNER, LAST_CORNER, INSIDE],
        )

    def _hint(
        self, object_id: int, points: Sequence[tuple[float, float]], labels: list[int]
    ) -> Hint:
        width, height = self._size
        return Hint(object_id, [[x / width, y / height] for x, y in points], labels)
