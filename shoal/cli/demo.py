"""``shoal demo``: process one video with a temporary local stack."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import unquote, urlsplit

import typer
from rich.console import Console

from shoal import formatting
from shoal.cli import output
from shoal.cli.outputs import read_outputs
from shoal.cli.stack import StackLog, running, serve
from shoal.errors import SourceNotFound, StackError
from shoal.exits import Exit
from shoal.model.job import State
from shoal.model.outputs import USUAL, AnyOutput
from shoal.model.prompts import clean_prompts

POLL_S = 0.3

if TYPE_CHECKING:
    from shoal.client.client import Client
    from shoal.local.stack import Stack
    from shoal.model.record import Record


def demo(
    video: Annotated[Path, typer.Argument(help="Video file.")],
    prompts: Annotated[str, typer.Option(help="Comma-separated prompts.")] = "person,car",
    folder: Annotated[Path, typer.Option("--dir", help="Directory for results and log.")] = Path(
        "demo"
    ),
    outputs: Annotated[
        list[str] | None,
        typer.Option(
            "--output", "-o", metavar="KIND[:OPTION=VALUE,...]", help="Output to write; repeatable."
        ),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the services running until Ctrl-C.")
    ] = False,
) -> None:
    """Process one video on this machine. The last line printed is the path of the metadata."""
    from shoal.cli.views import show_failure

    wanted = clean_prompts([prompt for prompt in prompts.split(",") if prompt.strip()])
    kinds = read_outputs(outputs) if outputs else USUAL
    if not video.exists():
        raise SourceNotFound(f"no such file: {video}", hint="Check the path.")
    with _logged(folder) as log, _started(folder, log) as (stack, client):
        output.err.print(f"Shoal is running at {stack.url}; log: {folder / 'shoal.log'}")
        record = _process(client, stack, video, wanted, kinds)
        if record is None:
            raise typer.Exit(Exit.INTERRUPTED)
        if record.state != State.SUCCEEDED:
            show_failure(record)
            raise typer.Exit(Exit.FAILED)
        _show(record)
        if keep:
            output.err.print(f"Still running at {stack.url}; press Ctrl-C to stop. In a browser:")
            output.err.print(f"  results    {stack.url}/ui/videos/{record.id}")
            output.err.print(f"  another    {stack.url}/ui/new")
            output.err.print(f"  API docs   {stack.url}/docs")
            serve(stack, log)


@contextmanager
def _logged(folder: Path) -> Iterator[StackLog]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "shoal.log").open("w") as file:
            yield StackLog(Console(file=file, width=output.PIPED_WIDTH))
    except OSError as error:
        raise StackError(
            f"cannot write to {folder}: {error.strerror}", hint="Choose another --dir."
        ) from error


@contextmanager
def _started(folder: Path, log: StackLog) -> Iterator[tuple[Stack, Client]]:
    """A stack without records of earlier runs, so that the video is processed each time."""
    from shoal.client.client import Client
    from shoal.local.stack import free_port, lock_data_dir

    with lock_data_dir(folder):
        shutil.rmtree(folder / "valkey", ignore_errors=True)
    output.err.print("Starting Valkey, the API and a worker …")
    with running(log, folder, port=free_port(), workers=1) as stack, Client(stack.url) as client:
        yield stack, client


def _process(
    client: Client,
    stack: Stack,
    video: Path,
    prompts: tuple[str, ...],
    outputs: tuple[AnyOutput, ...],
) -> Record | None:
    """The record of the finished job; ``None`` after Ctrl-C."""
    from shoal.cli.watching import reporter

    uri = client.upload(video).uri
    job = client.submit(uri, prompts, sample_fps=0, outputs=outputs)
    with reporter() as report:
        while not stack.stop_asked:
            stack.check()
            record = client.get(job.id)
            report(record)
            if record.state.is_final:
                return record
            time.sleep(POLL_S)
    return None


def _show(record: Record) -> None:
    """Print objects and result files; the last line is the path of the metadata."""
    summary = record.summary
    grid = output.table("prompt", "objects", right=("objects",))
    for prompt, count in summary["objects_per_prompt"].items():
        grid.add_row(output.printable(prompt), str(count))
    out = output.out
    out.print()
    out.print(grid)
    frames, seconds = summary["frames_processed"], summary["seconds"]
    out.print()
    files = {name: f"{formatting.size(size)}" for name, size in record.results.items()}
    facts = {
        "frames": f"{frames} in {formatting.duration(seconds)} ({frames / seconds:.1f} fps)",
        "engine": summary["engine"],
        "results": _local(record.spec.results_prefix),
    }
    out.print(output.facts({**facts, **{f"  {name}": size for name, size in files.items()}}))
    out.print()
    out.print(_local(summary["metadata"]), markup=False, soft_wrap=True)


def _local(uri: str) -> str:
    return unquote(urlsplit(uri).path)
