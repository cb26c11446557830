"""Which engine a worker takes, and what it says of one that it cannot run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shoal.errors import UnknownEngine, WeightsUnavailable
from shoal.settings import get_settings
from tests import fakes, media
from tests.attempts import Job
from worker import engines as predictors
from worker.engines.sam3 import availability


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Settings are read anew, and nobody's token counts."""
    monkeypatch.delenv("HF_TOKEN", raising=False)
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "video.mp4"
    path.parent.mkdir()
    media.write_video(path, frames=3)
    return path


def test_an_engine_that_was_asked_for_is_taken() -> None:
    assert predictors.choose("cpu") == ("cpu", "SHOAL_ENGINE is cpu")
    assert predictors.choose("tests.fakes:Fake").engine == "tests.fakes:Fake"


def test_auto_is_cpu_where_sam3_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(availability, "LIBRARIES", ("a_library_that_nobody_has",))
    reason = "sam3 cannot run here: a_library_that_nobody_has is not installed"
    assert predictors.choose("auto") == ("cpu", reason)
    assert predictors.load("auto").name == "cpu"


def test_a_job_for_an_engine_that_cannot_run_here_tells_what_is_missing(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(availability, "LIBRARIES", ())
    monkeypatch.setenv("SHOAL_SAM3_WEIGHTS", str(tmp_path / "nowhere"))
    job = Job(video, tmp_path, fakes.Fake, engine="sam3")
    with pytest.raises(WeightsUnavailable, match=r"no weights at .*nowhere") as caught:
        job.attempt()
    assert "SHOAL_SAM3_WEIGHTS" in caught.value.hint


def test_a_job_for_an_engine_that_could_run_here_names_the_setting(
    video: Path, tmp_path: Path
) -> None:
    job = Job(video, tmp_path, fakes.Fake, engine="cpu")
    with pytest.raises(UnknownEngine, match="this worker runs 'fake'") as caught:
        job.attempt()
    assert "SHOAL_ENGINE=cpu" in caught.value.hint
