"""Meta's predictor behind our protocol; on a stand-in, and on the real one where CUDA is."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from shoal.engines import clip
from shoal.errors import (
    CheckpointUnusable,
    GpuOutOfMemory,
    ModelLoadFailed,
    Stopped,
    UnsupportedByEngine,
)
from shoal.prompts import FIRST_POINTED_ID, MaskPrompt
from shoal.settings import Settings
from tests.attempts import Job, Line
from tests.sam3 import native_standin as standin, videos
from tests.sam3.native_standin import StandIn
from worker.predictors import load
from worker.predictors.base import FrameResult, Mask, ObjectResult, Query, Removal, VisualPrompt
from worker.predictors.sam3_native import availability, predictor as predictors
from worker.predictors.sam3_native.client import Sighting
from worker.predictors.sam3_native.join import match
from worker.video.frame import Frame, VideoInfo

WIDTH, HEIGHT, SIDE = 96, 64, 10
INFO = VideoInfo(WIDTH, HEIGHT, fps=25, duration_s=0, frames=0, codec="made up")
FRAMES = 40  # three windows of 16 that overlap by 4
TEXTS = Query(prompts=("red", "green"))

# Where a square is on a frame: x and y of its left upper corner.
Way = Callable[[int], tuple[int, int]]

# By colour. No two squares ever touch, and those of a colour pass each other.
SQUARES: dict[str, list[Way]] = {
    "red": [lambda t: (2 * t, 2), lambda t: (80 - 2 * t, 14)],
    "green": [lambda t: (t, 26), lambda t: (40, 38), lambda t: (84 - 2 * t, 50)],
}


EVERYTHING = Query(
    prompts=("red", "green"),
    objects=(VisualPrompt(label="mine", frame=4, points=((9.0, 7.0, 1),)),),
)


def picture(t: int) -> NDArray[np.uint8]:
    rgb = np.full((HEIGHT, WIDTH, 3), 16, np.uint8)
    for colour, ways in SQUARES.items():
        for way in ways:
            x, y = way(t)
            rgb[y : y + SIDE, x : x + SIDE, standin.COLOURS[colour]] = 235
    return rgb


def make(count: int = FRAMES) -> list[Frame]:
    """The squares on their ways; every other frame of a video."""
    pictures = [av.VideoFrame.from_ndarray(picture(t), format="rgb24") for t in range(count)]
    return [Frame(2 * t, t / 25, each, wanted=True) for t, each in enumerate(pictures)]


def track(native: StandIn, query: Query, count: int = FRAMES) -> list[FrameResult]:
    results = videos.track(standin.predictor(native).open(INFO, query), make(count))
    assert [result.index for result in results] == [2 * t for t in range(count)]
    assert not native.sessions, "all of the package's sessions are closed"
    return results


def named(results: Sequence[FrameResult]) -> dict[int, dict[int, tuple[str, Mask]]]:
    """Prompt and mask by object id, then by frame."""
    found: dict[int, dict[int, tuple[str, Mask]]] = {}
    for t, at_once in enumerate(results):
        for each in at_once.objects:
            found.setdefault(each.object_id, {})[t] = each.prompt, each.mask
    return found


def is_on(track: dict[int, tuple[str, Mask]], prompt: str, way: Way) -> bool:
    """Whether an object is one of the squares, to the pixel."""
    square = np.ones((SIDE, SIDE), np.uint8)
    return all(
        (of, mask.x, mask.y) == (prompt, *way(t)) and np.array_equal(mask.bits, square)
        for t, (of, mask) in track.items()
    )


def shown(results: Sequence[FrameResult]) -> list[tuple[int, list[Any]]]:
    """All of it, to compare."""
    return [
        (
            each.index,
            [
                (o.object_id, o.prompt, o.score, o.box, o.mask.to_full(HEIGHT, WIDTH).tobytes())
                for o in each.objects
            ],
        )
        for each in results
    ]


# --- windows ----------------------------------------------------------------------------------


def test_objects_keep_their_ids_over_three_windows() -> None:
    """The stand-in numbers them anew, and in another order, in each window."""
    native = StandIn()
    found = named(track(native, TEXTS))
    assert native.started == [16] * 6, "three windows for each text"
    assert sorted(found) == [1, 2, 3, 4, 5]
    for colour, ways in SQUARES.items():
        for way in ways:
            (one,) = [track for track in found.values() if is_on(track, colour, way)]
            assert list(one) == list(range(FRAMES)), "on every frame, under one id"


def test_each_text_has_a_session_of_its_own() -> None:
    native = StandIn()
    track(native, TEXTS, 10)
    each = ["start_session", "add_prompt", "propagate_in_video", "close_session"]
    assert native.requests == each * 2


@pytest.mark.parametrize("count", [0, 1, 3, 4, 15, 16, 17, 28, 29])
def test_a_video_of_any_length_has_a_result_for_every_frame(count: int) -> None:
    results = track(native := StandIn(), TEXTS, count)
    assert all(len(result.objects) == 5 for result in results)
    assert max(native.started, default=0) <= 16


def test_memory_is_bounded_by_the_window() -> None:
    session = standin.predictor(StandIn()).open(INFO, TEXTS)
    kept = []
    for frame in make(41):
        session.step([frame])
        kept.append(len(session._pictures))
    assert max(kept) == 15
    session.close()
    assert not session._pictures


def test_results_are_held_back_until_the_next_window_has_seen_them() -> None:
    session = standin.predictor(StandIn()).open(INFO, TEXTS)
    assert [len(session.step([frame])) for frame in make(28)] == [0] * 15 + [12] + [0] * 11 + [12]
    assert len(session.finish()) == 4


def test_the_word_visual_is_a_text_like_others() -> None:
    """The package takes it for none; the stand-in then knows no colour, which must not happen."""
    with pytest.raises(KeyError, match="visual"):
        track(StandIn(), Query(prompts=("visual",)), 3)


def test_a_text_that_names_nothing_has_no_objects() -> None:
    assert not any(result.objects for result in track(StandIn(), Query(prompts=("blue",))))


# --- recognising objects ----------------------------------------------------------------------


def mask(x: int, width: int = 10) -> Mask:
    return Mask(x, 0, np.ones((10, width), np.uint8))


def known(object_id: int, mask: Mask) -> ObjectResult:
    return ObjectResult(object_id, "a", 1.0, (0.0, 0.0, 1.0, 1.0), mask)


def paired(earlier: list[Mask], later: list[Mask]) -> dict[int, int]:
    """On one frame; ids of earlier objects are from 10 on, of later ones from 0."""
    before = [known(i, each) for i, each in enumerate(earlier, 10)]
    after = [Sighting(i, 1.0, each) for i, each in enumerate(later)]
    return match([before], [after])


def test_the_best_pairs_come_first_and_one_to_one() -> None:
    assert paired([mask(0), mask(4)], [mask(3), mask(0)]) == {1: 10, 0: 11}


def test_too_little_overlap_is_another_object() -> None:
    assert paired([mask(0)], [mask(5)]) == {0: 10}  # 5 of 15 columns
    assert paired([mask(0)], [mask(6)]) == {}  # 4 of 16
    assert paired([mask(0)], [mask(10)]) == {}
    assert paired([mask(0)], []) == {}


def test_all_frames_of_the_overlap_count_together() -> None:
    """Alike on a moment's glance, but apart on all other frames."""
    before = [[known(7, mask(0))]] * 4
    after = [[Sighting(0, 1.0, mask(0))], *[[Sighting(0, 1.0, mask(20))]] * 3]
    assert match(before, after) == {}
    assert match(before[:1], after[:1]) == {0: 7}
    assert match([*before, []], [[], *after]) == {}


