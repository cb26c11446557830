"""An engine that looks around, as code would that a hostile video has smuggled in.

``SHOAL_ENGINE=tests.security.spy:Spy``; what it sees is in ``spied.json`` in the data directory.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import sys
from pathlib import Path

from tests.fakes import Fake
from worker.video.frame import Frame

PTRACE_ATTACH = 16
PIDS = "SPY_PIDS"  # further processes to look at, by SHOAL_MODEL_ENV


def attempt(path: str) -> str:
    """What a file of /proc holds, or why it cannot be read."""
    try:
        return Path(path).read_bytes().decode(errors="replace")
    except OSError as error:
        return f"refused: {error.strerror}"


def memory(pid: int | str) -> str:
    """The heap of a process, or why it cannot be read."""
    try:
        found = re.search(r"^(\w+)-(\w+) rw.*\[heap\]$", attempt(f"/proc/{pid}/maps"), re.MULTILINE)
        with Path(f"/proc/{pid}/mem").open("rb") as file:
            if found is None:
                return "no heap"
            file.seek(int(found[1], 16))
            return file.read(int(found[2], 16) - int(found[1], 16)).decode(errors="replace")
    except OSError as error:
        return f"refused: {error.strerror}"


def links(folder: str) -> str:
    """What a process has open, or why that cannot be seen."""
    found = []
    try:
        for path in Path(folder).iterdir():
            with contextlib.suppress(FileNotFoundError):  # the listing of the folder itself
                found.append(f"{path.name} {path.readlink()}")
    except OSError as error:
        return f"refused: {error.strerror}"
    return "\n".join(found)


def look_at(pid: int | str) -> dict[str, str]:
    """All that /proc and ptrace tell of another process."""
    traced = ctypes.CDLL(None, use_errno=True).ptrace(PTRACE_ATTACH, int(pid), None, None)
    return {
        "environ": attempt(f"/proc/{pid}/environ"),
        "memory": memory(pid),
        "files": links(f"/proc/{pid}/fd"),
        "arguments": attempt(f"/proc/{pid}/cmdline"),
        "ptrace": "attached" if traced == 0 else "refused",
    }


class Spy(Fake):
    def __init__(self) -> None:
        super().__init__()
        self.had_token = "HF_TOKEN" in os.environ

    def before_frame(self, frame: Frame) -> None:
        if frame.index:
            return
        own = {
            "environ": json.dumps(dict(os.environ)),
            "first environ": attempt("/proc/self/environ"),
            "arguments": json.dumps(sys.orig_argv),
            "files": links("/proc/self/fd"),
            "status": attempt("/proc/self/status"),
            "limits": attempt("/proc/self/limits"),
            "oom": attempt("/proc/self/oom_score_adj"),
        }
        others = {pid: look_at(pid) for pid in os.environ[PIDS].split()}
        seen = {
            "own": own,
            "parent": look_at(os.getppid()),
            "others": others,
            "had_token": self.had_token,
        }
        (Path(os.environ["SHOAL_DATA_DIR"]) / "spied.json").write_text(json.dumps(seen))
