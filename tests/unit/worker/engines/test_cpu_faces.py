"""The CPU engine's faces: CenterFace with its real weights, on real faces."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest

from shoal.engines import cpu
from worker.engines.base import FrameResult, Predictor, Query
from worker.engines.cpu.faces import CELL, CenterFace, decode, scaled
from worker.engines.cpu.predictor import WEIGHTS, CpuPredictor
from worker.engines.cpu.thresholds import thresholds
from worker.engines.cpu.track import Detection
from worker.engines.cpu.tracker import BoxTracker
from worker.video.frame import Frame, VideoInfo

# A man's face in the sample clip, from his brow to his chin, as found by eye.
SHOWN, FACE_BOX = 36, (362, 8, 422, 82)


@pytest.fixture(scope="module")
def engine() -> Predictor:
    return CpuPredictor()


@pytest.fixture(scope="module")
def frames(sample_clip: Path) -> list[Frame]:
    with av.open(str(sample_clip)) as container:
        pictures = islice(container.decode(video=0), SHOWN, SHOWN + 6)
        return [Frame(i, i / 25, picture, True) for i, picture in enumerate(pictures, SHOWN)]


def ask(engine: Predictor, frames: Sequence[Frame], *prompts: str) -> list[FrameResult]:
    picture = frames[0].picture
    video = VideoInfo(picture.width, picture.height, 25.0, 0.0, 0, "h264")
    session = engine.open(video, Query(prompts))
    try:
        return session.step(frames) + session.finish()
    finally:
        session.close()


def overlap(a: Sequence[float], b: Sequence[float]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0.0, width) * max(0.0, height)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return shared / (sum(areas) - shared)


@pytest.mark.parametrize("word", ["face", "Faces", "human face"])
def test_words_for_faces(word: str) -> None:
    assert cpu.resolve(word) == (cpu.FACE,)


def test_a_face_is_found_and_followed_and_its_mask_is_an_ellipse(
    engine: Predictor, frames: list[Frame]
) -> None:
    results = ask(engine, frames, "face")
    assert [[each.object_id for each in result.objects] for result in results] == [[1]] * 6
    first = results[0].objects[0]
    assert first.prompt == "face"
    assert first.score > 0.8
    assert overlap(first.box, FACE_BOX) > 0.5
    height, width = first.mask.bits.shape
    assert first.mask.bits.mean() == pytest.approx(np.pi / 4, abs=0.05)
    assert (width, height) == pytest.approx(
        (first.box[2] - first.box[0], first.box[3] - first.box[1]), abs=2
    )


def test_faces_and_objects_are_asked_for_together(engine: Predictor, frames: list[Frame]) -> None:
    found = {each.prompt: each for each in ask(engine, frames, "person", "face")[-1].objects}
    alone = ask(engine, frames, "face")[-1].objects[0]
    assert found["face"].box == alone.box
    assert found["person"].mask.bits.sum() > 3 * found["face"].mask.bits.sum()


def test_one_glimpse_of_a_face_counts_and_one_of_a_car_does_not() -> None:
    tracker = BoxTracker(10.0, {1: thresholds((cpu.FACE,))})
    glimpses = [Detection(label, 0.6, (10.0, 10.0, 50.0, 50.0)) for label in (0, 1)]
    tracker.update(0.0, [*glimpses, Detection(1, 0.3, (200.0, 10.0, 240.0, 50.0))])
    for i in range(1, 6):
        tracker.update(i / 25, [])
    assert [(track.label, track.object_id) for track in tracker.tracks] == [(1, 1)]


def test_a_session_that_continues_finds_the_same_faces(
    engine: Predictor, frames: list[Frame]
) -> None:
    straight = [[each.box for each in result.objects] for result in ask(engine, frames, "face")]
    video = VideoInfo(frames[0].picture.width, frames[0].picture.height, 25.0, 0.0, 0, "h264")
    first = engine.open(video, Query(("face",)))
    results = first.step(frames[:3])
    results += engine.open(video, Query(("face",)), first.state()).step(frames[3:])
    assert [[each.box for each in result.objects] for result in results] == straight


def test_a_large_picture_is_scaled_down_and_boxes_are_in_its_own_pixels(
    frames: list[Frame],
) -> None:
    detector = CenterFace(WEIGHTS / "centerface.onnx", threads=1)
    small = frames[0].picture
    large = small.reformat(width=small.width * 3, height=small.height * 3)
    blob, scale = scaled(large, detector._scaler)
    assert blob.shape == (1, 3, 416, 960)
    assert scale == pytest.approx([0.5, 0.5])
    [found] = [each for each in detector.detect(large, 0) if each.score > 0.5]
    assert overlap(found.box, [3 * side for side in FACE_BOX]) > 0.5


def test_a_cell_says_where_a_face_is() -> None:
    heatmap = np.zeros((4, 6), np.float32)
    size, offset = np.zeros((2, 2, 4, 6), np.float32)
    heatmap[1, 4] = 0.9
    size[:, 1, 4] = np.log(3), np.log(2)  # height, width
    offset[:, 1, 4] = 0.25, -0.25  # y, x
    boxes, scores = decode(heatmap, size, offset)
    x, y = (4 + 0.25) * CELL, (1 + 0.75) * CELL
    assert boxes == pytest.approx(np.array([[x - 4, y - 6, x + 4, y + 6]]))
    assert scores == pytest.approx([0.9])
