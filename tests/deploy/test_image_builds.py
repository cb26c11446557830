"""deploy/images.py: what it asks of docker, and what it makes of the answers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.running import ROOT

# Notes what it is asked for. SIZE: of every image of ours, in bytes; FAILS: a command that does.
DOCKER = """#!/bin/sh
echo "$*" >> "$NOTES"
case "$*" in
  history*) printf '20MB\\tRUN install\\n0B\\tUSER shoal\\n' ;;
  "image inspect --format {{.Size}} localhost/shoal-"*) echo "$SIZE" ;;
  "image inspect --format {{.Size}}"*) echo 100000000 ;;
  inspect*) echo healthy ;;
esac
case "$*" in $FAILS) echo "it failed"; exit 1 ;; esac
"""


@pytest.fixture
def docker(tmp_path: Path) -> Path:
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(DOCKER)
    program.chmod(0o755)
    return program


def make(
    docker: Path, fails: str = "nothing", size: int = 240_000_000
) -> tuple[str, list[str], int]:
    """What it printed, what docker was asked for, and its exit code."""
    notes = docker.parent / "notes"
    env = os.environ | {
        "PATH": f"{docker.parent}{os.pathsep}{os.environ['PATH']}",
        "NOTES": str(notes),
        "SIZE": str(size),
        "FAILS": fails,
    }
    done = subprocess.run(
        [sys.executable, ROOT / "deploy" / "images.py", "demo/bikes.mp4", "--pull"],
        env=env,
        capture_output=True,
        text=True,
    )
    return done.stdout + done.stderr, notes.read_text().splitlines(), done.returncode


def test_three_images_are_built_and_used_locked(docker: Path) -> None:
    printed, asked, code = make(docker)
    assert code == 0, printed
    built = [line for line in asked if line.startswith("build ")]
    assert [line.split("-t localhost/shoal-")[1].split()[0] for line in built] == [
        "api",
        "worker",
        "autoscaler",
    ]
    for line in built:
        assert line.startswith("build --pull ")  # the options that were given
        assert "PYTHON=python:3" in line  # as the Dockerfile pins it
        assert "@sha256:" in line
    started = [line for line in asked if line.startswith("run ")]
    assert len(started) == 3
    for line in started:
        assert "--read-only" in line
        assert "--cap-drop ALL" in line
        assert "no-new-privileges" in line
    assert "20MB  RUN install" in printed
    assert "api: 140 MB beyond its base, of at most 150" in printed
    assert any("shoal submit /video.mp4" in line for line in asked)
    assert asked[-1] == "volume rm shoal-images-data"


def test_an_image_that_is_too_large_is_an_error(docker: Path) -> None:
    printed, _, code = make(docker, size=251_000_000)
    assert code == 1
    assert "api: 151 MB beyond its base, of at most 150" in printed
    assert "an image is larger than it may be" in printed


@pytest.mark.parametrize("fails", ["exec*", "run*shoal-worker"])
def test_nothing_is_left_of_a_try_that_failed(docker: Path, fails: str) -> None:
    printed, asked, code = make(docker, fails)
    assert code == 1
    assert "it failed" in printed
    for name in ("worker", "api", "valkey"):
        assert f"rm --force shoal-images-{name}" in asked[-4:]


def test_a_build_that_fails_says_why(docker: Path) -> None:
    printed, asked, code = make(docker, "build*")
    assert code == 1
    assert "it failed" in printed
    assert not [line for line in asked if line.startswith("run ")]
