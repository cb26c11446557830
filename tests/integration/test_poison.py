"""A video that takes down its workers is given up; one whose machines are taken away is not."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings as hypothesis_settings, strategies as st

from shoal.errors import ModelProcessDied
from shoal.formatting import event_text
from shoal.model.failure import Failure
from shoal.model.job import JobSpec, State
from shoal.model.record import AttemptRecord, Progress, Record
from shoal.queue.lease import Lease
from shoal.queue.queue import JobQueue
from shoal.queue.reaper import Reaper
from tests.conftest import SubmitClip
from tests.running import Processes

DEATH = Failure.of(ModelProcessDied("the model process was ended by SIGSEGV"))


def spec(name: str = "bad.mp4") -> JobSpec:
    uri = f"file:///videos/{name}"
    return JobSpec(uri=uri, version="1", size=1, prompts=("person",), results="file:///out/a")


def take(queue: JobQueue, number: int = 1) -> Lease:
    """Start the first job in line on a machine of its own."""
    job_id = queue.line.take()
    assert isinstance(job_id, bytes)
    lease = Lease.take(queue, job_id.decode(), f"gpu-{number}", f"host-{number}")
    assert lease is not None
    return lease


def lose(queue: JobQueue, lease: Lease) -> Record:
    """Its worker vanishes, and the reaper finds out."""
    queue.redis.zadd(queue.leases_key, {lease.record.id: 1})
    assert Reaper(queue).sweep() == [lease.record.id]
    return queue.records.get(lease.record.id)


def queued(queue: JobQueue) -> list[str]:
    return queue.rq.get_job_ids()


def test_three_losses_without_a_part_fail_it_and_the_next_video_runs(queue: JobQueue) -> None:
    bad, good = queue.submit(spec())[0].id, queue.submit(spec("good.mp4"))[0].id
    for number, order in ((1, [bad, good]), (2, [good, bad])):
        lease = take(queue, number)
        assert lease.record.id == bad
        lease.heartbeat(Progress(stage="process", frames=40 + number))
        record = lose(queue, lease)
        assert (record.state, record.losses) == (State.QUEUED, number)
        assert queued(queue) == order
    take(queue, 3).succeed({}, {})
    record = lose(queue, take(queue, 3))
    assert (record.state, record.losses, record.failures) == (State.FAILED, 3, 0)
    assert record.error is not None
    assert record.error.code == "poisonous_video"
    for known in ("3 workers", "gpu-1 of host-1, stage process, frame 41", "gpu-2", "host-3"):
        assert known in record.error.message
    assert queued(queue) == []
    assert queue.failed.get_job_ids(cleanup=False) == [bad]
    attempts = queue.records.attempts(bad)
    assert [(a.outcome, a.stage, a.frames) for a in attempts] == [
        ("lost", "process", 41),
        ("lost", "process", 42),
        ("lost", "", 0),
    ]
    texts = [
        event_text(event.event, event.detail)
        for event in queue.records.timeline(bad)
        if event.event == "lost"
    ]
    assert [text.rpartition("; ")[2] for text in texts] == [
        "requeued",
        "requeued at the end",
        "given up",
    ]
    assert "(stage process, frame 42), loss 2 without progress" in texts[1]


def test_losses_of_machines_that_saved_a_part_never_count(queue: JobQueue) -> None:
    job = queue.submit(spec())[0].id
    queue.submit(spec("other.mp4"))
    for number in range(6):
        lease = take(queue)
        lease.record_event("part", number=number, frames=100 * number)
        record = lose(queue, lease)
        assert (record.state, record.losses, queued(queue)[0]) == (State.QUEUED, 0, job)


def test_a_saved_part_clears_what_was_lost_before(queue: JobQueue) -> None:
    queue.submit(spec())
    for _ in range(2):
        lose(queue, take(queue))
    lease = take(queue)
    lease.record_event("part", number=1, frames=100)
    assert lose(queue, lease).losses == 0
    assert lose(queue, take(queue)).state == State.QUEUED


@pytest.mark.parametrize("lost_first", [True, False])
def test_deaths_of_model_processes_and_losses_count_together(
    queue: JobQueue, lost_first: bool
) -> None:
    queue.submit(spec())
    if lost_first:
        lose(queue, take(queue))
        lose(queue, take(queue))
        take(queue, 3).fail(DEATH)
    else:
        take(queue).fail(DEATH)
        take(queue).fail(DEATH)
        lose(queue, take(queue, 3))
    record = queue.records.get(spec().id)
    assert (record.state, record.error and record.error.code) == (State.FAILED, "poisonous_video")
    assert record.error is not None
    assert ("2 workers" if lost_first else "2 model processes") in record.error.message
    assert "gpu-3" in record.error.message


def test_a_retry_by_a_user_starts_counting_anew(queue: JobQueue) -> None:
    job = queue.submit(spec())[0].id
    for _ in range(3):
        lose(queue, take(queue))
    record = queue.retry(job)
    assert (record.state, record.losses, record.unsaved) == (State.QUEUED, 0, 0)
    assert lose(queue, take(queue)).state == State.QUEUED


def test_preemption_without_a_part_never_counts_and_lets_others_go_first(queue: JobQueue) -> None:
    job, other = queue.submit(spec())[0].id, queue.submit(spec("other.mp4"))[0].id
    orders = []
    for _ in range(6):
        lease = take(queue)
        while lease.record.id != job:
            lease.give_back()
            lease = take(queue)
        lease.give_back()
        orders.append(queued(queue))
    record = queue.records.get(job)
    assert (record.state, record.losses) == (State.QUEUED, 0)
    assert orders[0] == [job, other]
    assert orders[1] == [other, job]


def test_a_cancelled_video_is_not_given_up(queue: JobQueue) -> None:
    job = queue.submit(spec())[0].id
    for _ in range(2):
        lose(queue, take(queue))
    lease = take(queue)
    queue.cancel(job)
    assert lose(queue, lease).state == State.CANCELLED


def test_records_of_the_release_before_are_read(queue: JobQueue) -> None:
    job = queue.submit(spec())[0].id
    lose(queue, take(queue))
    queue.redis.hdel(queue.records.key(job), "losses", "unsaved")
    kept = queue.redis.lindex(queue.records.attempts_key(job), 0)
    assert kept is not None
    old = json.loads(kept)
    assert AttemptRecord.model_validate({k: old[k] for k in old.keys() - {"stage", "frames"}})
    assert queue.records.get(job).losses == 0
    assert lose(queue, take(queue)).losses == 1


@hypothesis_settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.sampled_from(["lost", "lost saved", "preempted", "death"]), max_size=9))
def test_any_history_ends_after_three_deaths_and_not_before(
    queue: JobQueue, history: list[str]
) -> None:
    queue.redis.flushall()
    job = queue.submit(spec())[0].id
    deaths = losses = 0
    for step in history:
        lease = take(queue)
        if step == "lost saved":
            lease.record_event("part", number=1, frames=1)
            losses = 0
        if step == "death":
            deaths += 1
            lease.fail(DEATH)
        elif step == "preempted":
            lease.give_back()
        else:
            losses += step == "lost"
            lose(queue, lease)
        dead = deaths + losses >= 3 and step in ("lost", "death")
        assert queue.records.get(job).state == (State.FAILED if dead else State.QUEUED)
        if dead:
            return


def test_a_record_that_cannot_be_read_keeps_no_other_from_being_revived(queue: JobQueue) -> None:
    """One that a later release wrote, for instance."""
    ids = [queue.submit(spec(f"{number}.mp4"))[0].id for number in range(3)]
    for _ in ids:
        queue.redis.zadd(queue.leases_key, {take(queue).record.id: 1})
    queue.redis.hset(queue.records.key(ids[0]), "state", "levitating")
    assert set(Reaper(queue).sweep()) == set(ids[1:])


def test_a_record_that_cannot_be_read_does_not_end_a_worker(
    processes: Processes, submit_clip: SubmitClip
) -> None:
    unreadable, good = submit_clip(), submit_clip(prompts=("car",))
    processes.queue.redis.hset(processes.queue.records.key(unreadable), "spec", "{}")
    worker = processes.worker()
    assert processes.wait_state(good, "succeeded", "failed").state == State.SUCCEEDED
    assert worker.poll() is None
    assert f"job {unreadable} was cancelled, is unknown or cannot be read" in processes.logs()
