"""An error as it is recorded."""

from __future__ import annotations

from pydantic import BaseModel

from shoal.errors import InternalError, ShoalError
from shoal.secrets import redact
from shoal.tracebacks import format_traceback

MAX_MESSAGE = 4_000  # characters of a message or hint
MAX_TRACEBACK = 32_000  # the last ones are kept: they say where it was


class Failure(BaseModel, frozen=True):
    """An error as it is stored in a record and sent between processes."""

    code: str
    message: str
    hint: str
    transient: bool
    traceback: str = ""

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """Describe any exception; one that is not a ``ShoalError`` becomes ``internal_error``."""
        trace = redact(format_traceback(error))[-MAX_TRACEBACK:]
        if not isinstance(error, ShoalError):
            internal = InternalError(f"{type(error).__name__}: {error}")
            return cls.of(internal).model_copy(update={"traceback": trace})
        return cls(
            code=error.code,
            message=redact(str(error))[:MAX_MESSAGE],
            hint=error.hint[:MAX_MESSAGE],
            transient=error.transient,
            traceback=trace,
        )
