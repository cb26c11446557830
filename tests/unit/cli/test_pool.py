"""``shoal pool`` hands over to the autoscaler's own program."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.conftest import SHOAL
from tests.running import ROOT


def run(env: dict[str, str], folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*SHOAL, "pool", "up", "--image", "a/b:1", "--help"],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | env,
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,  # where 'python -c' looks for packages first
    )


def test_all_arguments_go_to_the_program(tmp_path: Path) -> None:
    program = tmp_path / "shoal-autoscaler"
    program.write_text('#!/bin/sh\necho "$@"\nexit 7\n')
    program.chmod(0o755)
    ended = run({"SHOAL_AUTOSCALER": str(program)})
    assert (ended.stdout, ended.returncode) == ("pool up --image a/b:1 --help\n", 7)


def test_a_program_that_is_missing_is_named_with_what_to_do(tmp_path: Path) -> None:
    """A checkout without 'make autoscaler': this one may have made it."""
    made = tmp_path / "shoal"
    made.symlink_to(ROOT / "shoal")
    ended = run({"PATH": "/usr/bin:/bin", "PYTHONPATH": str(tmp_path)}, tmp_path)
    assert ended.returncode == 1
    assert "the autoscaler is not installed" in ended.stderr
    assert "make autoscaler" in ended.stderr
