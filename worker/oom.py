"""Whether the kernel ran out of memory: how often its killer struck in this process's cgroup."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


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
    for path in _counters(lines, cgroups):
        try:
            found = re.search(r"^oom_kill (\d+)$", path.read_text(), re.MULTILINE)
        except OSError:
            continue
        if found:
            return int(found[1])
    return None


def _counters(lines: list[str], cgroups: Path) -> Iterator[Path]:
    """Where the counter may be. A container sees its own cgroup as the root of the mount, but
    may read its path as the host's."""
    for line in lines:
        hierarchy, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if "memory" in controllers.split(","):
            folder, name = cgroups / "memory", "memory.oom_control"
        elif hierarchy == "0" and not controllers:
            folder, name = cgroups, "memory.events"
        else:
            continue
        yield folder / path.lstrip("/") / name
        yield folder / name
