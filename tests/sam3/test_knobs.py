"""Settings of SAM 3 that a job can change."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from pydantic import ValidationError

from shoal import engines
from shoal.cli.pointing import parse_sam3
from shoal.engines import Feature
from shoal.errors import InvalidOption, UnsupportedByEngine
from shoal.model.job import Options
from shoal.model.sam3_options import Sam3Options, changed
from tests.sam3 import videos
from worker.engines.base import FrameResult, Query
from worker.engines.sam3 import lookahead
from worker.engines.sam3.limits import KNOBS, limited
from worker.engines.sam3.memory import memory_frame
from worker.engines.sam3.predictor import Sam3Predictor

FRAMES = 20
CHANGED: dict[str, Any] = {
    "score_threshold_detection": 0.25,
    "det_nms_thresh": 0.5,
    "fill_hole_area": 3,
    "recondition_every_nth_frame": 5,
    "hotstart_delay": 4,
}


def query(**options: Any) -> Query:
    return Query(("a", "bc"), sam3=Sam3Options(**options))


def track(predictor: Sam3Predictor, asked: Query) -> list[FrameResult]:
    return videos.track(predictor.open(videos.INFO, asked), videos.make(FRAMES))


def test_each_is_an_attribute_of_the_model_and_of_this_video_alone(
    predictor: Sam3Predictor,
) -> None:
    model: Any = predictor._loaded.model
    before = {name: getattr(model, name) for name in KNOBS}
    own: Any = limited(model, query(**CHANGED))
    assert set(CHANGED) == set(KNOBS)
    assert {name: getattr(own, name) for name in KNOBS} == CHANGED
    assert {name: getattr(model, name) for name in KNOBS} == before
    untouched: Any = limited(model, Query(("a",), sam3=Sam3Options(detect_every=2)))
    assert {name: getattr(untouched, name) for name in KNOBS} == before


def test_hotstart_decides_how_long_results_are_held_back(predictor: Sam3Predictor) -> None:
    for delay, held in {0: 1, 4: 4, 15: 15}.items():
        session = predictor.open(videos.INFO, query(hotstart_delay=delay))
        counts = [len(session.step([frame])) for frame in videos.make(FRAMES)]
        session.close()
        assert counts == [0] * held + [1] * (FRAMES - held)


@pytest.mark.parametrize("ahead", [1, 4])
def test_new_objects_are_searched_on_every_nth_frame(
    predictor: Sam3Predictor, monkeypatch: pytest.MonkeyPatch, ahead: int
) -> None:
    frames: list[int] = []
    detect = lookahead._detect

    def counted(model: Any, prompts: Any, vision: Any) -> Any:
        frames.append(len(vision.fpn_hidden_states[0]))
        return detect(model, prompts, vision)

    monkeypatch.setattr(lookahead, "_detect", counted)
    monkeypatch.setattr(predictor, "_lookahead", ahead)
    every = videos.shown(track(predictor, Query(("a", "bc"))))
    assert sum(frames) == FRAMES
    frames.clear()
    seldom = videos.shown(track(predictor, query(detect_every=5)))
    assert sum(frames) == FRAMES // 5
    assert set(every[0]) <= set(seldom[0]), "hotstart takes none back that was not searched for"
    assert all(seldom), "known objects are tracked on all frames"
    begun = {i: t for t in reversed(range(FRAMES)) for i in seldom[t]}
    assert {t % 5 for t in begun.values()} == {0}


@pytest.mark.parametrize("options", [{"detect_every": 3}, {"memory_temporal_stride_for_eval": 3}])
@pytest.mark.parametrize("cut", [4, 11])
def test_an_interrupted_video_goes_on_as_if_nothing_had_happened(
    predictor: Sam3Predictor, options: dict[str, int], cut: int
) -> None:
    frames, asked = videos.make(FRAMES), query(**options)
    expected = videos.shown(track(predictor, asked))
    resume = partial(predictor.open, videos.INFO, asked)
    results = videos.track_interrupted(resume(None), resume, frames, cut)
    assert videos.shown(results) == expected


@pytest.mark.parametrize("stride", [1, 2, 3, 5])
def test_memories_are_those_of_the_last_frame_and_of_multiples_of_the_stride(stride: int) -> None:
    """As ``_prepare_memory_conditioned_features`` of Meta's sam3_tracker_base.py has it."""
    for frame in range(40, 60):
        chosen = [memory_frame(frame, age, stride) for age in range(1, 7)]
        assert chosen[0] == frame - 1
        assert all(f % stride == 0 for f in chosen[1:])
        assert frame - 2 - stride < chosen[1] <= frame - 2
        assert {a - b for a, b in pairwise(chosen[1:])} == {stride}
    assert [memory_frame(50, age, 1) for age in range(1, 7)] == [49, 48, 47, 46, 45, 44]


def test_few_memories_are_kept_whatever_the_stride(predictor: Sam3Predictor) -> None:
    session = predictor.open(videos.INFO, query(memory_temporal_stride_for_eval=4))
    kept = []
    for frame in videos.make(40):
        session.step([frame])
        session.state()
        memory = session._tracker.memory
        for outputs in memory.output_dict_per_obj.values():
            tracked = outputs["non_cond_frame_outputs"]
            kept.append([f for f, out in tracked.items() if "maskmem_features" in out])
    session.close()
    assert max(map(len, kept)) <= 7
    assert max(max(each) - min(each) for each in kept if each) >= 16


# --- how they are asked for -----------------------------------------------------------------------


def test_only_sam3_has_them() -> None:
    assert changed(Options()) is None
    options = Options(detect_every=3, hotstart_delay=0)
    assert changed(options) == Sam3Options(detect_every=3, hotstart_delay=0)
    used = engines.features(options, (), ())
    assert used == {Feature.SAM3_OPTIONS}
    engines.check("sam3", ["person"], used)
    for engine in ("cpu", "sam3-native"):
        with pytest.raises(UnsupportedByEngine, match="settings of the engine sam3"):
            engines.check(engine, ["person"], used)


@pytest.mark.parametrize(
    "fields",
    [{"detect_every": 0}, {"fill_hole_area": 65}, {"det_nms_thresh": 1.1}, {"unknown": 1}],
)
def test_values_out_of_range_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Sam3Options(**fields)


def test_the_command_line_takes_them_one_by_one() -> None:
    assert parse_sam3(None) == {}
    texts = ["detect_every=3", "det_nms_thresh=0.2"]
    assert parse_sam3(texts) == {"detect_every": 3, "det_nms_thresh": 0.2}
    for wrong in ("detect_every=often", "detect_every", "speed=3"):
        with pytest.raises(InvalidOption) as refused:
            parse_sam3([wrong])
        assert "detect_every" in refused.value.hint
