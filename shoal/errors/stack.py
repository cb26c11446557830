"""Errors of the machine that Shoal runs on, and of its client and command line."""

from __future__ import annotations

from collections.abc import Sequence

from shoal.errors.base import ShoalError
from shoal.errors.requests import RequestError


class StackError(ShoalError):
    """``shoal up``, ``shoal api`` or ``shoal worker`` cannot start or continue."""

    code = "stack_error"
    default_hint = "See the log above."


class InvalidSetting(StackError):
    """A ``SHOAL_*`` variable has an invalid value."""

    code = "invalid_setting"
    default_hint = "Correct the environment variable; shoal/settings.py lists all settings."


class PortBusy(StackError):
    code = "port_busy"
    default_hint = "Choose another port with --port, or stop the program that uses it."


class DataDirBusy(StackError):
    code = "data_dir_busy"
    default_hint = "Stop the other 'shoal up', or use another --data-dir."


class UnsafeFolder(StackError):
    """A folder that must be this user's alone is open to others."""

    code = "unsafe_folder"
    default_hint = "Name a folder of your own, or close it: 'chmod 700 FOLDER'."


class FileInTheWay(RequestError):
    """A file exists that a command would replace."""

    code = "file_in_the_way"
    default_hint = "Choose another directory with --to, or replace it with --force."


class SecretInArguments(RequestError):
    """A secret was passed as an argument, which all users of the machine can read."""

    code = "secret_in_arguments"
    default_hint = "Set SHOAL_REDIS_URL instead."


class InvalidRules(StackError):
    """The rules file has errors; ``faults`` has one line for each."""

    code = "invalid_rules"
    default_hint = "Correct the file, and check it with 'shoal rules check'."

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = tuple(faults)


class UnsafeBind(StackError):
    code = "unsafe_bind"
    default_hint = "Set SHOAL_API_TOKENS, or bind to 127.0.0.1."


class TokenUnreadable(RequestError):
    code = "token_unreadable"
    default_hint = "Use a file that contains only the token, or set SHOAL_API_TOKEN."


class DeploymentError(StackError):
    """The deployment is misconfigured; nothing was started."""

    code = "deployment_error"
    default_hint = "See docs/deploy-skypilot.md."


class LauncherUnavailable(ShoalError):
    """The launcher of machines did not respond or rejected the request."""

    code = "launcher_unavailable"
    default_hint = "Check that the SkyPilot API server is running: 'sky api info'."
    transient = True
    http_status = 503


class ApiUnreachable(ShoalError):
    code = "api_unreachable"
    default_hint = "Check --url or SHOAL_API_URL; 'shoal up' starts an API on this machine."
    transient = True


class ApiError(ShoalError):
    """An error response of the API; ``remote_code`` and ``hint`` are those of the API."""

    code = "api_error"

    def __init__(self, message: str, *, status: int, code: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.remote_code = code
