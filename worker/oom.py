"""Detects whether the kernel's out-of-memory killer ended a process of this cgroup."""

from __future__ import annotations

import re
from pathlib import Path

from shoal.local.cgroups import CGROUPS, MEMBERSHIP, memory_files


def oom_kills(membership: Path = MEMBERSHIP, cgroups: Path = CGROUPS) -> int | None:
    """Processes of this cgroup that the out-of-memory killer has ended so far.

    Args:
        membership: a file as cgroups(7) describes ``/proc/self/cgroup``.
        cgroups: where the hierarchies are mounted.

    Returns:
        The counter ``oom_kill`` of cgroup v2 (``memory.events``) or v1 (``memory.oom_control``,
        since Linux 4.13); ``None`` where there is neither.
    """
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return None
    for path in memory_files(lines, cgroups, v1="memory.oom_control", v2="memory.events"):
        try:
            found = re.search(r"^oom_kill (\d+)$", path.read_text(), re.MULTILINE)
        except OSError:
            continue
        if found:
            return int(found[1])
    return None
