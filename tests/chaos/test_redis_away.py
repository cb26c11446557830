"""Valkey is killed and comes back, under a waiting and under a running worker."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shoal.local.valkey import Valkey
from shoal.model.job import State
from shoal.queue.connection import connect
from shoal.queue.queue import JobQueue, open_queue
from shoal.settings import Settings
from tests.chaos.crawling import SHORT_LEASE, let_go
from tests.conftest import SubmitClip
from tests.ports import free_port
from tests.running import Processes, eventually

CRAWLING = "tests.chaos.crawling:Crawling"


class OwnValkey:
    """A durable server of this test's own, as ``shoal up`` runs it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = Valkey(folder, free_port())
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(self.server.command(), stdout=subprocess.DEVNULL)
        self.server.wait_ready(self.process).close()

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[OwnValkey]:
    valkey = OwnValkey(tmp_path / "valkey")
    valkey.start()
    yield valkey
    valkey.kill()


@pytest.fixture
def settings(settings: Settings, own_valkey: OwnValkey) -> Settings:
    return settings.model_copy(update={"redis_url": own_valkey.server.url})


@pytest.fixture
def queue(settings: Settings) -> Iterator[JobQueue]:
    with connect(settings) as connection:
        yield open_queue(settings, connection)


def wait_durable(queue: JobQueue) -> None:
    """Until Valkey has on disk what anyone has written so far."""
    queue.redis.set("so far", 1)  # it waits for writes of this connection, and so for all before
    queue.redis.waitaof(1, 0, 60_000)


def test_a_running_video_outlives_a_restart_of_redis(
    processes: Processes,
    submit_clip: SubmitClip,
    own_valkey: OwnValkey,
    queue: JobQueue,
    settings: Settings,
) -> None:
    job_id = submit_clip()
    worker = processes.worker(CRAWLING)
    processes.wait_frames(job_id)
    wait_durable(queue)
    own_valkey.kill()
    eventually(lambda: "Redis does not answer" in processes.logs(), "the worker to notice")
    own_valkey.start()
    let_go(settings)
    record = processes.wait_state(job_id, "succeeded", "failed")
    assert (record.state, record.attempt) == (State.SUCCEEDED, 1)
    assert worker.poll() is None


def test_a_video_that_ended_while_redis_was_away_is_recorded(
    processes: Processes,
    submit_clip: SubmitClip,
    own_valkey: OwnValkey,
    queue: JobQueue,
    settings: Settings,
) -> None:
    job_id = submit_clip()
    processes.worker(CRAWLING)
    processes.wait_frames(job_id)
    wait_durable(queue)
    own_valkey.kill()
    let_go(settings)
    results = processes.settings.data_dir / "results"
    eventually(lambda: "nothing is published meanwhile" in processes.logs(), "the video to end")
    own_valkey.start()
    assert processes.wait_state(job_id, "succeeded", "failed").state == State.SUCCEEDED
    assert len(list(results.rglob("*_metadata.json"))) == 1


def test_a_waiting_worker_outlives_a_restart_of_redis(
    processes: Processes, submit_clip: SubmitClip, own_valkey: OwnValkey
) -> None:
    processes.worker()
    eventually(processes.idle_workers, "the worker to be idle")
    own_valkey.kill()
    eventually(lambda: "Redis does not answer" in processes.logs(), "the worker to notice")
    own_valkey.start()
    job_id = submit_clip()
    assert processes.wait_state(job_id, "succeeded", "failed").state == State.SUCCEEDED


def test_redis_is_away_for_longer_than_the_lease(
    processes: Processes,
    submit_clip: SubmitClip,
    own_valkey: OwnValkey,
    queue: JobQueue,
    settings: Settings,
) -> None:
    """Whoever is first when it is back, the worker or the reaper: there is one result."""
    processes.env |= {"SHOAL_LEASE_S": "4", "SHOAL_PART_S": "0.5"}
    processes.api()
    job_id = submit_clip()
    workers = [processes.worker(CRAWLING), processes.worker(CRAWLING)]
    processes.wait_frames(job_id)
    wait_durable(queue)
    own_valkey.kill()
    time.sleep(5)
    own_valkey.start()
    let_go(settings)
    assert processes.wait_state(job_id, "succeeded", "failed").state == State.SUCCEEDED
    assert [worker.poll() for worker in workers] == [None, None]
    results = processes.settings.data_dir / "results"
    assert len(list(results.rglob("*_metadata.json"))) == 1
    eventually(lambda: len(processes.idle_workers()) == 2, "both to be of use")


def test_failover_to_an_empty_server(
    processes: Processes,
    submit_clip: SubmitClip,
    own_valkey: OwnValkey,
    queue: JobQueue,
    settings: Settings,
) -> None:
    """What was on the old one must be submitted again; it goes on after its last part."""
    processes.env |= {"SHOAL_PART_S": "0.5"}
    processes.api()
    job_id = submit_clip()
    workers = [processes.worker(CRAWLING), processes.worker(CRAWLING)]
    eventually(lambda: "part" in told(queue, job_id), "a part")
    own_valkey.kill()
    shutil.rmtree(own_valkey.folder)
    own_valkey.start()
    eventually(lambda: len(processes.idle_workers()) == 2, "both to wait for videos")
    assert "is another worker's now: dropped" in processes.logs()
    assert queue.records.find(job_id) is None
    let_go(settings)
    assert submit_clip() == job_id
    record = processes.wait_state(job_id, "succeeded", "failed")
    assert record.state == State.SUCCEEDED
    assert "resumed" in told(queue, job_id)
    assert [worker.poll() for worker in workers] == [None, None]
    results = processes.settings.data_dir / "results"
    assert len(list(results.rglob("*_metadata.json"))) == 1


def told(queue: JobQueue, job_id: str) -> list[str]:
    return [event.event for event in queue.records.timeline(job_id)]


def test_a_worker_may_go_while_redis_is_away(
    processes: Processes, submit_clip: SubmitClip, own_valkey: OwnValkey, queue: JobQueue
) -> None:
    job_id = submit_clip()
    worker = processes.worker(CRAWLING, SHOAL_GRACE_S="2", **SHORT_LEASE)
    processes.wait_frames(job_id)
    wait_durable(queue)
    own_valkey.kill()
    worker.terminate()
    worker.wait(timeout=120)
    own_valkey.start()
    processes.api()  # its reaper finds the job
    processes.worker()
    assert processes.wait_state(job_id, "succeeded", "failed").state == State.SUCCEEDED
