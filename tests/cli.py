"""The command line without a process for each command, where a process is not the point."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

from typer.testing import CliRunner

from shoal.cli import app
from shoal.settings import get_settings


def invoke(
    *arguments: object, url: str, cwd: Path, stdin: str | None = None, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run ``shoal`` with these arguments in this process, as a script would in ``cwd``."""
    words = [str(argument) for argument in arguments]
    get_settings.cache_clear()
    with contextlib.chdir(cwd):
        result = CliRunner().invoke(
            app, words, input=stdin, env={"SHOAL_API_URL": url, **env}, prog_name="shoal"
        )
    get_settings.cache_clear()
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return subprocess.CompletedProcess(words, result.exit_code, result.stdout, result.stderr)
