"""A place where a worker waits until the test has struck.

A worker of the chaos suite has a folder, its slot. A ``Plan`` in there names one stage boundary;
the process that comes there says so and waits to be released, or to be killed.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path

from pydantic import BaseModel

SLOT = "SHOAL_CHAOS_SLOT"  # environment variable: the worker's slot
BOOKS = "SHOAL_CHAOS_BOOKS_S"  # another: how long the end of a worker's process may take
POLL_S = 0.005


class Plan(BaseModel):
    """Where a worker shall wait.

    Attributes:
        folder: of this plan alone; gets the files ``reached`` and ``release``.
        moment: "before" or "after" what the stage does.
        turn: 1 for the first time that a worker comes there, 2 for the second, and so on.
    """

    folder: Path
    stage: str
    moment: str
    turn: int

    @property
    def reached(self) -> bool:
        return (self.folder / "reached").exists()

    def release(self) -> None:
        (self.folder / "release").touch()


_turns: Counter[tuple[Path, str, str]] = Counter()


def slot() -> Path:
    return Path(os.environ[SLOT])


def set_plan(slot: Path, plan: Plan) -> None:
    plan.folder.mkdir(parents=True)
    draft = slot / "draft"
    draft.write_text(plan.model_dump_json())
    draft.rename(slot / "plan")


def come_to(stage: str, moment: str) -> None:
    """Called by the worker's processes: wait here if that is the plan."""
    note = slot() / "plan"
    try:
        plan = Plan.model_validate_json(note.read_text())
    except FileNotFoundError:
        return
    if (plan.stage, plan.moment) != (stage, moment):
        return
    visit = (plan.folder, stage, moment)
    _turns[visit] += 1
    if _turns[visit] != plan.turn:
        return
    note.unlink()  # once is enough
    (plan.folder / "reached").touch()
    while not (plan.folder / "release").exists():
        time.sleep(POLL_S)
