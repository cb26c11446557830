"""Where this process's control groups keep what they know of its memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def memory_files(lines: Iterable[str], cgroups: Path, *, v1: str, v2: str) -> Iterator[Path]:
    """Where a file of the memory controller may be, the process's own group first.

    A container sees its own group as the root of the mount, but may read its path as the host's.

    Args:
        lines: as cgroups(7) describes ``/proc/self/cgroup``.
        cgroups: where the hierarchies are mounted.
        v1, v2: the file's name in either version.
    """
    for line in lines:
        hierarchy, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if "memory" in controllers.split(","):
            folder, name = cgroups / "memory", v1
        elif hierarchy == "0" and not controllers:
            folder, name = cgroups, v2
        else:
            continue
        own = PurePosixPath(path.lstrip("/"))
        for group in (own, *own.parents):
            yield folder / group / name