def test_equally_good_pairs_are_settled_by_their_ids() -> None:
    assert paired([mask(0), mask(0)], [mask(0), mask(0)]) == {0: 10, 1: 11}


# --- objects that are pointed at --------------------------------------------------------------


def at(t: int, colour: str, n: int, dx: float = 5, dy: float = 5) -> tuple[float, float]:
    """A place in a square, by default its middle."""
    x, y = SQUARES[colour][n](t)
    return x + dx, y + dy


def test_points_and_boxes_are_followed_through_all_windows() -> None:
    box = (*at(3, "green", 2, 0, 0), *at(3, "green", 2, 10, 10))
    query = Query(
        prompts=(),
        objects=(
            VisualPrompt(label="mine", frame=4, points=((*at(2, "red", 0), 1), (1.0, 60.0, 0))),
            VisualPrompt(label="yours", frame=6, box=box),
        ),
    )
    found = named(track(native := StandIn(), query))
    mine, yours = found[FIRST_POINTED_ID], found[FIRST_POINTED_ID + 1]
    assert is_on(mine, "mine", SQUARES["red"][0])
    assert list(mine) == list(range(2, FRAMES)), "from the frame on which it was pointed at"
    assert is_on(yours, "yours", SQUARES["green"][2])
    assert list(yours) == list(range(3, FRAMES))
    assert len(found) == 2
    assert native.started == [16] * 3, "all of them share a session"


