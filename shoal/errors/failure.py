"""An error as it is put down."""

from __future__ import annotations

import traceback

from pydantic import BaseModel

from shoal.errors.base import ShoalError
from shoal.errors.machine import InternalError
from shoal.redact import redact


class Failure(BaseModel, frozen=True):
    """An error as it is recorded and as it crosses a process boundary."""

    code: str
    message: str
    hint: str
    transient: bool
    traceback: str = ""

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """Describe any exception; one that is not ours is an ``internal_error``."""
        trace = redact("".join(traceback.format_exception(error)))
        if not isinstance(error, ShoalError):
            known = InternalError(f"{type(error).__name__}: {error}")
            return cls.of(known).model_copy(update={"traceback": trace})
        return cls(
            code=error.code,
            message=redact(str(error)),
            hint=error.hint,
            transient=error.transient,
            traceback=trace,
        )
