"""The benchmark for a GPU runs: without one on a tiny checkpoint, which measures nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


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
