"""Files that commands write where the user says."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from shoal.errors import FileInTheWay

Force = Annotated[bool, typer.Option("--force", help="Replace files that exist.")]


def refuse_to_replace(paths: Iterable[Path]) -> None:
    """Two jobs of one video have results of the same names: none replaces the other's unasked.

    Raises:
        FileInTheWay: one of them exists.
    """
    for path in paths:
        if path.exists():
            raise FileInTheWay(f"{path} exists")
