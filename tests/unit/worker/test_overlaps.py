"""Objects of two runs that have seen the same frames."""

from __future__ import annotations

import numpy as np

from worker.engines.base import Mask, ObjectResult
from worker.matching import match


def mask(x: int, width: int = 10) -> Mask:
    return Mask(x, 0, np.ones((10, width), np.uint8))


def known(object_id: int, mask: Mask) -> ObjectResult:
    return ObjectResult(object_id, "a", 1.0, (0.0, 0.0, 1.0, 1.0), mask)


def paired(earlier: list[Mask], later: list[Mask]) -> dict[int, int]:
    """On one frame; ids of earlier objects are from 10 on, of later ones from 0."""
    before = [known(i, each) for i, each in enumerate(earlier, 10)]
    after = [known(i, each) for i, each in enumerate(later)]
    return match([before], [after])


def test_the_best_pairs_come_first_and_one_to_one() -> None:
    assert paired([mask(0), mask(4)], [mask(3), mask(0)]) == {1: 10, 0: 11}


def test_all_find_their_partner_where_the_best_pair_would_leave_one_without() -> None:
    """The first of either side are the most alike, yet the others then had none."""
    before, after = [mask(0), mask(4)], [mask(1), mask(-5, 10)]
    assert paired(before, after) == {0: 11, 1: 10}


def test_objects_of_different_prompts_are_different() -> None:
    other = ObjectResult(1, "b", 1.0, (0.0, 0.0, 1.0, 1.0), mask(0))
    assert match([[known(7, mask(0))]], [[other]]) == {}


def test_too_little_overlap_is_another_object() -> None:
    assert paired([mask(0)], [mask(5)]) == {0: 10}  # 5 of 15 columns
    assert paired([mask(0)], [mask(6)]) == {}  # 4 of 16
    assert paired([mask(0)], [mask(10)]) == {}
    assert paired([mask(0)], []) == {}


def test_all_frames_of_the_overlap_count_together() -> None:
    """Alike on a moment's glance, but apart on all other frames."""
    before = [[known(7, mask(0))]] * 4
    after = [[known(0, mask(0))], *[[known(0, mask(20))]] * 3]
    assert match(before, after) == {}
    assert match(before[:1], after[:1]) == {0: 7}
    assert match([*before, []], [[], *after]) == {}


def test_equally_good_pairs_are_settled_by_their_ids() -> None:
    assert paired([mask(0), mask(0)], [mask(0), mask(0)]) == {0: 10, 1: 11}
