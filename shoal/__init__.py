"""Shoal: a bucket of videos in, tracked and text-prompted object masks out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shoal.results.reader import Result, read

__version__ = "0.1.0"
__all__ = ["Result", "__version__", "read"]


def __getattr__(name: str) -> Any:
    """``read`` and ``Result`` need numpy and pyarrow, which most of Shoal does without."""
    if name in ("Result", "read"):
        from shoal.results import reader

        return getattr(reader, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
