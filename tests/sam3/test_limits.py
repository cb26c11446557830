"""The limits that a user can set."""

from __future__ import annotations

from pathlib import Path

import pytest

from shoal.prompts import FIRST_POINTED_ID
from tests.sam3 import videos
from worker.predictors.base import FrameResult, Query, VisualPrompt
from worker.predictors.sam3.predictor import Sam3Predictor


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
    assert most_tracked(crowded, Query(("a",), objects, max_objects=2)) == 3
    found = ids(track(crowded, Query(("a",), objects, max_objects=1)))
    assert FIRST_POINTED_ID in found
    assert min(found) == FIRST_POINTED_ID, "the first frame leaves no room for the words"


def test_nothing_reaches_a_score_of_one(predictor: Sam3Predictor) -> None:
    assert ids(track(predictor, Query(("a", "bc"))))
    assert not ids(track(predictor, Query(("a", "bc"), score_threshold=1.0)))


def test_the_score_threshold_holds_for_every_new_object(crowded: Sam3Predictor) -> None:
    def first_scores(threshold: float | None) -> list[float]:
        results = track(crowded, Query(("a", "bc"), score_threshold=threshold))
        scores = [each.detection_score for result in results for each in result.objects]
        return [score for score in scores if score is not None]

    everything = first_scores(None)
    threshold = sorted(everything)[len(everything) // 2]
    assert min(everything) < threshold
    above = first_scores(threshold)
    assert above
    assert min(above) >= threshold


def test_limits_of_one_video_are_not_those_of_the_next(predictor: Sam3Predictor) -> None:
    before = videos.shown(track(predictor, Query(("a", "bc"))))
    track(predictor, Query(("a", "bc"), max_objects=1, score_threshold=0.9))
    assert videos.shown(track(predictor, Query(("a", "bc")))) == before
