"""Folders that are one user's alone."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from shoal.errors import UnsafeFolder

OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def make_private(folder: Path) -> None:
    """Make a folder that only this user can enter, or check one that is there.

    Raises:
        UnsafeFolder: another user owns it, or the link that it is; or others can write to it.
        OSError: it cannot be made.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    link, found = folder.lstat(), folder.stat()
    if stat.S_ISLNK(link.st_mode) and link.st_uid not in (0, os.geteuid()):
        raise UnsafeFolder(f"{folder} is a link of another user (uid {link.st_uid})")
    if not stat.S_ISDIR(found.st_mode):
        raise UnsafeFolder(f"{folder} is no folder")
    if found.st_uid != os.geteuid():
        raise UnsafeFolder(f"{folder} belongs to another user (uid {found.st_uid})")
    if found.st_mode & OTHERS_WRITE:
        mode = stat.S_IMODE(found.st_mode)
        raise UnsafeFolder(f"other users can write to {folder} (mode {mode:o})")
