"""Blows at split jobs: at the cut, at segments, and where they are joined."""

from __future__ import annotations

from pathlib import Path

from shoal.model.job import JobSpec, State
from shoal.model.record import Record
from shoal.queue.workers import list_workers
from shoal.results.layout import split_prefix
from tests.chaos.engine import Engine
from tests.chaos.scenario import Scenario, Straight
from tests.chaos.stack import WAIT_S
from tests.running import eventually
from tests.split_attempts import SplitJob

FRAMES = 150  # of the clip
SEGMENTS = 2


def straight_run(clip: Path, folder: Path) -> Straight:
    """What an undisturbed split run gives."""
    folder.mkdir()
    job = SplitJob(clip, folder, Engine, split=SEGMENTS)
    job.complete()
    return Straight(job.rows(), job.overlay_times())


class SplitScenario(Scenario):
    """One blow at a split job, or at a segment of it."""

    struck: str = ""  # ID of the job or segment that the victim was at

    def submit(self) -> JobSpec:
        return self.stack.submit(self.name, split=SEGMENTS)

    def struck_record(self) -> Record:
        """Of what the victim was at."""
        if not self.struck:
            workers = list_workers(self.stack.queue.redis, self.stack.queue.name)
            (self.struck,) = [w.job for w in workers if w.pid == self.victim.process.pid]
        return self.stack.queue.records.get(self.struck)

    def _saved(self) -> int:
        return 0  # neighbours track the same frames: exactness is seen by the rows

    def _redone(self, saved: int) -> dict[int, float]:
        return {}

    def _check_leftovers(self) -> None:
        super()._check_leftovers()
        counts = self.stack.queue.records.segment_counts()
        assert counts[State.RUNNING] == counts[State.QUEUED] == 0
        if not self._may_keep_parts():
            folder = Path(split_prefix(self.record().spec).removeprefix("file://"))
            eventually(
                lambda: not [each for each in folder.rglob("*") if each.is_file()],
                f"no parts of segments to be left in {folder}",
                WAIT_S,
            )
