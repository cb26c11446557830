"""The local launcher starts workers from the environment that has them."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from autoscaler.launchers import local
from autoscaler.launchers.local import worker_command
from shoal.errors import DeploymentError


@pytest.fixture
def without_worker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As in the autoscaler's environment, which has a 'shoal' of its own but no PyAV."""
    find = importlib.util.find_spec
    monkeypatch.setattr(local, "find_spec", lambda name: None if name == "av" else find(name))
    monkeypatch.setattr(local, "CHECKOUT_ENV", "no such environment")
    own = program(tmp_path / "own" / "shoal")
    monkeypatch.setattr(sys, "executable", str(own.with_name("python")))
    monkeypatch.setenv("PATH", str(own.parent))


def program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_this_environment_if_it_has_a_worker() -> None:
    assert worker_command() == [sys.executable, "-P", "-m", "worker"]


@pytest.mark.usefixtures("without_worker")
def test_another_shoal_on_the_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    other = program(tmp_path / "other" / "shoal")
    own = tmp_path / "own"
    monkeypatch.setenv("PATH", f"{own}:{other.parent}")
    assert worker_command() == [str(other), "worker"]


def test_the_setting_comes_first(tmp_path: Path) -> None:
    chosen = program(tmp_path / "chosen" / "shoal")
    assert worker_command(str(chosen)) == [str(chosen), "worker"]


@pytest.mark.usefixtures("without_worker")
@pytest.mark.parametrize("setting", ["", "/no/such/shoal"])
def test_none_is_said_before_anything_is_launched(setting: str) -> None:
    with pytest.raises(DeploymentError) as caught:
        worker_command(setting)
    assert "SHOAL_SCALE_WORKER" in caught.value.hint
