"""What the commands share: the connection to the API, errors and exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer
from pydantic import BaseModel
from typer.core import TyperGroup

from shoal.cli import output
from shoal.errors import SecretInArguments, ShoalError, TokenUnreadable
from shoal.exits import Exit, exit_code
from shoal.secrets import hide

if TYPE_CHECKING:
    from shoal.client.client import Client
    from shoal.model.record import Record


@dataclass
class CliSession:
    """One run of the command line."""

    url: str
    token: str = field(repr=False)
    json: bool = False  # set by the command's --json

    def connect(self) -> Client:
        from shoal.client.client import Client

        return Client(self.url, self.token)


def read_token(path: str) -> str:
    """The API token, from a file or SHOAL_API_TOKEN. Never from an argument, which all users see.

    Raises:
        TokenUnreadable
    """
    try:
        if path == "-":
            token = sys.stdin.readline().strip()
        elif path:
            token = Path(path).read_text("utf-8").strip()
        else:
            token = os.environ.get("SHOAL_API_TOKEN", "")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise TokenUnreadable(f"cannot read a token from {path}: {reason}") from error
    if path and not token:
        raise TokenUnreadable(
            f"{'standard input' if path == '-' else path} has no token: it is empty"
        )
    hide([token])
    return token


def session_of(ctx: typer.Context) -> CliSession:
    session: CliSession = ctx.obj
    return session


def _set_json(ctx: typer.Context, is_set: bool) -> bool:
    # Kept in the session, where the error handler reads it.
    session_of(ctx).json = is_set
    return is_set


Json = Annotated[bool, typer.Option("--json", callback=_set_json, help="Print one JSON document.")]


def without_password(
    ctx: typer.Context, param: typer.CallbackParam, value: str | None
) -> str | None:
    """
    Raises:
        SecretInArguments: the URL on the command line has a password.
    """
    if value and _is_argument(ctx, param.name or "") and _has_password(value):
        raise SecretInArguments("all users of this machine can read a password on the command line")
    return value


def refuse_secrets(ctx: typer.Context, url: str, token: str) -> None:
    """
    Raises:
        SecretInArguments: a token on the command line, or a password in the URL of the API.
    """
    if token or (_is_argument(ctx, "url") and _has_password(url)):
        raise SecretInArguments(
            "all users of this machine can read a token on the command line",
            hint="Set SHOAL_API_TOKEN, or use --token-file.",
        )


def _is_argument(ctx: typer.Context, name: str) -> bool:
    # Compared by name: the class differs with the version of typer.
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _has_password(url: str) -> bool:
    try:
        return bool(urlsplit(url).password)
    except ValueError:  # not a URL: who connects says so; it may hold one all the same
        return "@" in url


RedisUrl = Annotated[
    str | None,
    typer.Option(
        help="URL of Redis; pass a password in SHOAL_REDIS_URL only.",
        envvar="SHOAL_REDIS_URL",
        metavar="URL",
        callback=without_password,
    ),
]


class ShoalGroup(TyperGroup):
    """Prints the cause and hint of a Shoal error and exits with its exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ShoalError as error:
            output.show_error(error)
            if ctx.obj and ctx.obj.json:
                output.print_json({"error": output.described(error)})
            raise typer.Exit(exit_code(error)) from error


class ForEach:
    """Runs one action for many items; an error of one does not stop the others."""

    def __init__(self, session: CliSession) -> None:
        self.session = session
        self.records: list[Record] = []
        self.errors: list[tuple[str, ShoalError]] = []

    def run(self, items: Sequence[str], act: Callable[[str], Record]) -> None:
        """Run ``act`` for every item; stop if the API cannot be reached."""
        for item in items:
            try:
                self.records.append(act(item))
            except ShoalError as error:
                output.show_error(error, item if len(items) > 1 else "")
                self.errors.append((item, error))
                if exit_code(error) == Exit.UNREACHABLE:
                    return

    def finish(self, show: Callable[[list[Record]], None]) -> None:
        """Print the results, and exit with the exit code of the first error."""
        if self.session.json:
            output.print_json(self._document())
        elif self.records:
            show(self.records)
        if self.errors:
            raise typer.Exit(exit_code(self.errors[0][1]))

    def _document(self) -> dict[str, Any]:
        items: list[BaseModel] = [*self.records]
        document: dict[str, Any] = {"items": items}
        if self.errors:
            errors = [{"item": item} | output.described(error) for item, error in self.errors]
            document |= {"error": errors[0], "errors": errors}
        return document
