"""What the benchmark of the CPU engine's quality counts."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("motmetrics")

from benchmarks.cpu_quality import TRUTH, Found, judge

LEFT, RIGHT, NOWHERE = (0, 0, 10, 10), (50, 0, 60, 10), (0, 90, 10, 100)


def truth(complete: bool = True) -> dict[str, object]:
    """Two objects that stand still, on three frames."""
    frames = {str(i): {"a": LEFT, "b": RIGHT} for i in range(3)}
    return {"complete": complete, "ignore": {}, "frames": frames}


def test_all_found() -> None:
    score = judge(truth(), {i: {1: LEFT, 2: RIGHT} for i in range(3)})
    assert (score.found, score.boxes, score.switches, score.shared, score.false) == (6, 6, 0, 0, 0)
    assert score.ids_per_object == 1


def test_ids_that_change_and_ids_that_are_shared() -> None:
    found: Found = {0: {1: LEFT}, 1: {1: RIGHT, 2: LEFT}, 2: {2: LEFT}}
    score = judge(truth(), found)
    assert (score.found, score.switches, score.shared) == (4, 1, 1)
    assert sorted(score.ids) == [1, 2]


def test_false_ones_count_where_all_is_known() -> None:
    found: Found = {i: {1: NOWHERE} for i in range(3)}
    assert judge(truth(), found).false == 3
    assert judge(truth(complete=False), found).false == 0
    known = truth() | {"ignore": {"1": [NOWHERE]}}
    assert judge(known, found).false == 2


def test_the_truth_is_in_order() -> None:
    for clip in json.loads(TRUTH.read_text()).values():
        for marked in clip["prompts"].values():
            for boxes in marked["frames"].values():
                for x0, y0, x1, y1 in boxes.values():
                    assert 0 <= x0 < x1
                    assert 0 <= y0 < y1
            assert marked["ignore"].keys() <= marked["frames"].keys()