def test_texts_and_points_do_not_mix_even_under_one_name() -> None:
    pointed = VisualPrompt(label="red", frame=0, points=((*at(0, "green", 1), 1),))
    found = named(track(StandIn(), Query(prompts=("red",), objects=(pointed,))))
    assert is_on(found[FIRST_POINTED_ID], "red", SQUARES["green"][1])
    assert sorted(found) == [1, 2, FIRST_POINTED_ID]
    assert all(list(each) == list(range(FRAMES)) for each in found.values())


def test_a_correction_on_a_later_frame_takes_over() -> None:
    """Also in another window than that of the first prompt."""
    query = Query(
        prompts=(),
        objects=(
            VisualPrompt(label="it", frame=60, points=((*at(30, "red", 1), 1),)),
            VisualPrompt(label="it", frame=4, points=((*at(2, "red", 0), 1),)),
        ),
    )
    (track_,) = named(track(StandIn(), query)).values()
    early = {t: seen for t, seen in track_.items() if t < 30}
    late = {t: seen for t, seen in track_.items() if t >= 30}
    assert is_on(early, "it", SQUARES["red"][0])
    assert is_on(late, "it", SQUARES["red"][1])
    assert list(track_) == list(range(2, FRAMES))


def test_objects_of_one_label_are_told_apart_by_their_names() -> None:
    query = Query(
        prompts=(),
        objects=tuple(
            VisualPrompt(label="it", object=name, frame=0, points=((*at(0, "red", n), 1),))
            for n, name in enumerate(("first", "second"))
        ),
    )
    found = named(track(StandIn(), query))
    assert is_on(found[FIRST_POINTED_ID], "it", SQUARES["red"][0])
    assert is_on(found[FIRST_POINTED_ID + 1], "it", SQUARES["red"][1])


def test_masks_as_prompts_are_refused() -> None:
    counts = "0d0T3"
    pointed = VisualPrompt(label="it", frame=0, mask=MaskPrompt(size=(64, 96), counts=counts))
    with pytest.raises(UnsupportedByEngine, match="no masks"):
        standin.predictor(StandIn()).open(INFO, Query(prompts=(), objects=(pointed,)))


# --- what is asked besides --------------------------------------------------------------------


def test_objects_are_left_out_and_all_others_stay_as_they_were() -> None:
    removed = (Removal(object_id=2), Removal(object_id=4, frame=40))
    everything = track(StandIn(), TEXTS)
    assert shown(track(StandIn(), replace(TEXTS, remove_objects=removed))) == shown(
        [
            FrameResult(
                frame.index,
                [
                    each
                    for each in frame.objects
                    if each.object_id != 2 and not (each.object_id == 4 and frame.index >= 40)
                ],
            )
            for frame in everything
        ]
    )


def test_so_many_objects_at_a_time_and_those_that_were_pointed_at_first() -> None:
    results = track(native := StandIn(), replace(EVERYTHING, max_objects=3))
    assert [len(each.objects) for each in results] == [3] * FRAMES
    ids = [{each.object_id for each in result.objects} for result in results]
    assert ids[0] == {1, 2, 3}
    assert ids[-1] == {1, 2, FIRST_POINTED_ID}
    assert native.model.max_num_objects == standin.MAX_OBJECTS, "of this video alone"
    assert all(len(each.objects) == 2 for each in track(native, replace(TEXTS, max_objects=2)))


def test_objects_below_the_threshold_are_not_tracked() -> None:
    native = StandIn()
    assert not named(track(native, replace(TEXTS, score_threshold=0.8)))
    assert native.model.new_det_thresh == standin.THRESHOLD
    scores = {
        (each.score, each.detection_score)
        for result in track(native, replace(EVERYTHING, score_threshold=0.75))
        for each in result.objects
    }
    assert scores == {(0.75, 0.75), (1.0, None)}, "nobody detected what was pointed at"


# --- interruptions and failures ---------------------------------------------------------------


