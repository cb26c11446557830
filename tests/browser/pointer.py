"""An engine that can be pointed at: it finds a square where it is told to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tests.fakes import Fake
from worker.engines.base import FrameResult, Mask, ObjectResult, Query
from worker.video.frame import Frame


class Pointer(Fake):
    """``SHOAL_ENGINE=tests.browser.pointer:Pointer``."""

    def detect(
        self, frames: Sequence[Frame], query: Query, shown: Sequence[Frame] = ()
    ) -> list[FrameResult]:
        return [FrameResult(frame.index, self._objects(frame, query)) for frame in frames]

    def start_scores(self, prompts: Sequence[str]) -> dict[str, float]:
        return dict.fromkeys(prompts, 0.5)

    def _objects(self, frame: Frame, query: Query) -> list[ObjectResult]:
        found = [square(n, prompt, 10 + 40 * n, 10) for n, prompt in enumerate(query.prompts, 1)]
        ids = query.object_ids
        for each in query.objects:
            if each.frame == frame.index:
                x, y = each.box[:2] if each.box else each.points[0][:2]
                found.append(square(ids[each.label, each.object], each.label, int(x), int(y)))
        return found


def square(number: int, prompt: str, x: int, y: int) -> ObjectResult:
    mask = Mask(x, y, np.ones((20, 20), np.uint8))
    return ObjectResult(number, prompt, 0.9, (x, y, x + 20.0, y + 20.0), mask)
