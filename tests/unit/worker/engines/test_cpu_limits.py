"""What the cpu engine can be asked besides words, and what not."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from shoal.errors import UnsupportedByEngine
from tests.unit.worker.engines.test_cpu_predictor import VIDEO, clip
from worker.engines.base import Exemplar, Predictor, Query, Removal, VisualPrompt
from worker.engines.cpu.detector import NanoDet
from worker.engines.cpu.predictor import CpuPredictor
from worker.engines.cpu.track import Detection
from worker.video.frame import Frame


@pytest.fixture(scope="module")
def engine() -> Predictor:
    return CpuPredictor()


def ask(engine: Predictor, query: Query, frames: Sequence[Frame]) -> list[list[int]]:
    session = engine.open(VIDEO, query)
    results = session.step(frames) + session.finish()
    return [[each.object_id for each in result.objects] for result in results]


@pytest.mark.slow
def test_max_objects_lets_the_first_ones_in(engine: Predictor) -> None:
    assert ask(engine, Query(("stop sign",), max_objects=2), clip())[-1] == [1, 2]
    assert ask(engine, Query(("stop sign",), max_objects=1), clip()) == [[1]] * 12


def test_the_score_threshold_decides_what_begins_a_track(
    engine: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    detection = Detection(0, 0.42, (300.0, 100.0, 360.0, 160.0))
    monkeypatch.setattr(NanoDet, "detect", lambda *args: [detection])

    def found(threshold: float | None) -> bool:
        return any(ask(engine, Query(("stop sign",), score_threshold=threshold), clip(4)))

    assert [found(t) for t in (None, 1.0, 0.43, 0.42, 0.0)] == [False, False, False, True, True]


def test_removed_objects_are_left_out_and_others_keep_their_ids(engine: Predictor) -> None:
    removals = (Removal(object_id=1, frame=7),)
    query = Query(("stop sign",), remove_objects=removals)
    assert ask(engine, query, clip()) == [[1]] * 5 + [[1, 2]] * 2 + [[2]] * 5


@pytest.mark.slow
def test_limits_hold_in_a_restored_session(engine: Predictor) -> None:
    frames = clip()
    query = Query(("stop sign",), (), (Removal(object_id=1, frame=9),), 1, 0.6)
    expected = ask(engine, query, frames)
    for cut in (1, 4, 6, 8):
        first = engine.open(VIDEO, query)
        before = first.step(frames[:cut])
        second = engine.open(VIDEO, query, first.state())
        results = before + second.step(frames[cut:]) + second.finish()
        assert [[each.object_id for each in result.objects] for result in results] == expected


def test_pointing_is_refused(engine: Predictor) -> None:
    objects = (VisualPrompt(label="ball", frame=0, points=((1, 2, 1),)),)
    with pytest.raises(UnsupportedByEngine, match="supports text prompts only"):
        engine.open(VIDEO, Query(("person",), objects))
    exemplars = (Exemplar(prompt="person", box=(1, 2, 3, 4)),)
    with pytest.raises(UnsupportedByEngine, match="supports text prompts only"):
        engine.open(VIDEO, Query(("person",), exemplars=exemplars))
