"""Exit codes of every Shoal command, for scripts to branch on."""

from __future__ import annotations

from enum import IntEnum

from shoal.errors import (
    ApiError,
    ApiUnreachable,
    BatchNotFound,
    JobNotFound,
    LauncherUnavailable,
    RedisUnavailable,
    RequestError,
    ResultNotFound,
    ShoalError,
    SourceNotFound,
    VideoError,
    WorkerNotFound,
)


class Exit(IntEnum):
    OK = 0
    FAILED = 1  # a job failed or was cancelled, or something unexpected happened
    USAGE = 2  # the command line or a setting is wrong
    NOT_FOUND = 3  # no such job, batch, result or video
    UNREACHABLE = 4  # the API or Redis does not answer
    REFUSED = 5  # the request was understood and refused: a bad prompt, a bad input, a token
    INTERRUPTED = 130  # Ctrl-C


def exit_code(error: ShoalError) -> Exit:
    """What a command ends with because of ``error``."""
    if isinstance(error, ApiError):
        return _of_status(error.status)
    match error:
        case ApiUnreachable() | RedisUnavailable() | LauncherUnavailable():
            return Exit.UNREACHABLE
        case JobNotFound() | BatchNotFound() | ResultNotFound() | SourceNotFound():
            return Exit.NOT_FOUND
        case WorkerNotFound():
            return Exit.NOT_FOUND
        case RequestError() | VideoError():
            return Exit.REFUSED
    return Exit.FAILED


def _of_status(status: int) -> Exit:
    if status == 404:
        return Exit.NOT_FOUND
    if status in (502, 503, 504):
        return Exit.UNREACHABLE
    return Exit.REFUSED if 400 <= status < 500 else Exit.FAILED
