"""The benchmark for a GPU runs: without one on a tiny checkpoint, which measures nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import sam3_gpu
from worker.engines import cuda

ROOT = Path(__file__).parents[2]


def test_without_a_gpu_it_says_what_it_would_measure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The counts besides are those of ``test_speed`` and ``test_fake_gpu``."""
    counted: list[bool] = []
    monkeypatch.setattr(sam3_gpu, "count", lambda: counted.append(True))
    command = "sam3_gpu.py --quick --profile --json --contestant ours --clip"
    monkeypatch.setattr(sys, "argv", [*command.split(), __file__])
    sam3_gpu.main()
    said = capsys.readouterr().out
    assert "GPU     none" in said
    assert "ours p2_o10: frames/s and use of the GPU over 44 frames of 1920x1080" in said
    assert "where the host waits" in said
    assert "reference" not in said
    assert counted
    assert json.loads(said.splitlines()[-1]) == {}, "nothing was measured"


def test_a_gpu_that_cannot_be_used_is_not_taken_for_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "nvidia0").touch()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(cuda, "DEVICES", tmp_path)
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(SystemExit, match=r"built for CPUs\. Install a build of torch for CUDA"):
        sam3_gpu.gpu()


def test_it_runs_from_its_clip_to_its_figures(sample_clip: Path) -> None:
    command = [sys.executable, "benchmarks/sam3_gpu.py", "--tiny", "--json", "--profile"]
    run = subprocess.run(
        [*command, "--clip", str(sample_clip)], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    table, _, line = run.stdout.rstrip().rpartition("\n")
    assert "p2_o2 reference" in table
    assert run.stderr.count("Self CPU time total") == 2, "a profile of both, after their figures"
    figures = json.loads(line)
    for case in ("p2_o2",):
        ratio = figures[f"fps_{case}"] / figures[f"reference_fps_{case}"]
        assert abs(figures[f"ratio_{case}"] - ratio) < 0.1 * ratio
        assert f"busy_{case}" in figures
