"""``make day``: GPU hours, waiting and cost of a day, for each way to scale a pool."""

from __future__ import annotations

import argparse
import json
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import TypeVar

from benchmarks.day.compare import LongRow, Row, compare, compare_long, mean, mean_long

AnyRow = TypeVar("AnyRow", Row, LongRow)

LONG_HEADER = (
    "| long videos | wait, median / 95 % | to the result, median / 95 % "
    "| wait of the others | GPU hours | most machines |"
)
HEADER = "| strategy | GPU hours | cost | median wait | 95 of 100 within | most machines |"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.day", description=__doc__)
    parser.add_argument("--videos", type=int, default=2000, help="videos of the day [2000]")
    parser.add_argument("--days", type=int, default=3, help="days to average over [3]")
    parser.add_argument("--json", action="store_true", help="a line of JSON after the table")
    parser.add_argument(
        "--long", type=float, metavar="SHARE", help="instead: this share of the videos at 2 h"
    )
    args = parser.parse_args()
    logging.disable(logging.CRITICAL)  # SkyPilot tells of each of its decisions
    if args.long:
        print_long(args)
    else:
        print_strategies(args)


def by_name(
    days: int, compare_day: Callable[[int], Iterable[tuple[str, AnyRow]]]
) -> dict[str, list[AnyRow]]:
    """The rows of each name, a row per day; a day is the seed of its videos."""
    found: defaultdict[str, list[AnyRow]] = defaultdict(list)
    for seed in range(1, days + 1):
        for name, row in compare_day(seed):
            found[name].append(row)
    return found


def print_strategies(args: argparse.Namespace) -> None:
    """GPU hours, cost and waits of each way to scale."""
    found = by_name(args.days, lambda seed: compare(args.videos, seed))
    rows = {name: mean(days) for name, days in found.items()}
    print(f"{HEADER}\n|---|--:|--:|--:|--:|--:|")
    for row in rows.values():
        print(
            f"| {row.strategy} | {row.gpu_hours:.0f} | {row.cost:.0f} $ "
            f"| {row.wait_median:.1f} min | {row.wait_p95:.0f} min | {row.machines_most} |"
        )
    if args.json:
        each = {name: [asdict(row) for row in days] for name, days in found.items()}
        print(json.dumps({name: asdict(row) for name, row in rows.items()} | {"days": each}))


def print_long(args: argparse.Namespace) -> None:
    """Waits of long videos, unsplit and split."""
    found = by_name(args.days, lambda seed: compare_long(args.videos, args.long, seed))
    rows = {name: mean_long(days) for name, days in found.items()}
    print(f"{LONG_HEADER}\n|---|--:|--:|--:|--:|--:|")
    for each in rows.values():
        print(
            f"| {each.name} | {each.wait_median:.1f} / {each.wait_p95:.0f} min "
            f"| {each.result_median:.0f} / {each.result_p95:.0f} min "
            f"| {each.others_wait_median:.1f} / {each.others_wait_p95:.0f} min "
            f"| {each.gpu_hours:.0f} | {each.machines_most:.0f} |"
        )
    if args.json:
        print(json.dumps({name: asdict(row) for name, row in rows.items()}))


if __name__ == "__main__":
    main()
