"""A real clip with faces, redacted by the cpu engine."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from shoal.results.layout import result_name
from tests.attempts import Job
from worker.engines.cpu.faces import CenterFace
from worker.engines.cpu.masks import ellipse, window
from worker.engines.cpu.predictor import WEIGHTS, CpuPredictor
from worker.engines.cpu.thresholds import FACE_BIRTH

# Two scenes of the clip: a man in a suit walks out of the first one at frame 45; in the second
# one, from frame 76 on, a van passes before a cyclist.
FIRST, FRAMES = 28, 80
BEHIND_VAN = range(84, 102)
LOOKED_AT = {*range(FIRST, 76, 2), *range(76, 85), *range(101, FIRST + FRAMES)}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def job(sample_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Job:
    folder = tmp_path_factory.mktemp("job")
    solid = {"kind": "redact", "style": "solid"}
    frames: dict[str, Any] = {"start_frame": FIRST, "max_frames": FRAMES}
    job = Job(sample_clip, folder, CpuPredictor, ("face",), outputs=[solid], **frames)
    job.attempt()
    return job


@pytest.fixture(scope="module")
def report(job: Job) -> dict[str, Any]:
    path = job.results / result_name(job.spec, "redaction")
    parsed: dict[str, Any] = json.loads(path.read_text())
    return parsed


def pictures(path: Path, first: int = 0) -> list[av.VideoFrame]:
    with av.open(str(path)) as container:
        return list(islice(container.decode(video=0), first, first + FRAMES))


def test_each_face_in_the_source_is_black(job: Job, sample_clip: Path) -> None:
    """Looked for on each frame by itself, with no tracker and no gaps to bridge."""
    detector = CenterFace(WEIGHTS / "centerface.onnx", threads=2)
    after = pictures(job.results / result_name(job.spec, "redact"))
    before = pictures(sample_clip, FIRST)
    assert len(after) == len(before) == FRAMES
    looked_at = 0
    for index in sorted(LOOKED_AT):
        luma = after[index - FIRST].to_ndarray(format="gray")
        for face in detector.detect(before[index - FIRST], 0):
            if face.score >= FACE_BIRTH:
                x0, y0, x1, y1 = window(face.box, luma.shape)
                inside = luma[y0:y1, x0:x1][ellipse((y1 - y0, x1 - x0)) > 0]
                assert np.median(inside) <= 2, index
                assert np.mean(inside <= 12) > 0.97, index
                looked_at += 1
    assert looked_at >= 20


def test_the_frames_around_the_gap_are_listed_for_a_person(report: dict[str, Any]) -> None:
    bridged = {
        frame
        for each in report["check"]
        if each["why"] == "bridged"
        for frame in range(each["first_frame"], each["last_frame"] + 1)
    }
    assert bridged >= set(BEHIND_VAN)
    assert report["scenes"] == 3
    assert report["frames"] == FRAMES


def test_a_face_is_held_to_the_borders_of_its_scene(report: dict[str, Any]) -> None:
    check = [each for each in report["check"] if each["why"] == "held"]
    held = [(each["first_frame"], each["last_frame"]) for each in check]
    assert any(first == 29 for first, _ in held)  # a frame before the cut to the man in the suit
    assert any(first <= 46 and last == 76 for first, last in held)  # he left: up to the next cut
