"""``python -m shoal.local.process_guard PROGRAM ARGS``: becomes PROGRAM, and dies with its parent.

The request to the kernel survives exec, so it also binds programs that know nothing of it.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h
PR_SET_DUMPABLE = 4


def die_with_parent(sig: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel send ``sig`` to this process when its parent ends (Linux; else no effect)."""
    if sys.platform != "linux":
        return
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(sig))
    if os.getppid() != parent:  # it ended before the request was made
        os.kill(os.getpid(), sig)


def hide_process() -> None:
    """Keep other processes of this user from this one's environment, memory and open files.

    Linux; root's processes need the right to trace besides. Debuggers cannot attach either, and
    there are no core dumps.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def main() -> None:
    die_with_parent(signal.SIGTERM)
    os.execv(sys.argv[1], sys.argv[1:])  # noqa: S606 - the caller names the program


if __name__ == "__main__":
    main()
