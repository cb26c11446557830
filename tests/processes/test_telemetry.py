"""Nothing here reports to a vendor: no host is looked up, no device gets an ID."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import SHOAL

DNS = re.compile(r"connect\(.*htons\(53\)")


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("doctor", "--engine", "cpu"), id="doctor"),
        pytest.param(("demo", "{clip}", "--dir", "{folder}/demo"), id="demo, with API and worker"),
    ],
)
def test_no_host_is_looked_up(
    arguments: tuple[str, ...], sample_clip: Path, tmp_path: Path
) -> None:
    """Under strace where there is one; the device ID is looked for everywhere."""
    home, trace = tmp_path / "home", tmp_path / "trace"
    home.mkdir()
    env = {name: value for name, value in os.environ.items() if not name.startswith("ORT_")}
    strace = ["strace", "-f", "--seccomp-bpf", "-e", "trace=connect", "-o", str(trace)]
    command = [argument.format(clip=sample_clip, folder=tmp_path) for argument in arguments]
    done = subprocess.run(
        [*(strace if shutil.which("strace") else ()), *SHOAL, *command],
        env=env | {"HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    looked_up = DNS.findall(trace.read_text()) if trace.exists() else []
    assert looked_up == []
    assert list(home.rglob("*deviceid*")) == []
