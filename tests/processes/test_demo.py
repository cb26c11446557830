"""``shoal demo``, as ``make demo`` runs it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import psutil

from shoal.results.layout import Metadata
from tests.conftest import SHOAL
from tests.running import eventually


def test_the_demo_ends_with_the_metadata_and_leaves_nothing_running(
    sample_clip: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "demo"
    done = subprocess.run(
        [*SHOAL, "demo", str(sample_clip), "--prompts", "person, car", "--dir", str(folder)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    path = Path(done.stdout.rstrip("\n").splitlines()[-1])
    metadata = Metadata.model_validate_json(path.read_text())
    assert path.is_relative_to(folder)
    assert metadata.frames_processed == metadata.video.frames_read > 100
    assert set(metadata.objects_per_prompt) == {"person", "car"}
    assert metadata.objects_per_prompt["car"] > 0
    eventually(lambda: not processes_under(folder), "its processes to end")


def test_the_demo_says_what_is_wrong_and_fails(tmp_path: Path) -> None:
    text = tmp_path / "notes.mp4"
    text.write_text("not a video at all")
    done = subprocess.run(
        [*SHOAL, "demo", str(text), "--dir", str(tmp_path / "demo")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "not_a_video" in done.stdout + done.stderr
    eventually(lambda: not processes_under(tmp_path), "its processes to end")


def test_an_unknown_word_is_refused_with_the_closest_ones(
    sample_clip: Path, tmp_path: Path
) -> None:
    done = subprocess.run(
        [*SHOAL, "demo", str(sample_clip), "--prompts", "bycicle", "--dir", str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 5
    assert "bicycle" in done.stderr
    eventually(lambda: not processes_under(tmp_path), "its processes to end")


def processes_under(folder: Path) -> list[psutil.Process]:
    """Processes that were told about a folder, in their arguments or their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            told = " ".join([*process.cmdline(), *process.environ().values()])
        except psutil.Error:
            continue
        if str(folder) in told and process.pid != psutil.Process().pid:
            found.append(process)
    return found
