"""Ids of two passes that meet on a frame."""

from __future__ import annotations

import numpy as np

from shoal.model.prompts import FIRST_POINTED_ID
from worker.engines.base import FrameResult, Mask, ObjectResult
from worker.pipeline.matching import PassMatcher

FRAME = 5


def item(object_id: int, x: int, prompt: str = "person", size: int = 10) -> ObjectResult:
    mask = Mask(x, 0, np.ones((size, size), np.uint8))
    return ObjectResult(object_id, prompt, 0.9, (x, 0, x + size, size), mask)


def matcher(*known: ObjectResult, highest: int = 0) -> PassMatcher:
    """What the forward pass has left; ``highest`` appeared on a later frame."""
    made = PassMatcher(FRAME, height=60, width=80)
    made.learn(FrameResult(FRAME, list(known)))
    if highest:
        made.learn(FrameResult(FRAME + 1, [item(highest, 0)]))
    return made


def ids(made: PassMatcher, *objects: ObjectResult) -> list[int]:
    return [each.object_id for each in made.translate(FrameResult(0, list(objects))).objects]


def test_objects_are_known_again_by_prompt_and_mask_whatever_their_ids() -> None:
    made = matcher(item(1, 0), item(2, 20), item(3, 20, "ball"), highest=6)
    made.meet(FrameResult(FRAME, [item(1, 20, "ball"), item(2, 0), item(3, 20)]))
    assert ids(made, item(3, 50), item(2, 50), item(1, 50)) == [2, 1, 3]


def test_all_others_get_ids_that_the_first_pass_did_not_give() -> None:
    made = matcher(item(1, 0), highest=6)
    made.meet(FrameResult(FRAME, [item(1, 0), item(2, 40)]))
    assert ids(made, item(1, 0), item(2, 40), item(3, 60)) == [1, 8, 9]


def test_masks_need_not_be_the_very_same_and_the_most_alike_are_paired() -> None:
    made = matcher(item(1, 0), item(2, 4), highest=2)
    made.meet(FrameResult(FRAME, [item(1, 3), item(2, 1)]))
    assert ids(made, item(1, 3), item(2, 1)) == [2, 1]


def test_no_id_goes_to_two_objects() -> None:
    made = matcher(item(1, 0))
    made.meet(FrameResult(FRAME, [item(1, 0), item(2, 0)]))
    assert sorted(ids(made, item(1, 0), item(2, 0))) == [1, 3]


def test_little_in_common_is_not_the_same() -> None:
    made = matcher(item(1, 0))
    made.meet(FrameResult(FRAME, [item(1, 6)]))
    assert ids(made, item(1, 6)) == [2]


def test_without_a_known_object_all_are_new() -> None:
    made = matcher()
    made.meet(FrameResult(FRAME, [item(1, 0)]))
    assert ids(made, item(1, 0)) == [1]


def test_objects_that_were_pointed_at_keep_their_ids() -> None:
    pointed = FIRST_POINTED_ID + 1
    made = matcher(item(1, 0), item(pointed, 20), highest=4)
    made.learn(FrameResult(FRAME + 2, [item(pointed, 20)]))
    made.meet(FrameResult(FRAME, [item(pointed, 0), item(2, 20)]))
    assert ids(made, item(pointed, 0), item(2, 20)) == [pointed, 6]
