"""Formats that are made of a job's tables alone, without pictures or a model.

A worker makes them when it publishes, ``shoal export`` and ``shoal.Result.export`` later; both call
``write``. Each module writes one format as a stream: memory does not grow with the video.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shoal.formats.tables import Tables

# Kinds of outputs, and the modules that write them.
MODULES = {
    "summary": "summary",
    "youtube-vis": "youtube_vis",
    "coco": "coco",
    "mot": "mot",
    "csv": "csv",
    "png": "png",
}


def write(kind: str, tables: Tables, path: Path) -> None:
    """Write a format to a file.

    Args:
        kind: one of ``MODULES``.

    Raises:
        OSError: the file cannot be written.
    """
    import_module(f"shoal.formats.{MODULES[kind]}").write(tables, path)
