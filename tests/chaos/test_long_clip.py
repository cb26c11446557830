"""The short form of ``tests.chaos.long_clip``."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from benchmarks import clip
from tests.chaos.long_clip import BLOWS, HEIGHT, RATE, WIDTH, LongClip, sam3_environment
from tests.processes import Processes

FRAMES = 150


@pytest.mark.parametrize("engine", ["cpu", "sam3"])
def test_a_video_struck_three_times_ends_as_a_straight_one(
    processes: Processes, sample_clip: Path, tmp_path: Path, engine: str
) -> None:
    env = {"SHOAL_PART_S": "0.5", "SHOAL_GRACE_S": "60"}
    if engine == "sam3":
        pytest.importorskip("torch")
        env |= sam3_environment(tmp_path / "sam3")
    video = processes.settings.data_dir / "video.mp4"
    video.parent.mkdir(parents=True)
    clip.write(str(sample_clip), str(video), FRAMES, WIDTH, HEIGHT, RATE)
    runs = LongClip(processes, engine, env, limit_s=120)
    result = runs.run(video, 0, random.Random(7), BLOWS[:3])
    assert result.frames == FRAMES
    assert result.rows > 20
    assert result.same_rows
    assert result.same_times
    assert len(result.blows) == 3
