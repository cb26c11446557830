"""``shoal pool``: runs ``shoal-autoscaler pool`` from its own environment.

SkyPilot pins libraries that conflict with those of the API.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import NoReturn

import typer

import shoal
from shoal.errors import StackError

PROGRAM = "shoal-autoscaler"
CHECKOUT_ENV = ".venv-autoscaler"  # created by 'make autoscaler'


def pool(ctx: typer.Context) -> NoReturn:
    """Manage a pool of cloud GPUs: **shoal pool render | up | status | scale | down**."""
    program = find_autoscaler()
    sys.stdout.flush()
    os.execv(program, [program, "pool", *ctx.args])  # noqa: S606 - no shell is involved


def find_autoscaler() -> str:
    """
    Raises:
        StackError: the autoscaler is not installed.
    """
    local = Path(shoal.__file__).parents[1] / CHECKOUT_ENV / "bin" / PROGRAM
    for candidate in (os.environ.get("SHOAL_AUTOSCALER"), PROGRAM, str(local)):
        if candidate and (found := shutil.which(candidate)):
            return found
    raise StackError(
        "the autoscaler is not installed",
        hint="Run 'make autoscaler' in a checkout, or install 'deploy/autoscaler[sky]' into its "
        "own environment and set SHOAL_AUTOSCALER to its program.",
    )
