"""Where two passes over a video meet, and how the second learns the ids of the first."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from shoal.model.prompts import is_pointed
from worker.engines.base import FrameResult, ObjectResult
from worker.matching import match
from worker.outputs import rle

# Both passes process the start frame first, in the same way: masks differ at most by rounding.
SAME_IOU = 0.5


@dataclass(frozen=True, slots=True)
class Known:
    """An object on the start frame, as the first pass reported it; ``rle`` holds COCO counts."""

    object_id: int
    prompt: str
    rle: str


@dataclass(slots=True)
class PassMatcher:
    """The start frame of a video that is tracked forward from it, and then backward.

    Each pass has a session of its own that begins with this frame. An object of the backward pass
    that has the prompt and the mask of one that the forward pass reported there gets its id; all
    others get ids above those of the forward pass. Objects that were pointed at have the same id in
    both anyway.

    Attributes:
        frame: ``Frame.index`` of the start frame.
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
        """Find the known objects in the backward pass's own result for the start frame."""
        found = [each for each in result.objects if not is_pointed(each.object_id)]
        known = [self._result(each) for each in self.known]
        self.same = match([known], [found], SAME_IOU)

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

    def _result(self, known: Known) -> ObjectResult:
        mask = rle.decode(known.rle, self.height, self.width)
        return ObjectResult(known.object_id, known.prompt, 0.0, (0.0, 0.0, 0.0, 0.0), mask)
