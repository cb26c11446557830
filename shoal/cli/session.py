"""What the commands share: the API they talk to, and how they end."""

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
from shoal.redact import hide

if TYPE_CHECKING:
    from shoal.client import Client
    from shoal.records import Record


@dataclass
class Session:
    """One run of the command line."""

    url: str
    token: str = field(repr=False)
    json: bool = False  # as the command's --json says

    def connect(self) -> Client:
        from shoal.client import Client  # httpx takes its time, and --help has no use for it

        return Client(self.url, self.token)


def read_token(path: str) -> str:
    """The API token: of a file, or of SHOAL_API_TOKEN. Never of the command line, which all see.

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
        words = error.strerror if isinstance(error, OSError) else "not text"
        raise TokenUnreadable(f"cannot read a token from {path}: {words}") from error
    hide([token])
    return token


def session_of(ctx: typer.Context) -> Session:
    session: Session = ctx.obj
    return session


def _keep(ctx: typer.Context, wanted: bool) -> bool:
    # In the session, so that the handling of errors knows it too.
    session_of(ctx).json = wanted
    return wanted


Json = Annotated[
    bool, typer.Option("--json", callback=_keep, help="Print one JSON document, and only that.")
]


def without_password(
    ctx: typer.Context, param: typer.CallbackParam, value: str | None
) -> str | None:
    """
    Raises:
        SecretInArguments: a URL with a password, on the command line.
    """
    # Compared by name: the class differs with the version of typer.
    source = ctx.get_parameter_source(param.name or "")
    if value and source and source.name == "COMMANDLINE" and urlsplit(value).password:
        raise SecretInArguments("a password on the command line is seen by all on this machine")
    return value


RedisUrl = Annotated[
    str | None,
    typer.Option(
        help="The queue's Redis; with a password by SHOAL_REDIS_URL only.",
        envvar="SHOAL_REDIS_URL",
        metavar="URL",
        callback=without_password,
    ),
]


class ShoalGroup(TyperGroup):
    """Ends every command that meets a Shoal error with its cause, its hint and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ShoalError as error:
            output.show_error(error)
            if ctx.obj and ctx.obj.json:
                output.print_json({"error": output.described(error)})
            raise typer.Exit(exit_code(error)) from error


class Batch:
    """Does one thing to many items; a failure with one does not keep the others from it."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.records: list[Record] = []
        self.errors: list[tuple[str, ShoalError]] = []

    def run(self, items: Sequence[str], act: Callable[[str], Record]) -> None:
        """``act`` on every item; an API that is away ends it."""
        for item in items:
            try:
                self.records.append(act(item))
            except ShoalError as error:
                output.show_error(error, item if len(items) > 1 else "")
                self.errors.append((item, error))
                if exit_code(error) == Exit.UNREACHABLE:
                    return

    def finish(self, show: Callable[[list[Record]], None]) -> None:
        """Print what came of it, and end the command with the first error's exit code."""
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
