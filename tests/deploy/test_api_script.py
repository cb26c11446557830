"""deploy/skypilot/api.sh: Valkey and the API live and end together."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from shoal.local.valkey import find_server
from tests.running import ROOT, eventually

# Stands for a server: it notes its process, and when it has ended in order.
SERVER = """#!/bin/bash
trap 'echo >> "$NOTES/{name}.ended"; exit 0' TERM
echo $$ > "$NOTES/{name}.pid"
while :; do sleep 0.05; done
"""

# The script sends itself the signal as soon as it has started both, before its next command.
SIGTERM_AT_ONCE = """
trap '[ "$(jobs -p | wc -l)" -lt 2 ] || { trap - DEBUG; kill -TERM $$; }' DEBUG
"""


@pytest.fixture
def script(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[bytes]]:
    programs = {"shoal": SERVER, "valkey": SERVER, "curl": "#!/bin/sh\necho 192.0.2.1\n"}
    programs |= getattr(request, "param", {})
    for name, text in programs.items():
        (tmp_path / name).write_text(text.replace("{name}", name))
        (tmp_path / name).chmod(0o755)
    env = os.environ | {
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "NOTES": str(tmp_path),
        "SHOAL_HOME": str(tmp_path / "home"),
        "SHOAL_RESULTS": "gs://b/r",
        "VALKEY": str(tmp_path / "valkey"),
        "REAL_SERVER": str(find_server()),
    }
    if "early" in programs:
        env["BASH_ENV"] = str(tmp_path / "early")
    process = subprocess.Popen(
        ["bash", str(ROOT / "deploy" / "skypilot" / "api.sh")], env=env, stdout=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        for server in servers(tmp_path):
            server.kill()
        process.kill()
        process.wait()


# Valkey as the script configures it, but for TLS, which not every build of it has.
REAL = """#!/bin/bash
sed -i -e '/^tls-/d' -e "1a unixsocket $NOTES/socket\\nset-proc-title no" "$1"
exec -a "$NOTES/valkey" "$REAL_SERVER" "$1"
"""


def servers(folder: Path) -> list[psutil.Process]:
    """Those that run, also where the script has ended."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if {str(folder / "valkey"), str(folder / "shoal")} & set(process.cmdline()):
                found.append(process)
    return found


def pid(folder: Path, name: str) -> int:
    path = folder / f"{name}.pid"
    eventually(lambda: path.exists() and path.read_text().strip(), f"{name} to run")
    return int(path.read_text())


def test_sigterm_ends_both(script: subprocess.Popen[bytes], tmp_path: Path) -> None:
    children = [pid(tmp_path, name) for name in ("valkey", "shoal")]
    script.send_signal(signal.SIGTERM)
    assert script.wait(60) == 143
    eventually(lambda: not any(map(psutil.pid_exists, children)), "both to be gone")
    assert {path.name for path in tmp_path.glob("*.ended")} == {"shoal.ended", "valkey.ended"}


@pytest.mark.parametrize("script", [{"early": SIGTERM_AT_ONCE}], indirect=True, ids=["early"])
def test_sigterm_ends_both_also_when_they_have_just_been_started(
    script: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    assert script.wait(60) == 143
    eventually(lambda: not servers(tmp_path), "both to be gone")


@pytest.mark.parametrize(("dies", "other"), [("valkey", "shoal"), ("shoal", "valkey")])
def test_neither_stays_without_the_other(
    script: subprocess.Popen[bytes], tmp_path: Path, dies: str, other: str
) -> None:
    left = pid(tmp_path, other)
    os.kill(pid(tmp_path, dies), signal.SIGKILL)
    assert script.wait(60) != 0
    eventually(lambda: not psutil.pid_exists(left), "the other one to be gone")


@pytest.mark.parametrize("script", [{"valkey": REAL}], indirect=True, ids=["real"])
def test_it_ends_where_its_disk_is_full_or_gone(
    script: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    """A server that saves a snapshot at its end does not end if it cannot."""
    pid(tmp_path, "shoal")
    data = tmp_path / "home" / "valkey"
    eventually(lambda: list(data.rglob("*.manifest")), "Valkey's files")
    shutil.rmtree(data)
    script.send_signal(signal.SIGTERM)
    assert script.wait(60) == 143
