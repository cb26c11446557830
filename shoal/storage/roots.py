"""The roots of ``file://``: where they lead, and whether the disks that they are on are there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

_mounts: dict[Path, Path] = {}  # by root, the innermost mount point that it was seen on


def real_paths(roots: Sequence[Path]) -> tuple[str, ...]:
    """Where roots lead at present: one that is a link may be away, or lead elsewhere later."""
    return tuple(os.path.realpath(root) for root in roots)


@lru_cache(maxsize=16)
def by_prefix(real: tuple[str, ...]) -> tuple[tuple[str, Path], ...]:
    """Roots, the innermost first, each with what the text of a path below it begins with."""
    roots = sorted(map(Path, real), key=lambda root: -len(root.parts))
    return tuple((_prefix(str(root)), root) for root in roots)


@lru_cache(maxsize=16)
def prefixes(roots: tuple[Path, ...], real: tuple[str, ...]) -> tuple[str, ...]:
    """What the text of a path below a root begins with, as the root was given or where it leads."""
    given = (_prefix(os.path.abspath(root)) for root in roots)  # noqa: PTH100
    return tuple(dict.fromkeys((*given, *map(_prefix, real))))


def _prefix(root: str) -> str:
    return f"{root}/".replace("//", "/")


def lost_mount(root: Path) -> Path | None:
    """Where a disk was mounted that is not any more: what is left of it is an empty folder.

    Told by what this process has seen before.
    """
    mount = next((path for path in (root, *root.parents) if path.is_mount()), root)
    known = _mounts.setdefault(root, mount)
    if len(mount.parts) < len(known.parts):
        return known
    _mounts[root] = mount
    return None