@pytest.mark.parametrize("cut", [5, 15, 16, 17, 20, 28, 39])
def test_a_restored_session_continues_as_if_nothing_had_been(cut: int) -> None:
    """The frames whose results were owed are stepped again."""
    straight = shown(track(StandIn(), EVERYTHING))
    session = standin.predictor(StandIn()).open(INFO, EVERYTHING)
    results = [result for frame in make()[:cut] for result in session.step([frame])]
    state = session.state()
    session.close()
    session = standin.predictor(StandIn()).open(INFO, EVERYTHING, state)
    results += videos.track(session, make()[len(results) :])
    assert shown(results) == straight


def test_the_state_is_small_json_without_pictures() -> None:
    session = standin.predictor(StandIn()).open(INFO, TEXTS)
    for frame in make():
        session.step([frame])
    state = session.state()
    session.close()
    assert [index for index, _ in json.loads(state)["held"]] == [72, 74, 76, 78]
    assert len(state) < 6000, "20 masks"


def test_what_cannot_be_continued_is_refused() -> None:
    session = standin.predictor(StandIn()).open(INFO, TEXTS)
    for frame in make(20):
        session.step([frame])
    state = session.state()
    session.close()
    other = json.dumps({**json.loads(state), "version": 0}).encode()
    for unusable in (other, b"", b"{}", b"\x00"):
        with pytest.raises(CheckpointUnusable):
            standin.predictor(StandIn()).open(INFO, TEXTS, unusable)
    session = standin.predictor(StandIn()).open(INFO, TEXTS, state)
    with pytest.raises(CheckpointUnusable, match="again"):
        session.step(make(40)[20:])


def test_an_interrupted_job_equals_a_straight_one(tmp_path: Path) -> None:
    """Through the real pipeline: what is not settled when a part is saved is stepped again."""
    video = tmp_path / "squares.mp4"
    with av.open(str(video), "w") as container:
        stream = container.add_stream("libx264", 25, {"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = 2 * WIDTH, 2 * HEIGHT, "yuv420p"
        for t in range(FRAMES):
            doubled = picture(t).repeat(2, axis=0).repeat(2, axis=1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(doubled, format="rgb24")))
        container.mux(stream.encode())

    def job(name: str) -> Job:
        (tmp_path / name).mkdir()
        load = partial(standin.predictor, StandIn(), window=8)
        return Job(video, tmp_path / name, load, TEXTS.prompts)

    straight, interrupted = job("straight"), job("interrupted")
    straight.attempt()
    for cut in (1, 13, 18, 30):  # four frames are settled at a time
        with pytest.raises(Stopped):
            interrupted.attempt(Line(stop_at=cut))
    interrupted.attempt()
    assert interrupted.metadata()["resumed"] == 4
    assert len(straight.rows()) == 5 * FRAMES
    assert interrupted.rows() == straight.rows()
    assert interrupted.overlay_times() == straight.overlay_times()


@pytest.mark.parametrize("done", [0, 1, 17, 40])
def test_a_failure_in_the_middle_leaves_no_session_open(done: int) -> None:
    native = StandIn()
    native.fails_at = done, ZeroDivisionError()
    session = standin.predictor(native).open(INFO, EVERYTHING)
    with pytest.raises(ZeroDivisionError):
        videos.track(session, make())
    assert native.started
    assert not native.sessions
    track(native, TEXTS)  # the next video is not affected


def test_where_memory_runs_out_the_window_is_halved() -> None:
    native = StandIn()
    native.fails_at = 20, torch.OutOfMemoryError("simulated")
    results = track(native, TEXTS)
    assert native.started[:2] == [16, 16]
    assert max(native.started[2:]) == 8
    assert shown(results) == shown(track(StandIn(), TEXTS))


def test_where_not_even_short_windows_fit_the_video_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: StandIn, state: standin.State, frame: int) -> None:
        raise torch.OutOfMemoryError("simulated")

    monkeypatch.setattr(StandIn, "_propagate", fail)
    native = StandIn()
    with pytest.raises(GpuOutOfMemory, match="window of 8 frames"):
        track(native, TEXTS)
    assert native.started == [16, 8]
    assert not native.sessions


