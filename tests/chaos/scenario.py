"""One video, one blow at one stage, and what must be true when it is over."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
from rq.job import Job as RQJob

from shoal.model.job import JobSpec, State
from shoal.model.record import Record
from shoal.results.layout import masks_name, metadata_name, overlay_name, parts_prefix, result_name
from shoal.storage import storage_for
from tests.attempts import times
from tests.chaos.barrier import Plan, set_plan
from tests.chaos.blows import BLOWS
from tests.chaos.stack import GRACE_S, WAIT_S, Stack, Worker
from tests.chaos.stages import place
from tests.running import eventually

RESULTS = ("overlay", "masks", "frames", "summary", "metadata")  # of a job with the usual outputs
NAMED = {"disk_full", "storage_not_writable", "storage_unavailable", "source_not_found"}
RUNS_AGAIN = ("started", "resumed", "part", "succeeded")  # events that tell so
LAG = 3  # frames that the engine has seen and still owes the results of


@dataclass(frozen=True)
class Straight:
    """What an undisturbed run gives."""

    rows: list[dict[str, Any]]
    times: list[float]


@dataclass(frozen=True)
class Outcome:
    """What a scenario measured.

    Attributes:
        redone_s: seconds of stepping that were done twice.
        redone: frames that were.
        again_s: from the blow until the video went on.
    """

    blow: str
    stage: str
    redone_s: float = 0.0
    redone: int = 0
    again_s: float = 0.0
    failure: str = ""


class Scenario:
    """Everything about one blow."""

    def __init__(self, stack: Stack, number: int, blow: str, stage: str, seed: str) -> None:
        self.stack = stack
        self.blow = blow
        self.stage = stage
        self.chance = random.Random(f"{seed}-{number}")
        self.patience_s = WAIT_S + GRACE_S
        self.name = f"video-{number}"
        at, moment, turn = place(stage, self.chance)
        self.plan = Plan(
            folder=stack.folder / "plans" / self.name, stage=at, moment=moment, turn=turn
        )
        self.victim: Worker = stack.workers[0]
        self.model: psutil.Process
        self.struck_at = 0.0
        self.attempt = 0  # that was struck
        self.job_id = ""
        self.refused = False  # whether the storage was away

    def __str__(self) -> str:
        return f"{self.blow} at {self.stage} ({self.plan.moment}, {self.plan.turn})"

    def run(self, straight: Straight) -> Outcome:
        """
        Raises:
            AssertionError: a promise was broken.
        """
        self.stack.wait_all_held()
        self.stack.steps.unlink(missing_ok=True)
        self.victim, _ = self.chance.sample(self.stack.workers, 2)
        assert self.victim.model is not None
        self.model = self.victim.model
        set_plan(self.victim.slot, self.plan)
        spec = self.submit()
        self.job_id = spec.id
        self.victim.let_go()
        eventually(lambda: self.plan.reached, f"the worker to come to {self}", WAIT_S)
        self.attempt = self.struck_record().attempt
        saved = self._saved() if self.attempt <= 1 else 0  # no lease was lost before by bad luck
        self.struck_at = time.time()
        BLOWS[self.blow](self)
        self.wait_ended()
        self._wait_quiet()
        self._check_results(straight)
        self._check_leftovers()
        redone = self._redone(saved)
        return Outcome(self.blow, self.stage, sum(redone.values()), len(redone), self._again_s())

    def submit(self) -> JobSpec:
        return self.stack.submit(self.name)

    # --- while it goes on ------------------------------------------------------------------------

    def record(self) -> Record:
        return self.stack.queue.records.get(self.job_id)

    def struck_record(self) -> Record:
        """The record of what the blow hits."""
        return self.record()

    def rescue(self, *, by_both: bool = False) -> None:
        """Let the other worker, or both, take the video; those that were killed are replaced."""
        if not by_both:
            self.victim.hold()
        for worker in self.stack.workers:
            if by_both or worker is not self.victim:
                worker.let_go()
        if by_both:
            self.plan.release()

    def wait_taken_over(self) -> None:
        eventually(
            lambda: (
                self.struck_record().attempt > self.attempt or self.struck_record().state.is_final
            ),
            "another worker to take the video",
            WAIT_S,
        )

    def wait_attempt_ended(self) -> None:
        """Until the attempt that was struck has ended, well or not."""

        def ended() -> bool:
            record = self.struck_record()
            attempts = self.stack.queue.records.attempts(record.id)
            return record.state.is_final or len(attempts) >= self.attempt

        self.victim.hold()
        eventually(ended, "the attempt to end", WAIT_S)

    def wait_ended(self) -> None:
        """Until the video is done; a named failure of the storage is retried, as by a user."""
        deadline = time.monotonic() + WAIT_S
        while (record := self.record()).state != State.SUCCEEDED:
            assert time.monotonic() < deadline, (
                f"the video is lost: {record.state}, {self._story()}"
            )
            if record.state == State.FAILED:
                assert record.error is not None
                assert self.blow == "storage fails", record.error
                assert record.error.code in NAMED, record.error
                self.stack.queue.retry(self.job_id)
            time.sleep(0.02)

    def _wait_quiet(self) -> None:
        """Until nobody works any more, and those that were killed have been replaced."""
        self.stack.wait_all_held()
        eventually(self.stack.is_quiet, "the workers to be idle", WAIT_S)

    # --- what must be true -----------------------------------------------------------------------

    def _check_results(self, straight: Straight) -> None:
        spec = self.record().spec
        folder = Path(spec.results_prefix.removeprefix("file://"))
        names = sorted(result_name(spec, kind) for kind in RESULTS)
        assert sorted(path.name for path in folder.iterdir()) == names, "one result set"
        assert len(list(self.stack.bucket.rglob(metadata_name(spec)))) == 1
        assert pq.read_table(folder / masks_name(spec)).to_pylist() == straight.rows, "mask rows"
        assert times(folder / overlay_name(spec)) == straight.times, "frames of the overlay"
        assert set(self.record().results) == set(names)

    def _check_leftovers(self) -> None:
        queue, settings = self.stack.queue, self.stack.settings
        if not self._may_keep_parts():
            spec = self.record().spec
            storage, prefix = storage_for(spec.results, settings), parts_prefix(spec)
            eventually(lambda: not list(storage.entries(prefix)), "no parts to be left", WAIT_S)
        alive = {worker.process.pid for worker in self.stack.workers}
        folders = list(settings.work_dir.iterdir())
        assert len(folders) == len(alive), f"work directories are left: {folders}"
        jobs = [path for folder in folders for path in folder.iterdir() if path.is_dir()]
        assert not jobs, f"work directories are left: {jobs}"
        if not self.victim.alive:
            assert not self.model.is_running(), "the model process outlived its parent"
        redis = queue.redis
        assert queue.records.counts()[State.RUNNING] == queue.records.counts()[State.QUEUED] == 0
        for key in (queue.rq.key, queue.rq.intermediate_queue_key, queue.leases_key):
            assert not redis.exists(key), f"{key} is not empty"
        assert not redis.exists(RQJob.key_for(self.job_id)), "RQ still has the job"
        eventually(self._rq_is_clean, f"RQ's tables to be clean: {self._rq_entries()}", WAIT_S)

    def _may_keep_parts(self) -> bool:
        """Storage that is away just when the parts are removed keeps them, and the worker says so:
        then they only take up space."""
        published = self.stage == "RQ bookkeeping" or (self.stage, self.plan.moment) == (
            "metadata",
            "after",
        )
        return (
            self.refused
            and published
            and "could not delete the parts in" in self.victim.log.read_text()
        )

    def _rq_is_clean(self) -> bool:
        return not self._rq_entries()

    def _rq_entries(self) -> list[str]:
        """What RQ's registries hold of jobs and workers that are not there."""
        redis, name = self.stack.queue.redis, self.stack.queue.name
        kinds = ("wip", "failed", "finished", "deferred", "scheduled", "canceled")
        found = [
            f"{kind}: {e!r}" for kind in kinds for e in redis.zrange(f"rq:{kind}:{name}", 0, -1)
        ]
        found += [str(key) for key in redis.scan_iter(f"rq:execution*:{self.job_id}*")]
        gone = [key for key in redis.smembers("rq:workers") if not redis.exists(key)]
        return found + [f"worker: {key!r}" for key in gone]

    def _saved(self) -> int:
        """Frames whose part the timeline shows as saved."""
        events = self.stack.queue.records.timeline(self.job_id)
        return max((e.detail["frames"] for e in events if e.event == "part"), default=0)

    def _redone(self, saved: int) -> dict[int, float]:
        """Frames that were stepped more than once, and what the first time had cost.

        Raises:
            AssertionError: one of them had been saved before the blow.
        """
        lines = self.stack.steps.read_text().splitlines() if self.stack.steps.exists() else []
        steps = [(int(index), float(spent)) for index, spent in (line.split() for line in lines)]
        counts = Counter(index for index, _ in steps)
        first = dict(reversed(steps))
        redone = {index: first[index] for index, count in counts.items() if count > 1}
        early = [index for index in redone if index < saved + LAG]
        assert not saved or not early, f"saved up to {saved}, and yet redone: {sorted(redone)}"
        return redone

    def _again_s(self) -> float:
        """From the blow to the first sign that the video goes on; a new attempt counts first."""
        events = self.stack.queue.records.timeline(self.job_id)
        later = [event for event in events if event.at >= self.struck_at - 0.001]
        started = [event for event in later if event.event == "started"]
        signs = started or [event for event in later if event.event in RUNS_AGAIN]
        return max(0.0, signs[0].at - self.struck_at) if signs else 0.0

    def _story(self) -> str:
        events = self.stack.queue.records.timeline(self.job_id)
        return "; ".join(f"{e.at - self.struck_at:+.1f} {e.event} {e.detail}" for e in events)

    def log_tail(self) -> str:
        lines = [os.linesep.join(self.victim.log.read_text().splitlines()[-25:])]
        return "\n".join([self._story(), *lines])
