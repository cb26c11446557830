"""Consumers as managed jobs of SkyPilot: on the machines of a pool, or each with its own.

Everything goes through the SDK to a SkyPilot API server, and nothing is remembered here: consumers
are known by their name, so that a controller that was restarted finds those of the last one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from autoscaler.launchers.base import Consumer, ConsumerState, Fleet
from autoscaler.sdk import NothingLaunchedYet, Sdk
from shoal.errors import LauncherUnavailable

FAILED_WITHIN_S = 3600.0  # failed consumers are looked for among those launched since

ALIVE = {"PENDING", "PROVISIONING", "STARTING", "READY", "NOT_READY"}
FAILED = {"FAILED", "FAILED_PROVISION", "FAILED_INITIAL_DELAY", "FAILED_PROBING"}
STATES = {
    "PENDING": ConsumerState.PENDING,
    "STARTING": ConsumerState.STARTING,
    "RUNNING": ConsumerState.RUNNING,
    "RECOVERING": ConsumerState.STARTING,  # without a pool: its next machine is being made
    "WINDING_DOWN": ConsumerState.RUNNING,
}
FAILED_JOBS = ["FAILED", "FAILED_SETUP", "FAILED_PRECHECKS", "FAILED_NO_RESOURCE"]
FIELDS = ["job_id", "job_name", "status", "pool"]


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
        consumers = tuple(
            Consumer(str(job.job_id), STATES[state])
            for job in self._jobs()
            if (state := _name(job.status)) in STATES
        )
        failures = {f"consumer {job.job_id}" for job in self._failed_jobs()}
        if self._pool is None:
            started = sum(consumer.state != ConsumerState.PENDING for consumer in consumers)
            return Fleet(started, started, consumers, failures=frozenset(failures), pooled=False)
        pool = self._status(self._pool)
        rows = [(row["replica_id"], _name(row["status"])) for row in pool["replica_info"]]
        failures |= {f"machine {number}" for number, status in rows if status in FAILED}
        return Fleet(
            machines=sum(status in ALIVE for _, status in rows),
            ready=sum(status == "READY" for _, status in rows),
            consumers=consumers,
            target=pool.get("target_num_replicas"),
            failures=frozenset(failures),
        )

    def launch(self) -> None:
        task = self._sdk.task(self._consumer, self._secrets)
        num_jobs = 1 if self._pool else None
        self._sdk.ask("jobs.launch", task, name=self._job_name, pool=self._pool, num_jobs=num_jobs)

    def cancel(self, ids: Sequence[str]) -> int:
        # Asked again, as late as can be: one that got a machine since must not be cancelled.
        pending = [job.job_id for job in self._jobs() if _name(job.status) == "PENDING"]
        chosen = [job_id for job_id in pending if str(job_id) in ids]
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
        """Our consumers that have not ended."""
        return self._queue(skip_finished=True)

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


def _name(status: Any) -> str:
    """SkyPilot's enums differ by table, their names do not; over the wire they may be text."""
    return str(getattr(status, "value", status))
