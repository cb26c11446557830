"""``shoal pool``: becomes ``shoal-autoscaler pool``, which lives in an environment of its own.

SkyPilot pins libraries that do not go with the API's.
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
MADE = ".venv-autoscaler"  # by 'make autoscaler', in a checkout


def pool(ctx: typer.Context) -> NoReturn:
    """Machines in the cloud: **shoal pool render | up | status | scale | down**."""
    program = find_autoscaler()
    sys.stdout.flush()
    os.execv(program, [program, "pool", *ctx.args])  # noqa: S606 - no shell is wanted


def find_autoscaler() -> str:
    """
    Raises:
        StackError: it is not installed.
    """
    made = Path(shoal.__file__).parents[1] / MADE / "bin" / PROGRAM
    for candidate in (os.environ.get("SHOAL_AUTOSCALER"), PROGRAM, str(made)):
        if candidate and (found := shutil.which(candidate)):
            return found
    raise StackError(
        "the autoscaler, which talks to SkyPilot, is not installed here",
        hint="'make autoscaler' in a checkout, or an environment of its own with "
        "'shoal-autoscaler[sky]' and SHOAL_AUTOSCALER set to its program.",
    )
