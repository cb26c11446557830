"""Work folders of workers that start at the same time."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import Any

import pytest

from worker import workdir
from worker.workdir import WorkDir


def test_a_folder_that_another_worker_removes_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "work"
    taken, lock = [0], fcntl.flock

    def flock(file: Any, how: int) -> None:
        if how == fcntl.LOCK_EX and not taken[0]:
            taken[0] = 1
            workdir._sweep(root)  # as another worker's start
            assert not list(root.iterdir())
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    ours = WorkDir(root, "ours")
    with ours.job("0" * 24) as folder:
        assert folder.is_dir()
    other = WorkDir(root, "other")
    assert ours.path.is_dir()
    ours.close()
    other.close()
    assert not list(root.iterdir())


def test_debris_is_removed_and_living_workers_are_left_alone(tmp_path: Path) -> None:
    root = tmp_path / "work"
    ours = WorkDir(root, "ours")
    debris = root / "gone"
    debris.mkdir()
    (debris / workdir.LOCK).touch()
    other = WorkDir(root, "other")
    assert sorted(path.name for path in root.iterdir()) == ["other", "ours"]
    ours.close()
    other.close()
