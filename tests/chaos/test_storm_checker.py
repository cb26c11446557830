"""The checker of the storm finds each kind of violation: planted one by one in what a calm Shoal
leaves, where it finds none."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from shoal.errors import SourceNotFound
from shoal.model.failure import Failure
from shoal.model.job import State
from shoal.model.record import TimelineEvent
from shoal.queue.connection import connect
from shoal.queue.queue import JobQueue, open_queue
from shoal.results.layout import metadata_name
from shoal.settings import Settings
from tests import media
from tests.chaos.storm.evidence import Content, Evidence, gather
from tests.chaos.storm.invariants import Kind, violations
from tests.chaos.storm.ledger import BatchEntry, Entry, Ledger, Wish
from tests.chaos.storm.plan import Video
from tests.chaos.storm.system import SECRET
from tests.ports import free_port
from tests.receiver import Receiver
from tests.running import Processes, eventually, started


@dataclass
class Case:
    """What there is, what users know, and what is right.

    Attributes:
        done, gone, batched: jobs that succeeded, were cancelled, and came in a batch.
    """

    found: Evidence
    ledger: Ledger
    reference: dict[str, Content]
    done: str
    gone: str
    batched: str

    def kinds(self) -> set[Kind]:
        return {each.kind for each in violations(self.found, self.ledger, self.reference)}


@dataclass
class Calm:
    """A Shoal to which nothing happened."""

    queue: JobQueue
    settings: Settings
    receiver: Receiver
    case: Case


@pytest.fixture(scope="module")
def calm(valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Calm]:
    folder = tmp_path_factory.mktemp("calm")
    settings = Settings(
        redis_url=valkey_url,
        data_dir=folder / "data",
        work_dir=folder / "work",
        beat_s=0.5,
        lease_s=12,  # which a worker that stands still for a moment keeps
        api_port=free_port(),
    )
    settings.data_dir.mkdir()
    redis = connect(settings)
    redis.flushall()
    queue = open_queue(settings, redis)
    receiver = Receiver()
    with started(settings, queue, folder / "logs") as processes:
        case = run(processes, receiver, folder)
    yield Calm(queue, settings, receiver, case)
    receiver.close()
    redis.close()


def run(processes: Processes, receiver: Receiver, folder: Path) -> Case:
    """One video succeeds, one is cancelled, and a batch has one."""
    queue, settings = processes.queue, processes.settings
    processes.env |= {"SHOAL_CALLBACK_SECRET": SECRET, "SHOAL_CALLBACK_ALLOW": "127.0.0.0/8"}
    client = processes.api()
    uris = []
    for name in ("done", "gone", "batched"):
        media.write_video(settings.data_dir / f"{name}.mp4", frames=10)
        uris.append((settings.data_dir / f"{name}.mp4").as_uri())
    hooks = [f"http://127.0.0.1:{receiver.port}/{number}" for number in range(3)]
    done = client.submit(uris[0], ["person"], callback=hooks[0], sample_fps=0).id
    client.pause()
    gone = client.submit(uris[1], ["person"], callback=hooks[1], sample_fps=0).id
    client.cancel(gone)
    batch = client.batches.submit(["person"], uris=[uris[2]], callback=hooks[2], sample_fps=0)
    client.resume()
    worker = processes.worker()
    eventually(lambda: client.batches.get(batch.id).is_over, "the batch to end")
    client.wait(done)
    eventually(lambda: len({headers[":path"] for headers, _ in receiver.got}) == 3, "the webhooks")
    eventually(lambda: not queue.redis.exists(queue.callbacks.due_key), "their answers to be noted")
    eventually(
        lambda: not queue.redis.exists(queue.cleanup.key), "the cancelled one to be cleaned up"
    )
    worker.terminate()
    worker.wait()
    batched = next(iter(client.batches.videos(batch.id))).id
    found = gather(queue, receiver, settings, folder / "evidence")
    entries = [
        Entry(Video("v", "file", 0, ("person",)), uri, job, asked=True, accepted=True)
        for uri, job in zip(uris, (done, gone, batched), strict=True)
    ]
    for entry, hook in zip(entries[:2], hooks, strict=False):
        entry.hooks.append(hook)
    entries[1].wish = Wish.CANCELLED
    ledger = Ledger(entries)
    ledger.batches.append(BatchEntry(entries[2:], hooks[2], batch.id))
    return Case(found, ledger, copy.deepcopy(found.contents), done, gone, batched)


@pytest.fixture
def case(calm: Calm) -> Case:
    """A copy to plant something in."""
    ledger = Ledger([replace(entry) for entry in calm.case.ledger.entries])
    ledger.batches = list(calm.case.ledger.batches)
    return replace(calm.case, found=copy.deepcopy(calm.case.found), ledger=ledger)


def test_nothing_is_found_where_nothing_happened(case: Case) -> None:
    assert violations(case.found, case.ledger, case.reference) == []
    states = [case.found.records[job].state for job in (case.done, case.gone, case.batched)]
    assert states == [State.SUCCEEDED, State.CANCELLED, State.SUCCEEDED]
    assert all(content.masks for content in case.reference.values())


# --- what is planted ------------------------------------------------------------------------------


def event(case: Case, job: str, name: str) -> None:
    timeline = case.found.timelines[job]
    timeline.append(TimelineEvent(at=timeline[-1].at + 60, event=name))


def result(case: Case, ending: str) -> str:
    prefix = case.found.records[case.done].spec.results_prefix
    return next(uri for uri in case.found.files if uri.startswith(prefix) and uri.endswith(ending))


def lose_record(case: Case) -> None:
    del case.found.records[case.done]


def leave_running(case: Case) -> None:
    case.found.records[case.done].state = State.RUNNING


def begin_again(case: Case) -> None:
    event(case, case.done, "started")


def end_twice(case: Case) -> None:
    event(case, case.done, "succeeded")


def end_otherwise(case: Case) -> None:
    event(case, case.gone, "failed")


def lose_result(case: Case) -> None:
    del case.found.files[result(case, "_masks.parquet")]


def keep_temporary_file(case: Case) -> None:
    case.found.files[result(case, "_masks.parquet") + ".tmp"] = 1


def shorten_result(case: Case) -> None:
    case.found.files[result(case, ".mp4")] -= 1


def double_row(case: Case) -> None:
    rows = case.found.contents[case.done].masks
    rows.insert(0, rows[0])


def change_row(case: Case) -> None:
    case.found.contents[case.done].masks[0]["score"] = 0.123


def drop_picture(case: Case) -> None:
    case.found.contents[case.done].times.pop()


def lose_content(case: Case) -> None:
    del case.found.contents[case.done]


def publish_cancelled(case: Case) -> None:
    spec = case.found.records[case.gone].spec
    case.found.files[spec.results_prefix + metadata_name(spec)] = 1


def publish_for_nobody(case: Case) -> None:
    root = case.found.records[case.gone].spec.results
    case.found.files[f"{root}/{'0' * 24}/x_metadata.json"] = 1


def undo_cancel(case: Case) -> None:
    case.found.records[case.gone].attempt += 1


def fail_cancelled(case: Case) -> None:
    case.found.records[case.gone].state = State.FAILED


def cancel_unasked(case: Case) -> None:
    case.found.records[case.done].state = State.CANCELLED


def lose_from_index(case: Case) -> None:
    case.found.indexes["jobs:succeeded"].discard(case.done)


def keep_in_index(case: Case) -> None:
    case.found.indexes.setdefault("jobs:running", set()).add(case.done)


def count_twice(case: Case) -> None:
    case.found.totals["jobs:succeeded"] += 1


def count_attempt_twice(case: Case) -> None:
    case.found.totals["attempts:succeeded"] += 1


def note_attempt_twice(case: Case) -> None:
    case.found.attempts[case.done] *= 2


def count_batch_twice(case: Case) -> None:
    case.found.batches[0].objects_seen += 1


def lose_batch_count(case: Case) -> None:
    case.found.batches[0].counts[State.SUCCEEDED] = 0


def count_attempt_of_batch_twice(case: Case) -> None:
    case.found.batch_totals[case.found.batches[0].id]["attempts:succeeded"] += 1


def leave_batch_open(case: Case) -> None:
    case.found.batches[0].counts[State.QUEUED] = 1


def reject_video(case: Case) -> None:
    case.found.batches[0].rejected["source_not_found"] = 1


def tell_nobody(case: Case) -> None:
    case.found.messages = [each for each in case.found.messages if each.job != case.done]


def tell_batch_nothing(case: Case) -> None:
    case.found.messages = [each for each in case.found.messages if each.job != case.batched]


def tell_failure(case: Case) -> None:
    case.found.messages.append(replace(case.found.messages[0], state="failed"))


def tell_too_soon(case: Case) -> None:
    first = case.found.messages[0]
    case.found.messages.append(replace(first, finished_at=first.finished_at - 30))


def leave_part(case: Case) -> None:
    spec = case.found.records[case.gone].spec
    case.found.files[f"{spec.parts_folder(spec.id)}00001-a1.state"] = 1


def leave_lease(case: Case) -> None:
    case.found.keys.append("shoal:leases")


def leave_place_of_running(case: Case) -> None:
    case.found.keys.append("shoal:line:running:batch:1")


def leave_timeline(case: Case) -> None:
    case.found.keys.append(f"shoal:timeline:{'0' * 24}")


def leave_process(case: Case) -> None:
    case.found.left.append("a model process")


def end_by_itself(case: Case) -> None:
    case.found.events.append("worker-1 ended by itself")


def fail_without_cause(case: Case) -> None:
    error = Failure.of(SourceNotFound("there is no such file"))
    case.found.attempts[case.done][0].error = error


PLANTED: dict[Kind, list[Callable[[Case], None]]] = {
    Kind.FINAL: [lose_record, leave_running, begin_again, end_twice, end_otherwise],
    Kind.RESULTS: [
        lose_result,
        keep_temporary_file,
        shorten_result,
        double_row,
        change_row,
        drop_picture,
        lose_content,
        publish_cancelled,
        publish_for_nobody,
    ],
    Kind.CANCEL: [undo_cancel, fail_cancelled, cancel_unasked],
    Kind.BOOKS: [
        lose_from_index,
        keep_in_index,
        count_twice,
        count_attempt_twice,
        note_attempt_twice,
        count_batch_twice,
        lose_batch_count,
        count_attempt_of_batch_twice,
        leave_batch_open,
        reject_video,
    ],
    Kind.WEBHOOKS: [tell_nobody, tell_batch_nothing, tell_failure, tell_too_soon],
    Kind.LEFT: [leave_part, leave_lease, leave_place_of_running, leave_timeline, leave_process],
    Kind.CONDUCT: [end_by_itself, fail_without_cause],
}


@pytest.mark.parametrize(
    ("kind", "plant"),
    [(kind, plant) for kind, some in PLANTED.items() for plant in some],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_planted_violation_is_found(
    case: Case, kind: Kind, plant: Callable[[Case], None]
) -> None:
    plant(case)
    assert kind in case.kinds()


def test_all_kinds_are_planted() -> None:
    assert PLANTED.keys() == set(Kind)


def test_what_is_really_there_is_seen(calm: Calm, tmp_path: Path) -> None:
    """In Redis and on disk, not only in what was read from them."""
    queue, case = calm.queue, calm.case
    spec = case.found.records[case.gone].spec
    parts = Path(spec.parts_folder(spec.id).removeprefix("file://"))
    parts.mkdir(parents=True)
    (parts / "00001-a1.state").touch()
    queue.redis.zadd(queue.leases_key, {case.done: 1.0})
    queue.redis.zrem("shoal:jobs:succeeded", case.done)
    # These go by themselves: a key that expires, and the name of a worker that was killed.
    queue.redis.set("rq:execution:1", "", px=10**6)
    queue.redis.sadd("shoal:workers", "killed")
    found = gather(queue, calm.receiver, calm.settings, tmp_path)
    told = {str(each) for each in violations(found, case.ledger, case.reference)}
    assert told == {
        f"left over: {(parts / '00001-a1.state').as_uri()}",
        f"left over: key {queue.leases_key}",
        f"books: jobs:succeeded lacks ['{case.done}'], has besides []",
    }
