"""``python -m worker.confine PROGRAM ARGS``: becomes PROGRAM, with fewer rights.

What it asks of the kernel survives exec. It runs before any library is loaded: some start threads,
which would keep the rights that they began with.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys

from shoal.local.process_guard import die_with_parent

PR_CAPBSET_DROP = 24  # linux/prctl.h
PR_SET_NO_NEW_PRIVS = 38
# What a process of root keeps (linux/capability.h): CAP_CHOWN, CAP_DAC_OVERRIDE,
# CAP_DAC_READ_SEARCH, CAP_FOWNER and CAP_IPC_LOCK: its files, and memory for a GPU.
KEPT = (0, 1, 2, 3, 14)
CAPABILITIES = 64


def confine() -> None:
    """No core dumps; no rights by setuid programs; and also as root no more rights than over
    files, so no look into the memory or environment of other processes. Ends with its parent."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        prctl = ctypes.CDLL(None).prctl
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        for capability in range(CAPABILITIES):
            if capability not in KEPT:
                prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)  # refused to users, who have none
    die_with_parent()


def main() -> None:
    confine()
    os.execv(sys.argv[1], sys.argv[1:])  # noqa: S606 - the parent names the program


if __name__ == "__main__":
    main()
