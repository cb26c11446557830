"""Segments of ended jobs go away, whoever was killed and however long the storage was away."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from api.background import cleanup
from api.background.cleanup import CleanupThread
from shoal.errors import NotAVideo, StorageUnavailable
from shoal.model.failure import Failure
from shoal.model.job import JobSpec
from shoal.queue.lease import Lease
from shoal.queue.queue import JobQueue
from shoal.queue.reaper import Reaper
from shoal.results.layout import parts_prefix, result_name, state_name
from shoal.settings import Settings
from tests.serving import take
from worker.part_remover import PartRemover


@pytest.fixture
def quick(queue: JobQueue) -> JobQueue:
    """With leases so short that what is left is due at once."""
    return JobQueue(queue.redis, queue.name, retries=3, lease_s=0)


@pytest.fixture
def begun(quick: JobQueue, settings: Settings) -> Lease:
    """An attempt at a job that has saved a segment."""
    settings.data_dir.mkdir()
    spec = JobSpec(
        uri=(settings.data_dir / "a.mp4").as_uri(),
        version="1",
        size=1,
        prompts=("person",),
        results=settings.results_root,
    )
    quick.submit(spec)
    lease = take(quick)
    folder(lease).mkdir(parents=True)
    (folder(lease) / "00001-a1.state").write_text("state")
    return lease


def folder(lease: Lease) -> Path:
    return Path(parts_prefix(lease.record.spec).removeprefix("file://"))


def lose(lease: Lease) -> None:
    lease.queue.redis.zadd(lease.queue.leases_key, {lease.record.id: 1})
    Reaper(lease.queue).sweep()


def cancel_and(end: Callable[[Lease], None]) -> Callable[[Lease], None]:
    def both(lease: Lease) -> None:
        lease.queue.cancel(lease.record.id)
        end(lease)

    return both


def give_back_and_cancel(lease: Lease) -> None:
    lease.give_back()
    lease.queue.cancel(lease.record.id)


UNNEEDED: dict[str, Callable[[Lease], None]] = {
    "cancelled, its worker killed": cancel_and(lose),
    "cancelled and preempted": cancel_and(Lease.give_back),
    "cancelled": cancel_and(Lease.cancel),
    "cancelled while it waits": give_back_and_cancel,
    "succeeded": lambda lease: lease.succeed({}, {}),
}
NEEDED: dict[str, Callable[[Lease], None]] = {
    "preempted": Lease.give_back,
    "lost": lose,
    "failed": lambda lease: lease.fail(Failure.of(NotAVideo("text"))),
    "to be tried again": lambda lease: lease.fail(Failure.of(StorageUnavailable("away"))),
    "running": lambda lease: None,
}


@pytest.mark.parametrize("end", UNNEEDED)
def test_the_api_removes_what_the_worker_left(
    quick: JobQueue, settings: Settings, begun: Lease, end: str
) -> None:
    UNNEEDED[end](begun)
    CleanupThread(quick, settings).round()
    assert not folder(begun).exists()
    assert quick.redis.zcard(quick.cleanup.key) == 0


def published(lease: Lease, worker: str, attempt: int) -> Path:
    """The folder of complete results of an attempt."""
    spec = lease.record.spec
    results = Path(spec.results_prefix.removeprefix("file://"))
    (results / "crops").mkdir(parents=True)
    (results / result_name(spec, "masks")).write_bytes(b"masks")
    (results / "crops" / "1.jpg").write_bytes(b"picture")
    made_by = {"name": worker, "host": "h", "model_loads": 1, "attempt": attempt}
    (results / result_name(spec, "metadata")).write_text(json.dumps({"worker": made_by}))
    return results


def test_one_whose_worker_was_lost_as_it_published_leaves_no_results(
    quick: JobQueue, settings: Settings, begun: Lease
) -> None:
    """Its user was told that it is cancelled."""
    results = published(begun, begun.record.worker, 1)
    UNNEEDED["cancelled, its worker killed"](begun)
    CleanupThread(quick, settings).round()
    assert not [path for path in results.rglob("*") if path.is_file()]
    assert quick.redis.zcard(quick.cleanup.key) == 0


@pytest.mark.parametrize(("worker", "attempt"), [("another", 1), ("worker-1", 7)])
def test_results_of_an_earlier_run_stay(
    quick: JobQueue, settings: Settings, begun: Lease, worker: str, attempt: int
) -> None:
    results = published(begun, worker, attempt)
    before = sorted(results.rglob("*"))
    UNNEEDED["cancelled, its worker killed"](begun)
    CleanupThread(quick, settings).round()
    assert sorted(results.rglob("*")) == before
    assert quick.redis.zcard(quick.cleanup.key) == 0


@pytest.mark.parametrize("end", NEEDED)
def test_what_another_attempt_needs_stays(
    quick: JobQueue, settings: Settings, begun: Lease, end: str
) -> None:
    NEEDED[end](begun)
    CleanupThread(quick, settings).round()
    assert folder(begun).exists()


def test_one_that_is_queued_again_keeps_its_segments(
    quick: JobQueue, settings: Settings, begun: Lease
) -> None:
    UNNEEDED["cancelled, its worker killed"](begun)
    quick.retry(begun.record.id)
    CleanupThread(quick, settings).round()
    assert folder(begun).exists()


def test_storage_that_is_away_is_waited_for(
    quick: JobQueue, settings: Settings, begun: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun.succeed({}, {})
    away = settings.data_dir.with_name("away")
    settings.data_dir.rename(away)
    thread = CleanupThread(quick, settings)
    thread.round()
    assert quick.redis.zcard(quick.cleanup.key) == 1
    away.rename(settings.data_dir)
    thread.round()
    assert folder(begun).exists(), "not tried again at once"
    quick.redis.zadd(quick.cleanup.key, {begun.record.id: 1})
    thread.round()
    assert not folder(begun).exists()


def test_it_is_given_up_in_the_end(
    quick: JobQueue, settings: Settings, begun: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun.succeed({}, {})
    settings.data_dir.rename(settings.data_dir.with_name("away"))
    monkeypatch.setattr(cleanup, "GIVE_UP_S", 0.0)
    CleanupThread(quick, settings).round()
    assert quick.redis.zcard(quick.cleanup.key) == 0


def test_the_worker_takes_off_the_list_what_it_removes(
    quick: JobQueue, settings: Settings, begun: Lease
) -> None:
    begun.succeed({}, {})
    remover = PartRemover(quick, settings)
    remover.start(quick.records.get(begun.record.id))
    assert remover.wait(60)
    assert not folder(begun).exists()
    assert quick.redis.zcard(quick.cleanup.key) == 0


def test_the_worker_goes_first(quick: JobQueue) -> None:
    """A worker has a lease's time for what it ended itself."""
    queue = JobQueue(quick.redis, quick.name, retries=3, lease_s=60)
    queue.redis.zadd(queue.cleanup.key, {"a": 1})
    pipe = queue.redis.pipeline()
    queue.cleanup.add(pipe, "b")
    pipe.execute()
    assert queue.cleanup.due(queue.lease_s, 10) == ["a"]


def test_checkpoints_outlive_success_for_the_days_that_are_set(
    quick: JobQueue, settings: Settings, begun: Lease
) -> None:
    begun.succeed({}, {"engine": "sam3"})
    spec = begun.record.spec
    state = folder(begun) / state_name(2, 1, frame=40)
    for name in (state.name, state_name(3, 1), "00002-a1.masks.parquet"):
        (folder(begun) / name).write_bytes(b"")
    CleanupThread(quick, settings).round()
    assert list(folder(begun).iterdir()) == [state]
    due_at = quick.redis.zscore(quick.cleanup.key, spec.id)
    ended_at = quick.records.get(spec.id).finished_at or 0.0
    assert due_at == pytest.approx(ended_at + 7 * 24 * 3600, abs=60)
    quick.redis.zadd(quick.cleanup.key, {spec.id: 1})
    expired = settings.model_copy(update={"keep_checkpoints_days": 0})
    CleanupThread(quick, expired).round()
    assert not folder(begun).exists()
    assert quick.redis.zcard(quick.cleanup.key) == 0
