"""The short form of ``tests.chaos.long_clip``."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from benchmarks import clip
from shoal.settings import Settings
from tests.chaos.crawling import hold_back, let_go
from tests.chaos.long_clip import BLOWS, HEIGHT, RATE, WIDTH, LongClip
from tests.running import Processes, sam3_environment


@pytest.mark.timeout(900)  # a machine may be slow
@pytest.mark.parametrize(("engine", "frames"), [("cpu", 100), ("sam3", 40)])
def test_a_video_struck_three_times_ends_as_a_straight_one(
    processes: Processes,
    settings: Settings,
    sample_clip: Path,
    tmp_path: Path,
    engine: str,
    frames: int,
) -> None:
    env = {"SHOAL_PART_S": "2", "SHOAL_GRACE_S": "60", "SHOAL_LEASE_S": "8"}
    if engine == "sam3":
        pytest.importorskip("torch")
        env |= sam3_environment(tmp_path / "sam3")
    video = processes.settings.data_dir / "video.mp4"
    video.parent.mkdir(parents=True)
    clip.write(str(sample_clip), str(video), frames, WIDTH, HEIGHT, RATE)
    # Where this process stands still for a moment, the video must not be over when it goes on.
    crawling = f"tests.chaos.crawling:{engine}"
    runs = LongClip(
        processes,
        crawling,
        env,
        limit_s=240,
        let_go=lambda: let_go(settings),
        hold_back=lambda: hold_back(settings),
    )
    result = runs.run(video, 0, random.Random(7), BLOWS[:3], until=0.4)
    assert result.frames == frames
    assert len(result.blows) == 3
    assert result.rows > 20
    assert result.same_rows
    assert result.same_times
    assert result.resumed
