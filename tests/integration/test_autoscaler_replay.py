"""The launcher against a session of the real SkyPilot (``tests/skypilot``), as it was recorded: two
machines of four got a consumer, the other two were ended by the pool while they booted.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from autoscaler.history import History
from autoscaler.launchers.base import ConsumerState, Fleet
from autoscaler.launchers.skypilot import SkyLauncher
from autoscaler.sdk import Sdk

RECORDED = json.loads((Path(__file__).parents[1] / "skypilot" / "recorded.json").read_text())


@dataclass
class Recorded:
    """SkyPilot's SDK at one moment of the session. It answers as the real one does: newest first,
    and a lost machine's row still names its job."""

    moment: dict[str, Any]

    def __post_init__(self) -> None:
        self.jobs = SimpleNamespace(queue_v2=self._queue, pool_status=self._status)

    def get(self, answer: Any) -> Any:
        return answer

    def _queue(self, *, statuses: list[str] | None = None, **which: Any) -> Any:
        rows = [
            SimpleNamespace(job_id=job, job_name="w", status=status, pool="shoal")
            for job, status, _ in reversed(self.moment["jobs"])
            if statuses is None
        ]
        return rows, len(rows), {}, len(rows)

    def _status(self, names: list[str]) -> Any:
        rows = [
            {
                "replica_id": number,
                "status": status,
                "used_by": [job for job, _, machine in self.moment["jobs"] if machine == number],
            }
            for number, status in self.moment["machines"]
        ]
        return [{"replica_info": rows, "target_num_replicas": None}]


def observe(moment: dict[str, Any]) -> Fleet:
    sdk = Sdk(Recorded(moment))
    return SkyLauncher({}, {}, pool="shoal", job_name="w", sdk=sdk).observe()


def started(fleet: Fleet) -> int:
    return sum(consumer.state != ConsumerState.PENDING for consumer in fleet.consumers)


def test_it_is_a_session_in_which_waiting_consumers_blink() -> None:
    blinks = [m for m in RECORDED if any(j[1] == "STARTING" and not j[2] for j in m["jobs"])]
    assert len(blinks) > 20


def test_started_is_who_has_a_machine() -> None:
    for moment in RECORDED:
        with_machine = [job for job, _, machine in moment["jobs"] if machine is not None]
        assert started(observe(moment)) == len(with_machine), moment["t"]


def test_started_changes_when_machines_are_given_and_left_alone() -> None:
    """Two got theirs at once; later one ended after the other."""
    counts = [started(observe(moment)) for moment in RECORDED]
    changes = [now for before, now in pairwise(counts) if now != before]
    assert changes == [2, 1, 0]


def test_who_waits_for_long_is_found() -> None:
    """Were its blinks taken for starts, its wait would begin anew with each."""
    history = History(start_timeout_s=60)
    found = set()
    for moment in RECORDED:
        machines = [[number, "READY"] for number, _ in moment["machines"]]  # one is always free
        history.look(observe(moment | {"machines": machines}), moment["t"])
        found |= set(history.stuck_pending(moment["t"]))
    assert found >= {"1", "2"}


def test_machines_that_are_ended_are_none() -> None:
    for moment in RECORDED:
        shutting = sum(status == "SHUTTING_DOWN" for _, status in moment["machines"])
        assert observe(moment).machines == len(moment["machines"]) - shutting
