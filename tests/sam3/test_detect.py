"""SAM3 on single pictures: previews, which change nothing of the video they come in between."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from shoal.errors import GpuOutOfMemory, InvalidPrompt
from shoal.model.prompts import FIRST_POINTED_ID
from tests.running import eventually
from tests.sam3 import videos
from worker.engines.base import Exemplar, FrameResult, PictureDetector, Query, VisualPrompt
from worker.engines.sam3 import predictor as predictors
from worker.engines.sam3.predictor import Sam3Predictor
from worker.preview.turns import Turns

QUERY = Query(("a", "bc"))


@pytest.fixture(scope="module")
def engine(plain: Path) -> Sam3Predictor:
    return Sam3Predictor(str(plain), lookahead=3)


def test_it_finds_what_a_session_finds_on_its_first_frame(engine: Sam3Predictor) -> None:
    assert isinstance(engine, PictureDetector)
    frames = videos.make(1)
    (tracked,) = videos.track(engine.open(videos.INFO, QUERY), frames)
    (found,) = engine.detect(frames, QUERY)
    assert tracked.objects
    scores = {(each.prompt, round(each.score, 5)) for each in found.objects}
    assert {(each.prompt, round(each.score, 5)) for each in tracked.objects} <= scores


def test_a_threshold_takes_the_place_of_the_one_that_starts_tracks(engine: Sam3Predictor) -> None:
    frames = videos.make(1)
    usual = engine.start_scores(QUERY.prompts)
    assert set(usual) == set(QUERY.prompts)
    (some,) = engine.detect(frames, QUERY)
    assert all(each.score >= usual[each.prompt] for each in some.objects)
    scores = sorted(each.score for each in some.objects)
    (fewer,) = engine.detect(frames, Query(QUERY.prompts, score_threshold=scores[-1]))
    assert 0 < len(fewer.objects) < len(scores)


@pytest.mark.parametrize(
    "how", [{"points": ((20.0, 30.0, 1), (60.0, 10.0, 0))}, {"box": (12.0, 14.0, 47.5, 40.0)}]
)
def test_a_visual_prompt_draws_what_it_draws_in_a_job(
    engine: Sam3Predictor, how: dict[str, object]
) -> None:
    said = VisualPrompt.model_validate({"label": "thing", "frame": 0, **how})
    frames = videos.make(2)
    (tracked, _) = videos.track(engine.open(videos.INFO, Query((), (said,))), frames)
    (here, elsewhere) = engine.detect(frames, Query((), (said,)))
    assert [each.object_id for each in here.objects] == [FIRST_POINTED_ID]
    assert np.array_equal(here.objects[0].mask.bits, tracked.objects[0].mask.bits)
    assert elsewhere.objects == []


def test_a_video_is_the_same_with_previews_between_its_frames(engine: Sam3Predictor) -> None:
    frames = videos.make(25)
    alone = videos.shown(videos.track(engine.open(videos.INFO, QUERY), frames))
    others = videos.make(3, seed=7)
    point = VisualPrompt(label="thing", frame=1, points=((20, 30, 1),))
    other = Query(("bc", "d"), (point,), score_threshold=0.1)
    turns, over = Turns(), threading.Event()
    answered: list[FrameResult] = []

    def keep_asking() -> None:
        while not over.is_set():
            for frame in others:
                with turns.preview():
                    answered.extend(engine.detect([frame], other))

    thread = threading.Thread(target=keep_asking)
    results: list[FrameResult] = []
    thread.start()
    try:
        with turns.video():
            session = engine.open(videos.INFO, QUERY)
            for frame in frames:
                if frame.index < 8:  # of enough of them it is certain that one waits
                    eventually(lambda: turns._previews_waiting, "a preview that waits")
                turns.between_frames()
                results += session.step([frame])
            results += session.finish()
            session.close()
    finally:
        over.set()
        thread.join()
    assert len(answered) > 5
    assert any(result.objects for result in answered)
    assert videos.shown(results) == alone


def test_what_does_not_fit_beside_a_video_is_named(
    engine: Sam3Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(predictors, "detect", full)
    with pytest.raises(GpuOutOfMemory, match="preview"):
        engine.detect(videos.make(1), QUERY)
    with pytest.raises(InvalidPrompt):
        engine.detect(videos.make(1), Query(()))


def test_an_exemplar_is_looked_for_on_every_picture(engine: Sam3Predictor) -> None:
    frames = videos.make(6)
    box = (10.0, 15.0, 40.0, 45.0)
    query = Query((), exemplars=(Exemplar(prompt="thing", frame=3, box=box),))
    tracked = videos.track(engine.open(videos.INFO, query), frames)
    results = engine.detect(frames, query, [frames[3]])
    assert all(result.objects for result in results)
    assert {each.prompt for result in results for each in result.objects} == {"thing"}
    first = {round(each.score, 5) for each in tracked[3].objects}
    assert first
    assert first <= {round(each.score, 5) for each in results[3].objects}

    # A negative one beside it changes what is found, and the frame it is on need not be asked for.
    other = Exemplar(prompt="thing", frame=0, box=(50, 5, 70, 25), positive=False)
    all_of_it = replace(query, score_threshold=0.0)
    both = replace(all_of_it, exemplars=(*query.exemplars, other))
    (alone,) = engine.detect([frames[5]], all_of_it, [frames[3]])
    (beside,) = engine.detect([frames[5]], both, [frames[0], frames[3]])
    assert {each.score for each in alone.objects} != {each.score for each in beside.objects}
