"""How much memory there is here, and how much a process holds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from shoal.local.cgroups import CGROUPS, MEMBERSHIP, memory_files

GIB = 1 << 30
MEMINFO = Path("/proc/meminfo")
# What is left to the parent and to what else runs in the group, of all that there is.
ROOM_SHARE, ROOM_LEAST, ROOM_MOST = 0.1, GIB // 8, GIB

# Memory that the kernel cannot take back by itself; pages of mapped files (weights, libraries) it
# can. That of GPUs is no part of it, nor are the huge ranges that CUDA reserves.
_HELD = re.compile(r"^(?:RssAnon|RssShmem|VmSwap):\s+(\d+) kB$", re.MULTILINE)


def ceiling(workers: int = 1) -> int:
    """Bytes that each of so many model processes may hold: a share of what there is, less some
    room for their parents; 0 where the system does not tell."""
    total = available()
    room = min(max(int(total * ROOM_SHARE), ROOM_LEAST), ROOM_MOST)
    return max(0, total - room) // workers


def available(
    membership: Path = MEMBERSHIP, cgroups: Path = CGROUPS, meminfo: Path = MEMINFO
) -> int:
    """Bytes of memory of this machine, or the limit of this container if that is less; 0 where
    the system does not tell."""
    found = [*_group_limits(membership, cgroups)]
    try:
        total = re.search(r"^MemTotal:\s+(\d+) kB$", meminfo.read_text(), re.MULTILINE)
    except OSError:
        total = None
    return min([*found, int(total[1]) * 1024] if total else found, default=0)


def _group_limits(membership: Path, cgroups: Path) -> Iterator[int]:
    """The limits of this group and of those around it; without one it is 'max', or 2**63."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return
    for path in memory_files(lines, cgroups, v1="memory.limit_in_bytes", v2="memory.max"):
        try:
            limit = path.read_text().strip()
        except OSError:
            continue
        if limit.isdecimal():
            yield int(limit)


def held(pid: int) -> int:
    """Bytes that a process and those below it hold; 0 of one that is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    own = sum(int(kilobytes) * 1024 for kilobytes in _HELD.findall(status))
    return own + sum(held(child) for child in _children(pid))


def _children(pid: int) -> Iterator[int]:
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return
    for thread in threads:
        try:
            yield from map(int, (thread / "children").read_text().split())
        except OSError:
            continue  # it has ended
