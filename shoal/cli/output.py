"""What commands print: tables and messages for people, JSON for scripts."""

from __future__ import annotations

import json
import sys
from typing import Any
from unicodedata import category
from urllib.parse import unquote

from pydantic import BaseModel
from rich.console import Console
from rich.table import Table
from rich.text import Text

from shoal.errors import ApiError, ShoalError
from shoal.formatting import state_name
from shoal.model.source_url import is_web, path_of
from shoal.secrets import redact

PIPED_WIDTH = 200  # columns, where the output is not a terminal

STATE_STYLES = {
    "queued": "cyan",
    "running": "yellow",
    "succeeded": "green",
    "failed": "bold red",
    "cancelled": "magenta",
    "idle": "green",
    "busy": "yellow",
}


def _console(stderr: bool) -> Console:
    piped = not (sys.stderr if stderr else sys.stdout).isatty()
    return Console(
        stderr=stderr, width=PIPED_WIDTH if piped else None, highlight=False, soft_wrap=piped
    )


out = _console(stderr=False)  # the result of the command
err = _console(stderr=True)  # progress, errors, suggestions


# --- for scripts ---------------------------------------------------------------------------------


def print_json(document: Any) -> None:
    """Print the single JSON document of a command to stdout."""
    sys.stdout.write(json.dumps(document, default=_plain_data, indent=2, ensure_ascii=False) + "\n")


def _plain_data(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return str(value)


def described(error: ShoalError) -> dict[str, str]:
    code = error.remote_code if isinstance(error, ApiError) else error.code
    return {"code": code, "message": redact(str(error)), "hint": error.hint}


# --- for people ----------------------------------------------------------------------------------


def show_error(error: ShoalError, item: str = "") -> None:
    """Print an error and its hint to stderr; ``item`` is the job or file it concerns."""
    cause = redact(f"{item}: {error}" if item else str(error))
    err.print(Text.assemble(("error: ", "bold red"), printable(cause)))
    err.print(Text.assemble(("hint:  ", "bold"), printable(error.hint)))


def suggest(text: str) -> None:
    """Print a next step to stderr, if it is a terminal."""
    if err.is_terminal:
        err.print(Text(text, style="dim"))


def table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    """An unboxed table; the columns in ``right`` hold numbers."""
    grid = Table(box=None, pad_edge=False, header_style="bold dim")
    for column in columns:
        grid.add_column(
            column.upper(), justify="right" if column in right else "left", overflow="ellipsis"
        )
    return grid


def facts(pairs: dict[str, str | Text]) -> Table:
    """Names and values in two columns; empty values are left out."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in pairs.items():
        if value:
            grid.add_row(name, value)
    return grid


def state(name: str) -> Text:
    return Text(state_name(name), style=STATE_STYLES.get(name, ""))


def printable(text: str) -> str:
    """Replace characters that would control the terminal. Spaces of any width are none of them:
    numbers have narrow ones, and so have names of screen recordings."""
    return "".join(char if _is_shown(char) else "\N{REPLACEMENT CHARACTER}" for char in text)


def _is_shown(char: str) -> bool:
    return char.isprintable() or category(char) == "Zs"


def video_name(uri: str) -> str:
    """The last part of a URI, decoded."""
    if is_web(uri):
        return printable(path_of(uri).name)
    name = uri.rstrip("/").rsplit("/", 1)[-1]
    return printable(unquote(name) if uri.startswith("file:") else name)
