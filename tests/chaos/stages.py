"""The stage boundaries of a video, and how the worker's real functions come to wait at them."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shoal.model.job import Split
from tests.chaos.barrier import come_to

FRAMES = 60  # of the clip

# Stage -> how often a worker surely comes there with one video.
TURNS = {
    "dequeue": 1,
    "download": 1,
    "first frame": 1,
    "mid part": 1,
    "part upload": 6,
    "state upload": 3,
    "join": 2,
    "publish": 2,
    "metadata": 1,
    "RQ bookkeeping": 1,
}
# The same of a split job.
SPLIT_TURNS = {
    "cut": 1,
    "segment part": 4,
    "id join": 1,
    "joined tables": 4,
    "render": 2,
    "final join": 1,
}
STAGES = tuple(TURNS)
SPLIT_STAGES = tuple(SPLIT_TURNS)
OF_PARENT = ("dequeue", "RQ bookkeeping")  # the others are the model process's
MID_PART = "frame"  # the stage that "mid part" waits at: its turn is a frame


def place(stage: str, chance: random.Random) -> tuple[str, str, int]:
    """A point of a stage: as the barrier calls it, before or after, and in which turn."""
    moment = chance.choice(("before", "after"))
    if stage == "mid part":
        return MID_PART, moment, chance.randint(8, FRAMES - 5)
    return stage, moment, chance.randint(1, (TURNS | SPLIT_TURNS)[stage])


def wrap(owner: Any, name: str, stage: Callable[..., str]) -> None:
    """Have ``owner.name`` wait before and after, at the stage that its arguments tell."""
    original = getattr(owner, name)

    @functools.wraps(original)
    def waiting(*args: Any, **kwargs: Any) -> Any:
        at = stage(*args, **kwargs)
        come_to(at, "before")
        result = original(*args, **kwargs)
        come_to(at, "after")
        return result

    setattr(owner, name, waiting)


def wrap_parent() -> None:
    """The stages of the parent process."""
    from shoal.queue.lease import Lease
    from worker.rq_mirror import RQMirror

    wrap(Lease, "take", lambda *args: "dequeue")
    wrap(RQMirror, "end", lambda *args: "RQ bookkeeping")


def wrap_model() -> None:
    """The stages of the model process, but for those of its engine."""
    from worker.pipeline import parts, publish
    from worker.pipeline.job import VideoJob
    from worker.pipeline.part_store import PartStore
    from worker.pipeline.split.cut import CutJob
    from worker.pipeline.split.join import FinalJob, JoinJob
    from worker.pipeline.split.segment import RenderSegment

    def of_part(store: PartStore, path: Path) -> str:
        spec = store._context.spec
        if spec.segment:
            return "segment part"
        if spec.options.split != Split.OFF:
            return "joined tables"
        return "state upload" if path.suffix == ".state" else "part upload"

    def of_result(publisher: publish.Publisher, path: Path, kind: str) -> str:
        return "metadata" if kind == "metadata" else "publish"

    wrap(VideoJob, "_fetch", lambda *args: "download")
    wrap(PartStore, "_put", of_part)
    wrap(CutJob, "_plan", lambda *args: "cut")
    wrap(JoinJob, "_join", lambda *args: "id join")
    wrap(RenderSegment, "_prepare", lambda *args: "render")
    wrap(FinalJob, "_drawn", lambda *args: "final join")
    wrap(parts, "join", lambda *args: "join")
    wrap(publish.Publisher, "_put", of_result)
