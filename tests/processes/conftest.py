"""Settings that no pause of a busy machine breaks, and a gate for videos."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from shoal.settings import Settings
from tests import media
from tests.processes.gate import Gate
from tests.running import Processes


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """A worker that stands still for some seconds keeps its job, and ends in order.

    Where a lease has to lapse, the test lets it.
    """
    return settings.model_copy(update={"lease_s": 60.0, "grace_s": 60.0})


@pytest.fixture
def gate(processes: Processes, tmp_path: Path) -> Gate:
    return Gate(processes, tmp_path / "gate")


@pytest.fixture(scope="session")
def long_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    media.write_video(path, frames=500, fps=25)
    return path


@pytest.fixture
def long_clip(long_video: Path, settings: Settings) -> Path:
    """500 frames, 25 s for ``tests.fakes:Slow``: for a video that need not come to its end."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(long_video, settings.data_dir))
