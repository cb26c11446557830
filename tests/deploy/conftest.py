"""The tools that look at images, manifests and scripts, and the repository they look at."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.running import ROOT

Tool = Callable[..., str]


@pytest.fixture(scope="session")
def tools() -> Path:
    """The folder of their programs: ``SHOAL_DEPLOY_TOOLS``, or what 'make dev' makes."""
    folder = Path(os.environ.get("SHOAL_DEPLOY_TOOLS", ROOT / ".venv-deploy/bin"))
    if not (folder / "hadolint").exists():
        pytest.skip(f"no hadolint in {folder}: 'make dev' installs it and the others")
    return folder


@pytest.fixture
def tool(tools: Path) -> Tool:
    """Runs one of them in the repository, and fails with what it complains of."""

    def call(name: str, *args: str) -> str:
        done = subprocess.run(
            [str(tools / name), *args],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    return call
