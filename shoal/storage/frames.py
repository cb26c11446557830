"""Folders of frames: the order of their names, and one as a tar to be uploaded."""

from __future__ import annotations

import re
import tarfile
import tempfile
from pathlib import Path
from typing import IO
from unicodedata import decimal

from shoal.errors import NoFrames

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
FRAME_NAMES = ".shoal-names.json"  # beside a folder from a bucket: what its pictures are called
IN_MEMORY_BYTES = 64 << 20  # a larger tar is made on disk


def natural_key(name: str) -> str:
    """Order 'frame10' after 'frame9', and numbers before anything else.

    A number becomes how many digits it has, then those: a key takes little more room than a name.
    """
    parts = re.split(r"(\d+)", name.casefold())
    parts[1::2] = map(_counted, parts[1::2])
    return "".join(parts)


def _counted(number: str) -> str:
    digits = number if number.isascii() else "".join(str(decimal(each)) for each in number)
    digits = digits.lstrip("0")
    return f"\0{len(digits):06}{digits}"


def pack(folder: Path) -> IO[bytes]:
    """A tar of the JPEG, PNG and WebP files directly in ``folder``, in order of their names.

    The same files make the same bytes, whoever owns them and whenever they were written: the
    same folder is the same job.

    Raises:
        NoFrames: there are none.
    """
    frames = sorted(
        (path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file()),
        key=lambda path: path.name,
    )
    if not frames:
        raise NoFrames(
            f"no JPEG, PNG or WebP files in {folder}",
            hint="Submit a video file, or a folder with the frames directly in it.",
        )
    packed = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES)  # noqa: SIM115 - returned
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in frames:
            member = tarfile.TarInfo(path.name)  # no owner, no time
            member.size = path.stat().st_size
            with path.open("rb") as frame:
                tar.addfile(member, frame)
    packed.seek(0)
    return packed
