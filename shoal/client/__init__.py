"""The Python client of the API: ``from shoal.client import Client``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shoal.client.client import DEFAULT_URL as DEFAULT_URL, Client as Client


def __getattr__(name: str) -> Any:
    """Load the client on first use: importing its HTTP library slows down the command line."""
    if name not in ("Client", "DEFAULT_URL"):
        raise AttributeError(name)
    from shoal.client import client

    return getattr(client, name)
