"""Consumers as managed jobs of SkyPilot: on the machines of a pool, or each with its own.

Everything goes through the SDK to a SkyPilot API server, and nothing is remembered here: consumers
are known by their name, so that a controller that was restarted finds those of the last one.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from autoscaler.launchers.base import Consumer, ConsumerState, Fleet
from autoscaler.sdk import NothingLaunchedYet, Sdk
from shoal.errors import LauncherUnavailable

FAILED_WITHIN_S = 3600.0  # failed consumers are looked for among those launched since

ALIVE = {"PENDING", "PROVISIONING", "STARTING", "READY", "NOT_READY"}
FAILED = {"FAILED", "FAILED_PROVISION", "FAILED_INITIAL_DELAY", "FAILED_PROBING", "FAILED_CLEANUP"}
# A consumer that waits for a machine of a pool is PENDING, and every few seconds STARTING (or
# RECOVERING, if it has lost one) while SkyPilot looks for a free machine. So these do not tell
# whether it has one.
UNSETTLED = {"PENDING", "STARTING", "RECOVERING"}
STATES = UNSETTLED | {"RUNNING", "WINDING_DOWN"}
FAILED_JOBS = ["FAILED", "FAILED_SETUP", "FAILED_PRECHECKS", "FAILED_NO_RESOURCE"]
FIELDS = ["job_id", "job_name", "status", "pool", "failure_reason"]


class SkyLauncher:
    """``pool=None``: each consumer is a job that brings its own machine."""

    name = "sky"

    def __init__(
        self,
        consumer: dict[str, Any],
        secrets: dict[str, str],
        *,
        pool: str | None,
        job_name: str,
        sdk: Sdk,
    ) -> None:
        self._sdk = sdk
        self._consumer = consumer
        self._secrets = secrets
        self._pool = pool
        self._job_name = job_name

    # --- the protocol ----------------------------------------------------------------------------

    def observe(self) -> Fleet:
        jobs = self._jobs()
        failures = {
            f"consumer {job.job_id}": " ".join(str(job.failure_reason or _name(job.status)).split())
            for job in self._failed_jobs()
        }
        if self._pool is None:
            consumers = [_consumer(job, _name(job.status) != "PENDING") for job in jobs]
            started = sum(consumer.state != ConsumerState.PENDING for consumer in consumers)
            return Fleet(started, started, tuple(consumers), failures=failures, pooled=False)
        pool = self._status(self._pool)
        rows = pool["replica_info"]
        for row in rows:
            if (status := _name(row["status"])) in FAILED:
                failures[f"machine {row['replica_id']}"] = _cause(status, self._pool, row)
        taken = _taken(rows)
        ours = {job.job_id for job in jobs}
        ready = [row for row in rows if _name(row["status"]) == "READY"]
        return Fleet(
            machines=sum(_name(row["status"]) in ALIVE for row in rows),
            # Those that only a consumer has which is being cancelled will be free soon.
            ready=sum(not (used := _used_by(row)) or bool(used & ours) for row in ready),
            consumers=tuple(_consumer(job, job.job_id in taken) for job in jobs),
            target=pool.get("target_num_replicas"),
            failures=failures,
        )

    def launch(self) -> None:
        task = self._sdk.task(self._consumer, self._secrets)
        num_jobs = 1 if self._pool else None
        self._sdk.ask("jobs.launch", task, name=self._job_name, pool=self._pool, num_jobs=num_jobs)

    def cancel(self, ids: Sequence[str]) -> int:
        # Check again, as late as can be: one that got a machine since must not be cancelled.
        jobs = self._jobs()
        taken = _taken(self._status(self._pool)["replica_info"]) if self._pool else set()
        waiting = UNSETTLED if self._pool else {"PENDING"}
        chosen = [
            job.job_id
            for job in jobs
            if str(job.job_id) in ids and _name(job.status) in waiting and job.job_id not in taken
        ]
        if chosen:
            self._sdk.ask("jobs.cancel", job_ids=chosen)
        return len(chosen)

    def close(self) -> None:
        """Pool and consumers stay: the next controller finds them."""

    # --- SkyPilot --------------------------------------------------------------------------------

    def _status(self, pool: str) -> dict[str, Any]:
        if status := find_pool(self._sdk, pool):
            return status
        raise LauncherUnavailable(
            f"there is no pool {pool!r}", hint="Start it with 'shoal pool up'."
        )

    def _jobs(self) -> list[Any]:
        """Our consumers that have not ended and are not about to, the oldest first."""
        jobs = [job for job in self._queue(skip_finished=True) if _name(job.status) in STATES]
        return sorted(jobs, key=lambda job: int(job.job_id))

    def _failed_jobs(self) -> list[Any]:
        since = time.time() - FAILED_WITHIN_S
        return self._queue(statuses=FAILED_JOBS, submitted_after=since)

    def _queue(self, **which: Any) -> list[Any]:
        try:
            answer = self._sdk.ask(
                "jobs.queue_v2",
                refresh=False,
                all_users=True,
                fields=FIELDS,
                name_match=self._job_name,
                **which,
            )
        except NothingLaunchedYet:
            return []
        jobs = answer[0]
        return [job for job in jobs if job.job_name == self._job_name and job.pool == self._pool]


def find_pool(sdk: Sdk, name: str) -> dict[str, Any] | None:
    """What SkyPilot tells of a pool; ``None`` where there is none of this name."""
    try:
        found: list[dict[str, Any]] = sdk.ask("jobs.pool_status", [name])
    except NothingLaunchedYet:
        return None
    return found[0] if found else None


def _consumer(job: Any, has_machine: bool) -> Consumer:
    if _name(job.status) not in UNSETTLED:
        state = ConsumerState.RUNNING
    else:
        state = ConsumerState.STARTING if has_machine else ConsumerState.PENDING
    return Consumer(str(job.job_id), state, worker=f"sky{job.job_id}-")


def _taken(rows: Iterable[dict[str, Any]]) -> set[int]:
    """The jobs that have one of the machines. A lost machine's row still names its job."""
    return {job for row in rows if _name(row["status"]) in ALIVE for job in _used_by(row)}


def _used_by(row: dict[str, Any]) -> set[int]:
    return set(row.get("used_by") or ())


def _cause(status: str, pool: str, row: dict[str, Any]) -> str:
    if status == "FAILED_CLEANUP":
        return "could not be ended and may still be billed: look for it in the cloud's console"
    return f"{status}, see 'sky jobs pool logs {pool} {row['replica_id']}'"


def _name(status: Any) -> str:
    """SkyPilot's enums differ by table, their names do not; over the wire they may be text."""
    return str(getattr(status, "value", status))
