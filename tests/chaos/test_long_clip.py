"""The short form of ``tests.chaos.long_clip``."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from benchmarks import clip
from tests.chaos.long_clip import BLOWS, HEIGHT, RATE, WIDTH, LongClip, sam3_environment
from tests.running import Processes


@pytest.mark.timeout(900)  # a machine may be slow
@pytest.mark.parametrize(("engine", "frames"), [("cpu", 100), ("sam3", 40)])
def test_a_video_struck_three_times_ends_as_a_straight_one(
    processes: Processes, sample_clip: Path, tmp_path: Path, engine: str, frames: int
) -> None:
    env = {"SHOAL_PART_S": "0.5", "SHOAL_GRACE_S": "60"}
    if engine == "sam3":
        pytest.importorskip("torch")
        env |= sam3_environment(tmp_path / "sam3")
    video = processes.settings.data_dir / "video.mp4"
    video.parent.mkdir(parents=True)
    clip.write(str(sample_clip), str(video), frames, WIDTH, HEIGHT, RATE)
    runs = LongClip(processes, engine, env, limit_s=240)
    result = runs.run(video, 0, random.Random(7), BLOWS[:3], until=0.4)
    assert result.frames == frames
    assert result.rows > 20
    assert result.same_rows
    assert result.same_times
    assert result.resumed
