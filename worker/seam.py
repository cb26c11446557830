"""Where two passes over a video meet, and how the second learns the ids of the first."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from pycocotools import mask as coco

from shoal.prompts import is_pointed
from worker.predictors.base import FrameResult, ObjectResult
from worker.sinks import rle

# Both passes see the seam first and in the same way, so their masks differ by rounding at most.
SAME_IOU = 0.5


@dataclass(frozen=True, slots=True)
class Known:
    """An object on the seam, as the first pass reported it; ``rle`` holds COCO counts."""

    object_id: int
    prompt: str
    rle: str


@dataclass(slots=True)
class Seam:
    """The start frame of a video that is tracked forward from it, and then backward.

    Each pass has a session of its own that begins with this frame. An object of the backward pass
    that has the prompt and the mask of one that the forward pass reported there gets its id; all
    others get ids above those of the forward pass. Objects that were pointed at have the same id in
    both anyway.

    Attributes:
        frame: ``Frame.index`` of the seam.
        height, width: of the frame, in pixels.
        known: the objects on it, told by the forward pass.
        highest_id: that the forward pass has given to what it found.
        same: id in the backward pass -> id in the forward pass.
    """

    frame: int
    height: int
    width: int
    known: list[Known] = field(default_factory=list)
    highest_id: int = 0
    same: dict[int, int] = field(default_factory=dict)

    def learn(self, result: FrameResult) -> None:
        """Take note of a frame of the forward pass."""
        found = [each for each in result.objects if not is_pointed(each.object_id)]
        self.highest_id = max([self.highest_id, *(each.object_id for each in found)])
        if result.index == self.frame:
            self.known = [Known(each.object_id, each.prompt, self._encode(each)) for each in found]

    def meet(self, result: FrameResult) -> None:
        """Find the known objects in the backward pass's own result for the seam.

        The most alike are paired first.
        """
        pairs = [
            (self._iou(each, known), each.object_id, known.object_id)
            for each in result.objects
            for known in self.known
            if each.prompt == known.prompt and not is_pointed(each.object_id)
        ]
        for iou, ours, theirs in sorted(pairs, key=lambda pair: -pair[0]):
            taken = ours in self.same or theirs in self.same.values()
            if iou >= SAME_IOU and not taken:
                self.same[ours] = theirs

    def translate(self, result: FrameResult) -> FrameResult:
        """A result of the backward pass with the ids of the video."""
        objects = [replace(each, object_id=self._id(each.object_id)) for each in result.objects]
        return replace(result, objects=objects)

    def _id(self, object_id: int) -> int:
        if is_pointed(object_id):
            return object_id
        return self.same.get(object_id, object_id + self.highest_id)

    def _encode(self, item: ObjectResult) -> str:
        return rle.encode(item.mask, self.height, self.width)

    def _iou(self, item: ObjectResult, known: Known) -> float:
        size = [self.height, self.width]
        ours, theirs = ({"size": size, "counts": text} for text in (self._encode(item), known.rle))
        return float(coco.iou([ours], [theirs], [0])[0, 0])
