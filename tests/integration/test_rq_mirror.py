"""What RQ's own tools see. Covers the private parts of RQ that Shoal uses: it fails when an
upgrade changes them."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import version
from inspect import signature
from pathlib import Path

import pytest
from redis import Redis
from rq import Queue
from rq.executions import ExecutionRegistry, prepare_execution
from rq.job import Job, JobStatus
from rq.registry import (
    BaseRegistry,
    CanceledJobRegistry,
    DeferredJobRegistry,
    FailedJobRegistry,
    FinishedJobRegistry,
    ScheduledJobRegistry,
    StartedJobRegistry,
)
from rq.serializers import JSONSerializer
from rq.worker import BaseWorker, Worker
from rq.worker_registration import REDIS_WORKER_KEYS, WORKERS_BY_QUEUE_KEY

from shoal.queue.queue import PROCESS, JobQueue
from shoal.settings import Settings
from tests.conftest import SubmitClip
from tests.processes.gate import Gate
from tests.running import Processes, eventually

GONE = -2  # as the time that a key has left
RQ_KEEPS_S = 16 + 60  # a worker that does not beat: our least and what RQ adds


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """A worker that is told to go does so in order, however busy the machine is."""
    return settings.model_copy(update={"grace_s": 60.0})


def rq_queue(queue: JobQueue) -> Queue:
    return Queue(queue.name, connection=queue.redis, serializer=JSONSerializer)


def fetch(queue: JobQueue, job_id: str) -> Job:
    return Job.fetch(job_id, connection=queue.redis, serializer=JSONSerializer)


def started(queue: JobQueue) -> list[str]:
    registry = StartedJobRegistry(queue.name, connection=queue.redis)
    return registry.get_job_ids(cleanup=False)


def keys(redis: Redis, pattern: str) -> list[bytes | str]:
    return list(redis.keys(pattern))


def test_a_queued_job_is_an_rq_job(queue: JobQueue, submit_clip: SubmitClip) -> None:
    job_id = submit_clip()
    assert rq_queue(queue).job_ids == [job_id]
    job = fetch(queue, job_id)
    assert (job.func_name, job.args) == (PROCESS, [job_id])
    assert job.get_status() == JobStatus.QUEUED


def test_a_stock_worker_is_told_that_it_is_not_wanted(
    queue: JobQueue, submit_clip: SubmitClip
) -> None:
    job = fetch(queue, submit_clip())
    with pytest.raises(Exception, match="stock RQ worker"):
        job.perform()


def test_a_running_job_and_its_worker_are_shown_and_leave_nothing_behind(
    processes: Processes, queue: JobQueue, submit_clip: SubmitClip, tmp_path: Path
) -> None:
    job_id = submit_clip()
    gate = Gate(processes, tmp_path / "gate")
    processes.worker("tests.processes.gate:Gated", **gate.env)
    processes.wait_frames(job_id)
    assert started(queue) == [job_id]
    assert fetch(queue, job_id).get_status() == JobStatus.STARTED
    (worker,) = Worker.all(connection=queue.redis, queue=rq_queue(queue))
    assert worker.get_current_job_id() == job_id
    assert worker.get_state() == "busy"
    assert worker.name == queue.records.get(job_id).worker

    gate.open()
    processes.wait_state(job_id, "succeeded")
    eventually(lambda: processes.idle_workers(), "the worker to be idle")
    assert started(queue) == []
    assert rq_queue(queue).job_ids == []
    for pattern in ("rq:execution*", f"rq:job:{job_id}*", "rq:queue:*:intermediate"):
        assert keys(queue.redis, pattern) == []
    processes.running[0].terminate()
    processes.running[0].wait()
    assert Worker.all(connection=queue.redis, queue=rq_queue(queue)) == []


def test_a_worker_that_a_new_server_does_not_know_is_shown_again(
    processes: Processes, queue: JobQueue, submit_clip: SubmitClip, tmp_path: Path
) -> None:
    gate = Gate(processes, tmp_path / "gate")
    processes.worker("tests.processes.gate:Gated", **gate.env)
    job_id = submit_clip()
    processes.wait_frames(job_id)
    name = queue.records.get(job_id).worker
    queue.redis.flushall()
    eventually(
        lambda: [w.name for w in Worker.all(connection=queue.redis)] == [name],
        "RQ to know the worker",
    )
    job_id = submit_clip()
    processes.wait_frames(job_id)
    assert started(queue) == [job_id]


def test_a_failed_job_is_in_the_failed_registry_until_it_is_retried(
    processes: Processes, queue: JobQueue, submit_clip: SubmitClip
) -> None:
    job_id = submit_clip()
    processes.worker("tests.fakes:Raising")
    processes.wait_state(job_id, "failed")
    registry = FailedJobRegistry(queue.name, connection=queue.redis)
    assert registry.get_job_ids(cleanup=False) == [job_id]
    assert fetch(queue, job_id).get_status() == JobStatus.FAILED
    queue.pause()  # or it fails again at once
    queue.retry(job_id)
    assert registry.get_job_ids(cleanup=False) == []


def test_an_entry_that_calls_for_something_else_is_refused(
    processes: Processes, queue: JobQueue, submit_clip: SubmitClip
) -> None:
    job_id = submit_clip()
    job = fetch(queue, job_id)
    job.func_name = "os.getcwd"
    job.save()
    processes.worker()
    record = processes.wait_state(job_id, "failed", "succeeded")
    assert record.error is not None
    assert record.error.code == "unknown_function"


def test_rq_info_is_clean_after_a_worker_was_lost(
    processes: Processes, queue: JobQueue, submit_clip: SubmitClip, tmp_path: Path
) -> None:
    job_id = submit_clip()
    gate = Gate(processes, tmp_path / "gate")
    lost = processes.worker("tests.processes.gate:Gated", **gate.env)
    processes.wait_frames(job_id)
    assert "1 workers" in rq_info(processes)
    lost.kill()
    lost.wait()
    processes.api()  # its reaper
    worker = processes.worker()
    processes.wait_state(job_id, "succeeded")
    worker.terminate()
    worker.wait()
    for key in queue.redis.scan_iter("rq:worker:*"):
        if not queue.redis.hexists(key, "death"):
            assert queue.redis.ttl(key) in (GONE, *range(RQ_KEEPS_S + 1))
            queue.redis.delete(key)  # that time is over
    assert "0 workers" in rq_info(processes)

    def is_clear() -> bool:  # the reaper's next sweep removes the debris of what it gave back
        return not any(registry.get_job_ids(cleanup=False) for registry in registries(queue))

    eventually(is_clear, "all registries to be empty")
    lines = rq_info(processes).splitlines()
    (ours,) = [line for line in lines if line.startswith(queue.name)]
    assert set(re.findall(r"\d+", ours)) == {"0"}, ours


def rq_info(processes: Processes) -> str:
    command = [sys.executable, "-c", "from rq.cli import main; main()", "info"]
    options = ["--url", processes.settings.redis_url, "--serializer", "json"]
    return subprocess.run([*command, *options], capture_output=True, text=True, check=True).stdout


def registries(queue: JobQueue) -> list[BaseRegistry]:
    kinds = (
        StartedJobRegistry,
        FinishedJobRegistry,
        FailedJobRegistry,
        DeferredJobRegistry,
        ScheduledJobRegistry,
        CanceledJobRegistry,
    )
    return [kind(queue.name, connection=queue.redis) for kind in kinds]


def test_the_private_parts_of_rq_are_there() -> None:
    """What shoal.queue and worker.rq_mirror rely on beyond RQ's documented API.
    Another minor version may change it: read those modules before the pin is moved."""
    assert version("rq").startswith("2.12.")
    queue = Queue("q", connection=Redis(port=1), serializer=JSONSerializer)
    assert queue.intermediate_queue_key == "rq:queue:q:intermediate"
    assert StartedJobRegistry("q", connection=queue.connection).key == "rq:wip:q"
    assert ExecutionRegistry("job", queue.connection).key == "rq:executions:job"
    assert (REDIS_WORKER_KEYS, WORKERS_BY_QUEUE_KEY % "q") == ("rq:workers", "rq:workers:q")
    for name in (
        "cleanup_execution",
        "get_heartbeat_ttl",
        "maintain_heartbeats",
        "prepare_job_execution",
        "register_birth",
        "register_death",
        "set_state",
    ):
        assert callable(getattr(BaseWorker, name)), name
    assert list(signature(prepare_execution).parameters)[:2] == ["worker", "job"]


def test_an_entry_without_a_record_is_skipped(
    processes: Processes, queue: JobQueue, submit_clip: SubmitClip
) -> None:
    rq_queue(queue).enqueue("os.getcwd", job_id="stranger")
    job_id = submit_clip()
    worker = processes.worker()
    processes.wait_state(job_id, "succeeded")
    lists = (queue.rq.key, queue.rq.intermediate_queue_key)
    eventually(lambda: not any(map(queue.redis.llen, lists)), "the stranger to be skipped")
    assert worker.poll() is None
