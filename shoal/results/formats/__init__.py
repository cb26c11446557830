"""Formats that are made of a job's tables alone, without pictures or a model.

A worker makes them when it publishes, ``shoal export`` and ``shoal.Result.export`` later; both call
``write``. Each module writes one format as a stream: memory does not grow with the video.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from shoal.model.outputs import DERIVED

if TYPE_CHECKING:
    from shoal.results.formats.tables import Tables

# The summary comes with every job; the others are outputs that a job asks for.
FORMATS = ("summary", *DERIVED)


def write(kind: str, tables: Tables, path: Path) -> None:
    """Write a format to a file.

    Args:
        kind: one of ``FORMATS``; its module has the same name.

    Raises:
        OSError: the file cannot be written.
    """
    import_module(f"{__name__}.{kind.replace('-', '_')}").write(tables, path)
