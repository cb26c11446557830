"""``shoal api``, ``shoal worker`` and ``shoal doctor``.

They replace themselves with ``python -m api``, ``python -m worker`` and ``python -m
worker.doctor``, because this package imports neither API nor worker.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from shoal.cli import output
from shoal.cli.session import RedisUrl
from shoal.cli.stack import StackLog
from shoal.errors import StackError
from shoal.settings import get_settings


def api(
    host: Annotated[
        str | None, typer.Option(help="Address to bind; other than 127.0.0.1 only with API tokens.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port; 0 = any free port.")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Directory for uploads and results.")
    ] = None,
    redis_url: RedisUrl = None,
) -> None:
    """Run the API. All settings are **SHOAL_...** environment variables."""
    settings = {"api_host": host, "api_port": port, "data_dir": data_dir, "redis_url": redis_url}
    _become("api", "uvicorn", settings)


def worker(
    engine: Annotated[str | None, typer.Option(help="Engine to load.")] = None,
    work_dir: Annotated[
        Path | None, typer.Option(help="Scratch directory, on a fast disk.")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Directory with uploads and results.")
    ] = None,
    redis_url: RedisUrl = None,
    max_jobs: Annotated[int | None, typer.Option(min=1, help="Exit after this many jobs.")] = None,
    idle_exit: Annotated[
        float | None,
        typer.Option(min=0, metavar="SECONDS", help="Exit after this long without a job."),
    ] = None,
    drain: Annotated[
        bool,
        typer.Option(
            "--drain", help="On the first SIGTERM or Ctrl-C, finish the current video, then exit."
        ),
    ] = False,
    gpus: Annotated[
        str | None, typer.Option(help="GPUs to run workers on: 'all', or indices such as '0,2'.")
    ] = None,
    per_gpu: Annotated[
        int | None,
        typer.Option(min=1, help="Number of workers per GPU (with --gpus). [default: 1]"),
    ] = None,
) -> None:
    """Run one or more workers. All settings are **SHOAL_...** environment variables."""
    settings = {
        "engine": engine,
        "work_dir": work_dir,
        "data_dir": data_dir,
        "redis_url": redis_url,
        "max_jobs": max_jobs,
        "idle_exit_s": idle_exit,
        "drain": drain or None,
    }
    if gpus is None:
        if per_gpu is not None:
            raise typer.BadParameter("--per-gpu requires --gpus.")
        _become("worker", "av", settings)
    _require("worker", "av")
    drain = drain or get_settings().drain
    _run_fleet(_indices(gpus), per_gpu or 1, _environment(settings), drain=drain)


def doctor(
    engine: Annotated[str | None, typer.Option(help="Engine to test.")] = None,
    work_dir: Annotated[Path | None, typer.Option(help="Scratch directory.")] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Directory with uploads and results.")
    ] = None,
    redis_url: RedisUrl = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Check whether a worker can run here: device, weights, versions, queue and storage.

    Runs one frame through the engine. Exits with **1** if a required part is missing.
    """
    settings = {
        "engine": engine,
        "work_dir": work_dir,
        "data_dir": data_dir,
        "redis_url": redis_url,
    }
    _require("worker", "av")
    _become("worker.doctor", "av", settings, *(["--json"] if as_json else []))


def _indices(gpus: str) -> list[str]:
    """
    Raises:
        StackError: 'all' was given and there is no GPU.
    """
    from shoal.local.fleet import find_gpus

    if gpus == "all":
        return find_gpus()
    indices = [part.strip() for part in gpus.split(",")]
    if not all(index.isascii() and index.isdecimal() for index in indices):
        raise typer.BadParameter(f"--gpus takes 'all' or indices such as 0,2, not {gpus!r}.")
    if len({int(index) for index in indices}) < len(indices):
        raise typer.BadParameter(f"--gpus names a GPU twice: {gpus!r}. Use --per-gpu.")
    return indices


def _run_fleet(indices: list[str], per_gpu: int, env: Mapping[str, str], *, drain: bool) -> None:
    """Run workers on several GPUs until a signal arrives or all workers have exited."""
    from shoal.local.fleet import LocalFleet
    from shoal.local.process_guard import hide_process

    hide_process()
    size = len(indices) * per_gpu
    fleet = LocalFleet(StackLog(output.err), size, get_settings().max_memory)
    for gpu in indices:
        for number in range(1, per_gpu + 1):
            fleet.start(f"gpu-{gpu}.{number}", {**env, "CUDA_VISIBLE_DEVICES": gpu})
    fleet.run(get_settings().grace_s, drain=drain)


def _require(module: str, needs: str) -> None:
    """
    Raises:
        StackError: the dependencies of a service are not installed.
    """
    if importlib.util.find_spec(needs) is None:
        raise StackError(
            f"the {module} is not installed", hint=f"Run pip install '.[{module}]' in a checkout."
        )


def _environment(settings: Mapping[str, object]) -> dict[str, str]:
    """Settings as the environment variables of a service."""
    return {f"SHOAL_{name.upper()}": str(v) for name, v in settings.items() if v is not None}


def _become(module: str, needs: str, settings: Mapping[str, object], *args: str) -> NoReturn:
    """Replace this process with a service. Settings are passed as environment variables.

    Raises:
        StackError: the service's dependencies are not installed.
    """
    _require(module, needs)
    sys.stdout.flush()
    # -P: do not import a file called api.py from the current folder.
    command = [sys.executable, "-P", "-m", module, *args]
    os.execve(sys.executable, command, os.environ | _environment(settings))  # noqa: S606 - no shell is involved
