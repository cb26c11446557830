"""Workers that end when their video is done: a rolling upgrade."""

from __future__ import annotations

import signal

import pytest

from shoal.errors import WorkerNotFound
from shoal.model.job import State
from shoal.model.worker import WorkerInfo
from shoal.queue.queue import JobQueue
from shoal.queue.workers import announce, ask_to_drain, list_workers
from shoal.settings import Settings
from tests.chaos.crawling import let_go
from tests.conftest import SubmitClip
from tests.running import Processes, eventually

CRAWLING = "tests.chaos.crawling:Crawling"


def worker_of(processes: Processes, job_id: str) -> str:
    processes.wait_frames(job_id)
    return processes.queue.records.get(job_id).worker


def outcomes(queue: JobQueue, job_id: str) -> list[tuple[str, str]]:
    """How each attempt at a job ended, and on which worker."""
    return [(attempt.outcome, attempt.worker) for attempt in queue.records.attempts(job_id)]


def test_old_workers_drain_and_new_ones_take_over(
    processes: Processes, queue: JobQueue, submit_clip: SubmitClip, settings: Settings
) -> None:
    client = processes.api()
    old = [processes.worker(CRAWLING), processes.worker(CRAWLING)]
    eventually(lambda: len(processes.idle_workers()) == 2, "both, so that each takes a video")
    ids = [submit_clip(prompts=(f"person {number}",)) for number in range(5)]
    names = {worker_of(processes, job_id) for job_id in ids[:2]}
    new = [processes.worker(CRAWLING) for _ in old]
    for name in names:
        assert client.drain(name).draining
    let_go(settings)
    assert [worker.wait(timeout=120) for worker in old] == [0, 0]
    for job_id in ids:
        assert processes.wait_state(job_id, "succeeded", "failed").state == State.SUCCEEDED
    # Nothing is repeated: each video took one attempt, the first two on the old workers.
    results = [outcomes(queue, job_id) for job_id in ids]
    assert [len(each) for each in results] == [1] * 5
    assert {worker for ((_, worker),) in results[:2]} == names
    assert not names & {worker for ((_, worker),) in results[2:]}
    assert not names & {worker.name for worker in list_workers(queue.redis, queue.name)}
    assert all(worker.poll() is None for worker in new)


def test_with_drain_a_first_signal_lets_it_finish(
    processes: Processes, queue: JobQueue, submit_clip: SubmitClip, settings: Settings
) -> None:
    job_id, other = submit_clip(), submit_clip(prompts=("car",))
    worker = processes.worker(CRAWLING, SHOAL_DRAIN="1")
    name = worker_of(processes, job_id)
    worker.terminate()
    eventually(lambda: list_workers(queue.redis, queue.name)[0].draining, "it to drain")
    let_go(settings)
    assert worker.wait(timeout=120) == 0
    assert outcomes(queue, job_id) == [("succeeded", name)]
    assert queue.records.get(other).attempt == 0


def test_with_drain_a_second_signal_gives_the_video_back(
    processes: Processes, queue: JobQueue, submit_clip: SubmitClip
) -> None:
    job_id = submit_clip()
    worker = processes.start(
        "tests.chaos.patient",
        SHOAL_ENGINE="tests.fakes:Stuck",
        SHOAL_DRAIN="1",
        SHOAL_GRACE_S="1",
    )
    eventually(lambda: queue.records.get(job_id).progress.stage == "process", "the video to run")
    worker.terminate()
    eventually(lambda: list_workers(queue.redis, queue.name)[0].draining, "it to drain")
    worker.send_signal(signal.SIGINT)
    assert worker.wait(timeout=120) == 0
    record = queue.records.get(job_id)
    assert (record.state, record.preemptions) == (State.QUEUED, 1)


@pytest.mark.parametrize("engine", ["tests.fakes:Fake", "tests.fakes:SlowToLoad"])
def test_a_worker_without_a_video_drains_at_once(
    processes: Processes, queue: JobQueue, engine: str
) -> None:
    worker = processes.worker(engine)
    eventually(lambda: list_workers(queue.redis, queue.name), "the worker to appear")
    (info,) = list_workers(queue.redis, queue.name)
    ask_to_drain(queue.redis, queue.name, info.name)
    assert worker.wait(timeout=120) == 0
    assert not list(queue.redis.scan_iter("*draining*"))


def test_only_a_worker_that_is_there_drains(queue: JobQueue) -> None:
    info = WorkerInfo(name="one", host="a", pid=1, started_at=0)
    assert not announce(queue.redis, queue.name, info, 20)
    with pytest.raises(WorkerNotFound):
        ask_to_drain(queue.redis, queue.name, "two")
    ask_to_drain(queue.redis, queue.name, "one")
    assert announce(queue.redis, queue.name, info, 20)
    queue.redis.delete(f"{queue.name}:worker:one")  # it vanished
    assert list_workers(queue.redis, queue.name) == []
    assert not list(queue.redis.scan_iter("*draining*"))
