"""Checks random timelines in all containers."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import av

from tests.video.timelines.check import check
from tests.video.timelines.pictures import HEIGHT, WIDTH
from tests.video.timelines.plan import Plan, draw
from worker.video import reverse


def failures(
    seeds: range, folder: Path, *, report: int = 0
) -> Iterator[tuple[Plan, BaseException]]:
    """The plans of these seeds that come out otherwise than they should.

    Args:
        report: print a line after every so many.
    """
    reverse.WINDOW_BYTES = 17 * WIDTH * HEIGHT * 3 // 2
    for done, seed in enumerate(seeds):
        if report and done and done % report == 0:
            print(f"... {done}", flush=True)
        plan = draw(seed)
        path = folder / f"video.{plan.kind}"
        try:
            check(plan, path)
        except Exception as error:
            yield plan, error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    av.logging.set_level(None)
    start, failed = time.perf_counter(), 0
    with tempfile.TemporaryDirectory() as folder:
        seeds = range(options.seed, options.seed + options.count)
        for plan, error in failures(seeds, Path(folder), report=1000):
            failed += 1
            print(f"{plan}\n    {type(error).__name__}: {str(error)[:400]}", flush=True)
    print(f"{options.count - failed} of {options.count}, {time.perf_counter() - start:.0f} s")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
