"""API and worker write where their images let them, and nowhere else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from shoal.settings import Settings
from tests.running import ROOT, Processes

GUARD = Path(__file__).parent / "readonly"


def read_only(*writable: Path) -> dict[str, str]:
    return {
        "PYTHONPATH": f"{GUARD}{os.pathsep}{ROOT}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "WRITABLE": os.pathsep.join(map(str, writable)),
    }


def test_the_guard_guards(tmp_path: Path) -> None:
    env = {**os.environ, **read_only(tmp_path / "data")}
    command = [sys.executable, "-c", f"open({str(tmp_path / 'elsewhere')!r}, 'w')"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert "Read-only file system" in done.stderr


def test_a_video_through_read_only_processes(
    settings: Settings, processes: Processes, sample_clip: Path, tmp_path: Path
) -> None:
    """Upload, job, results: as in the images, which write to /data (and /tmp) alone."""
    home, temporary = tmp_path / "nobody", tmp_path / "tmp"
    temporary.mkdir()
    confined = {"HOME": str(home), "TMPDIR": str(temporary)}
    processes.env |= read_only(settings.data_dir, settings.work_dir, temporary) | confined
    with processes.api() as client:
        processes.worker()
        uploaded = client.upload(sample_clip)
        job = client.submit(uploaded.uri, ["person"])
        record = client.wait(job.id)
        assert record.state == "succeeded", processes.logs()
    assert "Read-only" not in processes.logs()
