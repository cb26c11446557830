"""Batches from the command line to results, with real processes."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from shoal.exits import Exit
from shoal.model.job import State
from shoal.settings import Settings
from tests import media
from tests.cli import invoke
from tests.running import Processes, eventually


@pytest.fixture
def folder(settings: Settings) -> Path:
    """Four videos at two depths, one of them broken, and a file that is no video."""
    folder = settings.data_dir / "matches"
    (folder / "2025").mkdir(parents=True)
    media.write_video(folder / "first.mp4", frames=10, fps=25)
    for name in ("2025/second half.mp4", "2025/third.mp4"):
        shutil.copy(folder / "first.mp4", folder / name)
    (folder / "2025" / "broken.mp4").write_bytes(b"no video")
    (folder / "notes.txt").write_text("no video either")
    return folder


def shoal(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    url = f"http://127.0.0.1:{settings.api_port}"
    return invoke(*arguments, url=url, cwd=settings.data_dir, COLUMNS="200")


def test_a_pattern_becomes_results(folder: Path, processes: Processes, settings: Settings) -> None:
    client = processes.api()
    processes.worker()
    pattern = folder.as_uri() + "/**"
    run = shoal(settings, "submit", pattern, "-p", "person", "--name", "season", "--watch")
    assert run.returncode == Exit.FAILED, run.stderr
    for words in ("season", "finished", "4: 3 succeeded, 1 failed", "1 wrong_suffix", "notes.txt"):
        assert words in run.stdout
    assert "finished  100%" in run.stderr

    run = shoal(settings, "batch", "list", "--json")
    (batch,) = json.loads(run.stdout)["items"]
    assert batch["counts"] == {
        "queued": 0, "running": 0, "succeeded": 3, "failed": 1, "cancelled": 0,
    }  # fmt: skip
    assert sum(batch["failures"].values()) == 1
    assert batch["gpu_seconds"] > 0
    done = list(client.batches.videos(batch["id"], state=State.SUCCEEDED))
    assert {record.spec.stem for record in done} == {"first", "second half", "third"}
    assert all(record.results for record in done)
    assert "season" in shoal(settings, "batch", "list").stdout

    media.write_video(folder / "2025" / "broken.mp4", frames=10, fps=25)
    again = shoal(settings, "submit", f"{folder.as_uri()}/2025/*.mp4", "-p", "person", "--watch")
    assert again.returncode == Exit.OK, again.stderr
    assert "3: 3 succeeded" in again.stdout


def test_what_failed_is_retried_and_a_batch_cancelled(
    folder: Path, processes: Processes, settings: Settings
) -> None:
    client = processes.api()
    upload = folder / "first.mp4"
    run = shoal(
        settings, "submit", str(upload), f"{folder.as_uri()}/*.mp4", "-p", "person", "--json"
    )
    assert run.returncode == Exit.OK, run.stderr
    batch_id = json.loads(run.stdout)["id"]
    eventually(lambda: client.batches.get(batch_id).state == "running", "the batch to be queued")
    assert client.batches.get(batch_id).uris == 1
    run = shoal(settings, "batch", "cancel", batch_id[:8])
    assert run.returncode == Exit.OK, run.stderr
    run = shoal(settings, "batch", "show", batch_id[:8], "--watch")
    assert run.returncode == Exit.FAILED
    assert "2: 2 cancelled" in run.stdout
    assert shoal(settings, "batch", "retry", batch_id).returncode == Exit.REFUSED
    assert shoal(settings, "batch", "show", "ffffffff").returncode == Exit.NOT_FOUND


def test_what_matches_nothing_is_told(
    folder: Path, processes: Processes, settings: Settings
) -> None:
    processes.api()
    run = shoal(settings, "submit", f"{folder.as_uri()}/*.mkv", "-p", "person", "--watch")
    assert run.returncode == Exit.NOT_FOUND
    assert "no video matches" in run.stderr
    run = shoal(settings, "submit", f"{folder.as_uri()}/*", "-p", "a", "--remove-object", "1")
    assert run.returncode == Exit.USAGE
