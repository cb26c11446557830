"""``shoal up``: all services on this machine."""

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
    from shoal.local.stack import Stack

COLOURS = ("cyan", "green", "magenta", "yellow", "blue")


class StackLog:
    """Merges the logs of all processes; each has its own color."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._colours: dict[str, str] = {}
        self._choice = itertools.cycle(COLOURS)
        self._lock = threading.Lock()

    def __call__(self, name: str, line: str) -> None:
        with self._lock:
            if name not in self._colours:
                self._colours[name] = next(self._choice)
            prefix = Text(f"{name:>9} │ ", style=self._colours[name])
            self.console.print(prefix + Text(line), soft_wrap=True, highlight=False)


def up(
    workers: Annotated[int, typer.Option(min=0, help="Number of workers.")] = 1,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the API.")] = 8000,
    data_dir: Annotated[
        Path, typer.Option(help="Directory for uploads, results and the queue.")
    ] = Path("shoal-data"),
    redis_url: RedisUrl = None,
) -> None:
    """Run Valkey, the API and workers until Ctrl-C. Unfinished jobs continue at the next start.

    With a Redis URL, that Redis is used and no Valkey is started.
    """
    log = StackLog(Console(stderr=True))
    with running(log, data_dir, port=port, workers=workers, redis_url=redis_url) as stack:
        serve(stack, log)
    log("shoal", "stopped; queued and interrupted jobs continue at the next 'shoal up'")


def serve(stack: Stack, log: StackLog) -> None:
    """Log the URLs and run until a signal arrives."""
    if not stack.stop_asked:
        log("shoal", f"running at {stack.url}, data in {stack.settings.data_dir}")
        log("shoal", f"dashboard: {stack.url}/ui")
        log("shoal", "try: shoal submit VIDEO --prompt person --watch")
    stack.run()
    log("shoal", "stopping")


@contextmanager
def running(
    log: StackLog, data_dir: Path, *, port: int, workers: int, redis_url: str | None = None
) -> Iterator[Stack]:
    """A running stack, which is stopped on exit.

    Raises:
        DataDirBusy, PortBusy, StackError
    """
    try:
        from shoal.local.process_guard import hide_process
        from shoal.local.stack import Stack
    except ImportError as error:
        raise StackError(
            f"a dependency is not installed: {error.name}",
            hint="Run pip install '.[up]' in a checkout.",
        ) from error
    hide_process()
    data_dir = data_dir.expanduser().resolve()
    settings = get_settings().model_copy(update={"data_dir": data_dir, "api_port": port})
    stack = Stack(settings, workers=workers, redis_url=redis_url, log_line=log)
    stack.handle_signals()
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()
