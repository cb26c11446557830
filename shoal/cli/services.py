"""``shoal api`` and ``shoal worker``: one service in the foreground.

They become ``python -m api`` and ``python -m worker``: this package imports neither.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from shoal.errors import StackError

RedisUrl = Annotated[
    str | None, typer.Option(help="The queue's Redis.", envvar="SHOAL_REDIS_URL", metavar="URL")
]


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
) -> None:
    """Run one worker here. All its settings are **SHOAL_...** variables."""
    settings = {
        "engine": engine,
        "work_dir": work_dir,
        "data_dir": data_dir,
        "redis_url": redis_url,
        "max_jobs": max_jobs,
        "idle_exit_s": idle_exit,
    }
    _become("worker", "av", settings)


def _become(module: str, needs: str, settings: Mapping[str, object]) -> NoReturn:
    """Replace this process by a service; the settings that were given go by the environment.

    Raises:
        StackError: its dependencies are not installed.
    """
    if importlib.util.find_spec(needs) is None:
        raise StackError(
            f"the {module} is not installed here", hint=f"pip install 'shoal[{module}]'"
        )
    given = {f"SHOAL_{name.upper()}": str(v) for name, v in settings.items() if v is not None}
    sys.stdout.flush()
    # -P: a file called api.py in the current folder is not meant.
    command = [sys.executable, "-P", "-m", module]
    os.execve(sys.executable, command, os.environ | given)  # noqa: S606 - no shell is wanted
