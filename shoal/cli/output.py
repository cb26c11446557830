"""How things look: words, numbers and tables for people, JSON for scripts."""

from __future__ import annotations

import json
import sys
import time
from typing import Any
from urllib.parse import unquote

from pydantic import BaseModel
from rich.console import Console
from rich.table import Table
from rich.text import Text

from shoal.errors import ApiError, ShoalError
from shoal.redact import redact

PIPED_WIDTH = 200  # columns, where no terminal says how wide it is

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


out = _console(stderr=False)  # what was asked for
err = _console(stderr=True)  # progress, errors, advice


# --- for scripts ---------------------------------------------------------------------------------


def print_json(document: Any) -> None:
    """The one document on stdout."""
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
    """Cause and advice on stderr; ``item`` is what it happened with."""
    cause = redact(f"{item}: {error}" if item else str(error))
    err.print(Text.assemble(("error: ", "bold red"), printable(cause)))
    err.print(Text.assemble(("hint:  ", "bold"), printable(error.hint)))


def advise(text: str) -> None:
    """What could be done next: only where somebody is looking."""
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
    return Text(name, style=STATE_STYLES.get(name, ""))


def printable(text: str) -> str:
    """Without what would steer the terminal."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def video_name(uri: str) -> str:
    """The last part of a URI, as a person would write it."""
    name = uri.rstrip("/").rsplit("/", 1)[-1]
    return printable(unquote(name) if uri.startswith("file:") else name)


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 99.5 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def duration(seconds: float) -> str:
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, left = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {left:02} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours < 48 else f"{hours // 24} days"


def ago(moment: float) -> str:
    seconds = max(0.0, time.time() - moment)
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def clock(moment: float) -> str:
    """Local time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))