# --- loading ----------------------------------------------------------------------------------


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Two CUDA devices, and a package ``sam3`` that notes what it is built with."""
    options: dict[str, Any] = {}

    def build_sam3_video_predictor(**given: Any) -> StandIn:
        options.update(given)
        if "broken" in given["checkpoint_path"]:
            raise RuntimeError("size mismatch\nfor this and that")
        return StandIn()

    package, builder = ModuleType("sam3"), ModuleType("sam3.model_builder")
    package.__spec__ = ModuleSpec("sam3", None)
    vars(builder)["build_sam3_video_predictor"] = build_sam3_video_predictor
    monkeypatch.setitem(sys.modules, "sam3", package)
    monkeypatch.setitem(sys.modules, "sam3.model_builder", builder)
    monkeypatch.setattr(predictors, "version", lambda name: "0.1.4")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "GPU")
    return options


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A directory that holds a checkpoint."""
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "sam3.pt").write_bytes(b"here")
    return folder


def test_the_package_is_built_with_its_files_on_the_gpus(
    built: dict[str, Any], weights: Path
) -> None:
    loaded = predictors.load(str(weights), "", ())
    assert built == {
        "checkpoint_path": str(weights / "sam3.pt"),
        "bpe_path": str(clip.VOCABULARY),
        "gpus_to_use": [0],
    }
    assert loaded.device == "cuda:0 GPU"
    assert loaded.versions["sam3"] == "0.1.4"
    assert loaded.versions["weights"].startswith("weights/sam3.pt sha256:")
    assert predictors.load(str(weights), "", (0, 1)).device == "cuda:0,1 GPU"
    assert built["gpus_to_use"] == [0, 1]


def test_anywhere_but_on_cuda_it_is_refused(
    monkeypatch: pytest.MonkeyPatch, built: dict[str, Any], weights: Path
) -> None:
    settings = Settings(sam3_weights=str(weights), sam3_window=64)
    monkeypatch.setattr("worker.predictors.get_settings", lambda: settings)
    assert load("sam3-native").name == "sam3-native"
    built.clear()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelLoadFailed, match="CUDA devices only") as caught:
        load("sam3-native")
    assert "sam3" in caught.value.hint
    assert not built


def refused(*options: Any) -> ModelLoadFailed:
    obstacle = availability.find_obstacle(*options)
    assert obstacle
    return obstacle


def test_what_is_missing_is_named_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, built: dict[str, Any], weights: Path, tmp_path: Path
) -> None:
    assert availability.find_obstacle(str(weights), "", (0, 1)) is None
    error = refused(str(weights), "", (0, 2))
    assert "no CUDA device 2, there are 2" in str(error)
    assert "SHOAL_SAM3_GPUS" in error.hint
    error = refused(str(tmp_path), "", ())
    assert f"no sam3.pt at {tmp_path}" in str(error)
    assert "SHOAL_SAM3_WEIGHTS" in error.hint
    monkeypatch.delenv("HF_TOKEN", raising=False)
    assert "HF_TOKEN" in refused("", "no such revision", ()).hint
    monkeypatch.setattr(availability, "find_spec", lambda name: None if name == "sam3" else name)
    error = refused(str(weights), "", ())
    assert str(error) == "sam3 is not installed"
    assert "shoal[sam3]" in error.hint


def test_weights_that_do_not_match_are_named(built: dict[str, Any], weights: Path) -> None:
    broken = weights.rename(weights.with_name("broken"))
    with pytest.raises(ModelLoadFailed) as caught:
        predictors.load(str(broken), "", ())
    assert str(caught.value) == f"the package sam3 cannot load {broken}/sam3.pt: size mismatch"


# --- the real package -------------------------------------------------------------------------


@pytest.mark.gpu
def test_the_real_package_takes_our_requests(tmp_path: Path) -> None:
    """At full size with random weights: what it finds means nothing, how it answers does."""
    from sam3.model_builder import build_sam3_video_model

    model = build_sam3_video_model(load_from_HF=False, bpe_path=str(clip.VOCABULARY))
    torch.save(model.state_dict(), tmp_path / "sam3.pt")
    del model
    loaded = predictors.load(str(tmp_path), "", ())
    engine = predictors.Sam3NativePredictor(loaded, window=16, overlap=4)
    results = videos.track(engine.open(INFO, EVERYTHING), make())
    assert [result.index for result in results] == [2 * t for t in range(FRAMES)]
    assert all(each.mask.bits.any() for result in results for each in result.objects)
    native: Any = loaded.native
    assert not native._ALL_INFERENCE_STATES
