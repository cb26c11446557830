"""The limits that a user can set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shoal.model.prompts import FIRST_POINTED_ID
from tests.sam3 import tiny, videos
from worker.engines.base import FrameResult, Query, VisualPrompt
from worker.engines.sam3.predictor import Sam3Predictor


@pytest.fixture(scope="module")
def crowded(reconditioning: Path) -> Sam3Predictor:
    return Sam3Predictor(str(reconditioning))


def track(predictor: Sam3Predictor, query: Query, frames: int = 20) -> list[FrameResult]:
    return videos.track(predictor.open(videos.INFO, query), videos.make(frames))


def ids(results: list[FrameResult]) -> set[int]:
    return {each.object_id for result in results for each in result.objects}


def most_tracked(predictor: Sam3Predictor, query: Query, frames: int = 20) -> int:
    session = predictor.open(videos.INFO, query)
    most = 0
    for frame in videos.make(frames):
        session.step([frame])
        session.state()  # has it tracked
        most = max(most, len(session._tracker.memory.obj_ids))
    session.close()
    return most


def test_max_objects_is_never_exceeded(crowded: Sam3Predictor) -> None:
    prompts = ("a", "bc")
    assert most_tracked(crowded, Query(prompts)) > 2
    assert most_tracked(crowded, Query(prompts, max_objects=2)) == 2
    assert most_tracked(crowded, Query(prompts, max_objects=1)) == 1


def test_objects_that_were_pointed_at_come_before_the_limit(crowded: Sam3Predictor) -> None:
    objects = tuple(
        VisualPrompt(label="thing", object=str(n), frame=3 * n, points=((20, 30, 1),))
        for n in range(3)
    )
    query = Query(("a",), objects, max_objects=1)
    assert most_tracked(crowded, query) == 3
    assert ids(track(crowded, query)) == {FIRST_POINTED_ID + n for n in range(3)}
    assert most_tracked(crowded, Query(("a",), objects, max_objects=2)) == 4


def test_nothing_reaches_a_score_of_one(predictor: Sam3Predictor) -> None:
    assert ids(track(predictor, Query(("a", "bc"))))
    assert not ids(track(predictor, Query(("a", "bc"), score_threshold=1.0)))


@pytest.mark.parametrize(
    ("presence", "found"),
    [(0.4, {None: True, 0.7: False, 0.5: True}), (-0.4, {None: False, 0.5: False, 0.3: True})],
)
def test_a_new_object_needs_the_score_threshold(
    tmp_path: Path, presence: float, found: dict[float | None, bool]
) -> None:
    """Scores are about 0.6 and 0.4; without a threshold 0.5 will do for the first object."""

    def unsure(model: Any) -> None:
        model.detector_model.detr_decoder.presence_head.layer3.bias.fill_(presence)

    predictor = Sam3Predictor(str(tiny.save_checkpoint(tmp_path, unsure)))
    for threshold, expected in found.items():
        results = track(predictor, Query(("a",), score_threshold=threshold), frames=4)
        assert bool(ids(results)) == expected
        scores = [each.detection_score for result in results for each in result.objects]
        assert all(score is not None and score >= (threshold or 0.5) for score in scores)


def test_limits_of_one_video_are_not_those_of_the_next(predictor: Sam3Predictor) -> None:
    before = videos.shown(track(predictor, Query(("a", "bc"))))
    track(predictor, Query(("a", "bc"), max_objects=1, score_threshold=0.9))
    assert videos.shown(track(predictor, Query(("a", "bc")))) == before
