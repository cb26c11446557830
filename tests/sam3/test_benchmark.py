"""The benchmark for a GPU runs: without one on a tiny checkpoint, which measures nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_without_a_gpu_it_says_what_it_would_measure() -> None:
    """The counts besides are those of ``test_speed`` and ``test_fake_gpu``."""
    command = [sys.executable, "benchmarks/sam3_gpu.py", "--quick", "--profile"]
    run = subprocess.run(
        [*command, "--contestant", "ours", "--clip", __file__],
        cwd=ROOT, capture_output=True, text=True, env={"PATH": ""},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert "ours p2_o10: frames/s and use of the GPU over 44 frames of 1920x1080" in run.stdout
    assert "where the host waits" in run.stdout
    assert "reference" not in run.stdout


def test_it_runs_from_its_clip_to_its_figures(sample_clip: Path) -> None:
    command = [sys.executable, "benchmarks/sam3_gpu.py", "--tiny", "--json"]
    run = subprocess.run(
        [*command, "--clip", str(sample_clip)], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    table, _, line = run.stdout.rstrip().rpartition("\n")
    assert "p2_o2 reference" in table
    figures = json.loads(line)
    for case in ("p2_o2",):
        ratio = figures[f"fps_{case}"] / figures[f"reference_fps_{case}"]
        assert abs(figures[f"ratio_{case}"] - ratio) < 0.1 * ratio
        assert f"busy_{case}" in figures
