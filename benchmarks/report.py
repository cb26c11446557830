"""What every benchmark prints: the machine, a table and, if asked, one line of JSON."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path


def machine(packages: Sequence[str]) -> str:
    """The machine and the versions of these distributions, a few lines of text."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return (
        f"CPU     {_cpu_model()}, {_cores()} cores usable\n"
        f"RAM     {memory:.1f} GiB\n"
        f"Python  {platform.python_version()} on {platform.system()} {platform.machine()}\n"
        f"with    {versions}"
    )


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """First column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, ["-" * width for width in widths], *rows):
        first, *others = (
            cell.ljust(widths[0]) if not index else cell.rjust(widths[index])
            for index, cell in enumerate(row)
        )
        print("  ".join((first, *others)))


def print_json(figures: Mapping[str, float]) -> None:
    """One object on one line; to be printed last."""
    print(json.dumps(figures))
