"""The outcomes as tables: one of blows by stages, and one of times."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from benchmarks.report import print_table
from tests.chaos.blows import BLOWS
from tests.chaos.scenario import Outcome
from tests.chaos.stages import SPLIT_STAGES, STAGES


def print_tables(outcomes: Sequence[Outcome]) -> None:
    """What recovered of what was struck, what was redone, and how soon it went on."""
    header = ("blow, stage", "n", "recovered", "redone s", "max", "again s", "max")
    rows = []
    for blow in BLOWS:
        rows += [
            _row(f"{blow}, {stage}", found)
            for stage in STAGES + SPLIT_STAGES
            if (found := [o for o in outcomes if (o.blow, o.stage) == (blow, stage)])
        ]
    rows += [
        _row(f"{blow}, all stages", found)
        for blow in BLOWS
        if (found := [o for o in outcomes if o.blow == blow])
    ]
    rows.append(_row("all", outcomes))
    print_table(header, rows)


def _row(name: str, outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    good = [o for o in outcomes if not o.failure]
    redone, again = [o.redone_s for o in good], [o.again_s for o in good]
    figures = [
        f"{value:.2f}" if good else "-"
        for values in (redone, again)
        for value in ((median(values), max(values)) if good else (0, 0))
    ]
    return (name, str(len(outcomes)), str(len(good)), *figures)
