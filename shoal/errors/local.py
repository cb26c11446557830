"""The local stack, the command line and the client."""

from __future__ import annotations

from collections.abc import Sequence

from shoal.errors.base import ShoalError
from shoal.errors.request import RequestError


class StackError(ShoalError):
    """``shoal up``, ``shoal api`` or ``shoal worker`` cannot start or go on."""

    code = "stack_error"
    default_hint = "See the log above."


class InvalidSetting(StackError):
    """A ``SHOAL_*`` variable that cannot be understood."""

    code = "invalid_setting"
    default_hint = "Correct the variable in the environment; shoal/settings.py lists them all."


class PortBusy(StackError):
    code = "port_busy"
    default_hint = "Choose another one with --port, or stop the program that uses it."


class DataDirBusy(StackError):
    code = "data_dir_busy"
    default_hint = "Stop the other 'shoal up', or give this one its own --data-dir."


class SecretInArguments(RequestError):
    """Everyone on a machine can read the arguments of its processes."""

    code = "secret_in_arguments"
    default_hint = "Set SHOAL_REDIS_URL instead."


class InvalidRules(StackError):
    """A rules file with faults; ``faults`` has a line for each."""

    code = "invalid_rules"
    default_hint = "Correct the file; 'shoal rules check' says whether it is right."

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = tuple(faults)


class UnsafeBind(StackError):
    code = "unsafe_bind"
    default_hint = "Set SHOAL_API_TOKENS, or bind to 127.0.0.1."


class TokenUnreadable(RequestError):
    code = "token_unreadable"
    default_hint = "Give --token-file a file with the token alone, or set SHOAL_API_TOKEN."


class DeploymentError(StackError):
    """What is to be deployed is not in order: said before anything is started."""

    code = "deployment_error"
    default_hint = "docs/deploy-skypilot.md shows what is needed."


class LauncherUnavailable(ShoalError):
    """What makes machines does not answer, or refused."""

    code = "launcher_unavailable"
    default_hint = "Check that the SkyPilot API server runs: 'sky api info'."
    transient = True
    http_status = 503


class ApiUnreachable(ShoalError):
    code = "api_unreachable"
    default_hint = "Start it with 'shoal up', or point SHOAL_API_URL to it."
    transient = True


class ApiError(ShoalError):
    """An answer of the API that is an error: carries the API's own code and hint."""

    code = "api_error"

    def __init__(self, message: str, *, status: int, code: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.remote_code = code
