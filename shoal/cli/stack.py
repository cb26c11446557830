"""``shoal up``: everything on this machine."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from shoal.cli.session import RedisUrl
from shoal.errors import StackError
from shoal.settings import get_settings

if TYPE_CHECKING:
    from shoal.embedded.stack import Stack

COLOURS = ("cyan", "green", "magenta", "yellow", "blue")


class StackLog:
    """The lines of all processes in one log, each under its process's colour."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._colours: dict[str, str] = {}
        self._choice = itertools.cycle(COLOURS)
        self._writing = threading.Lock()

    def __call__(self, name: str, line: str) -> None:
        with self._writing:
            if name not in self._colours:
                self._colours[name] = next(self._choice)
            prefix = Text(f"{name:>9} │ ", style=self._colours[name])
            self.console.print(prefix + Text(line), soft_wrap=True, highlight=False)


def up(
    workers: Annotated[int, typer.Option(min=0, help="Number of workers.")] = 1,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the API.")] = 8000,
    data_dir: Annotated[
        Path, typer.Option(help="Where uploads, results and the queue are kept.")
    ] = Path("shoal-data"),
    redis_url: RedisUrl = None,
) -> None:
    """Run Valkey, the API and workers here until Ctrl-C; what is unfinished continues next time.

    Given a Redis, that one is used and no Valkey is started.
    """
    log = StackLog(Console(stderr=True))
    with running(log, data_dir, port=port, workers=workers, redis_url=redis_url) as stack:
        serve(stack, log)
    log("shoal", "stopped; queued and interrupted jobs continue at the next 'shoal up'")


def serve(stack: Stack, log: StackLog) -> None:
    """Say where it is, and stay until a signal."""
    if not stack.stop_asked:
        log("shoal", f"up at {stack.url}, data in {stack.settings.data_dir}")
        log("shoal", f"dashboard: {stack.url}/ui")
        log("shoal", "try: shoal submit VIDEO --prompt person --watch")
    stack.run()
    log("shoal", "stopping")


@contextmanager
def running(
    log: StackLog, data_dir: Path, *, port: int, workers: int, redis_url: str | None = None
) -> Iterator[Stack]:
    """A started stack, which is stopped at the end, whatever happens.

    Raises:
        DataDirBusy, PortBusy, StackError
    """
    try:
        from shoal.embedded.stack import Stack
    except ImportError as error:
        raise StackError(
            f"not everything is installed here: {error.name} is missing",
            hint="pip install 'shoal[up]'",
        ) from error
    data_dir = data_dir.expanduser().resolve()
    settings = get_settings().model_copy(update={"data_dir": data_dir, "api_port": port})
    stack = Stack(settings, workers=workers, redis_url=redis_url, log_line=log)
    stack.handle_signals()
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()
