"""What a command is given to work on: a URI, or a path that is uploaded first."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shoal.client.client import Client


def uri_of(client: Client, source: str) -> str:
    """The URI of a source; a local path is uploaded first."""
    if "://" in source:
        return source
    from shoal.cli.watching import transfer

    path = Path(source).expanduser()
    with transfer(path.name) as on_bytes:
        return client.upload(path, on_bytes).uri
