"""``shoal api``, ``shoal worker`` and ``shoal doctor``.

They become ``python -m api``, ``python -m worker`` and ``python -m worker.doctor``: this package
imports neither API nor worker.
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
        str | None, typer.Option(help="Address to bind; beyond 127.0.0.1 only with API tokens.")
    ] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="0: any free one.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where uploads and results go.")] = None,
    redis_url: RedisUrl = None,
) -> None:
    """Run the API here. All its settings are **SHOAL_...** variables."""
    settings = {"api_host": host, "api_port": port, "data_dir": data_dir, "redis_url": redis_url}
    _become("api", "uvicorn", settings)


def worker(
    engine: Annotated[str | None, typer.Option(help="Engine to load.")] = None,
    work_dir: Annotated[Path | None, typer.Option(help="Scratch space, on a fast disk.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where uploads and results are.")] = None,
    redis_url: RedisUrl = None,
    max_jobs: Annotated[int | None, typer.Option(min=1, help="End after so many jobs.")] = None,
    idle_exit: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="End after so long without a job.")
    ] = None,
    drain: Annotated[
        bool,
        typer.Option(
            "--drain", help="A first SIGTERM or Ctrl-C lets it finish its video before it ends."
        ),
    ] = False,
    gpus: Annotated[
        str | None, typer.Option(help="A worker on each of these GPUs: 'all', or as in '0,2'.")
    ] = None,
    per_gpu: Annotated[int, typer.Option(min=1, help="With --gpus: workers on each.")] = 1,
) -> None:
    """Run a worker here, or several. All their settings are **SHOAL_...** variables."""
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
        _become("worker", "av", settings)
    _require("worker", "av")
    drain = drain or get_settings().drain
    _run_fleet(gpus, per_gpu, _environment(settings), drain=drain)


def doctor(
    engine: Annotated[str | None, typer.Option(help="Engine to try.")] = None,
    work_dir: Annotated[Path | None, typer.Option(help="Scratch space.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where uploads and results are.")] = None,
    redis_url: RedisUrl = None,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Tell whether a worker could work here: device, weights, versions, queue and storage.

    Sends one frame through the engine. Ends with **1** if something that is needed is broken.
    """
    settings = {
        "engine": engine,
        "work_dir": work_dir,
        "data_dir": data_dir,
        "redis_url": redis_url,
    }
    _require("worker", "av")
    _become("worker.doctor", "av", settings, *(["--json"] if as_json else []))


def _run_fleet(gpus: str, per_gpu: int, env: Mapping[str, str], *, drain: bool) -> None:
    """Workers on several GPUs, until a signal or until all have ended by themselves.

    Raises:
        StackError: 'all', and there is no GPU.
    """
    from shoal.embedded.fleet import Fleet, find_gpus

    indices = find_gpus() if gpus == "all" else [part.strip() for part in gpus.split(",")]
    fleet = Fleet(StackLog(output.err))
    for gpu in indices:
        for number in range(1, per_gpu + 1):
            fleet.start(f"gpu-{gpu}.{number}", {**env, "CUDA_VISIBLE_DEVICES": gpu})
    fleet.run(get_settings().grace_s, drain=drain)


def _require(module: str, needs: str) -> None:
    """
    Raises:
        StackError: a service's dependencies are not installed.
    """
    if importlib.util.find_spec(needs) is None:
        raise StackError(
            f"the {module} is not installed here", hint=f"pip install 'shoal[{module}]'"
        )


def _environment(settings: Mapping[str, object]) -> dict[str, str]:
    """The settings that were given, as a service reads them."""
    return {f"SHOAL_{name.upper()}": str(v) for name, v in settings.items() if v is not None}


def _become(module: str, needs: str, settings: Mapping[str, object], *args: str) -> NoReturn:
    """Replace this process by a service; the settings that were given go by the environment.

    Raises:
        StackError: its dependencies are not installed.
    """
    _require(module, needs)
    sys.stdout.flush()
    # -P: a file called api.py in the current folder is not meant.
    command = [sys.executable, "-P", "-m", module, *args]
    os.execve(sys.executable, command, os.environ | _environment(settings))  # noqa: S606 - no shell is wanted
