"""The base class of all errors."""

from __future__ import annotations

from typing import ClassVar


class ShoalError(Exception):
    """Base class of all errors. ``str(error)`` is the one-line cause."""

    code: ClassVar[str] = "internal_error"
    default_hint: ClassVar[str] = "This is a bug in Shoal. Report it with the traceback."
    transient: ClassVar[bool] = False
    http_status: ClassVar[int] = 500

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint or self.default_hint
