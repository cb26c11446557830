"""Batches: every object once, whatever happens in the middle; counts that are those of the jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from api.background.batch_runner import PAGE, BatchRunner
from shoal.client import Client
from shoal.errors import ApiError, BatchNotFound, SourceNotFound, VideoError
from shoal.ingest.rules_file import RulesFile
from shoal.model.batch import BatchRequest, BatchState
from shoal.model.failure import Failure
from shoal.model.filter import Filter
from shoal.model.job import State
from shoal.model.record import Progress
from shoal.queue import cancelling
from shoal.queue.batches import Batches
from shoal.queue.cancelling import cancel_waiting
from shoal.queue.maintenance import Maintenance
from shoal.queue.queue import JobQueue
from shoal.settings import Settings
from shoal.storage import gcs, s3
from tests.buckets import clients_of, make_bucket
from tests.integration.test_queue import spec
from tests.running import Processes, eventually
from tests.serving import served, take, waiting, write_video

MANY = 1_100  # more than a page of either store, and more than five of ours

Put = Callable[[str], object]


@pytest.fixture
def batches(queue: JobQueue) -> Batches:
    return Batches(queue)


@pytest.fixture
def expander(queue: JobQueue, settings: Settings) -> BatchRunner:
    """Works when it is told to."""
    return BatchRunner(queue, RulesFile(settings), settings)


def work(expander: BatchRunner) -> None:
    while expander.round():
        pass


def files(settings: Settings, count: int) -> str:
    """So many files in some folders; gives the pattern of all."""
    for number in range(count):
        write_video(settings, f"in/{number % 7}/match {number}.mp4")
    return (settings.data_dir / "in").as_uri() + "/**/*.mp4"


def asked(**fields: object) -> BatchRequest:
    return BatchRequest.model_validate({"prompts": ["person"], **fields})


def queued(queue: JobQueue) -> list[str]:
    return waiting(queue)


# --- looking up ----------------------------------------------------------------------------------


@pytest.fixture(params=["file", "gs", "s3"])
def place(
    request: pytest.FixtureRequest,
    bucket_servers: dict[str, dict[str, str]],
    settings: Settings,
) -> Iterator[tuple[str, Put]]:
    """The URI of an empty bucket or folder, and what writes an object there."""
    if request.param == "file":
        folder = settings.data_dir / "bucket"
        folder.mkdir(parents=True)
        yield folder.as_uri(), lambda key: write_video(settings, f"bucket/{key}")
        return
    with clients_of(bucket_servers[request.param]):
        uri = make_bucket(request.param)
        name = uri.rpartition("/")[2]
        if request.param == "gs":
            bucket = gcs._client().bucket(name)
            yield uri, lambda key: bucket.blob(key).upload_from_string(b"x")
        else:
            yield uri, lambda key: s3._client().put_object(Bucket=name, Key=key, Body=b"x") and None


def test_every_object_of_a_pattern_is_a_job_once(
    place: tuple[str, Put], batches: Batches, expander: BatchRunner, queue: JobQueue
) -> None:
    bucket, put = place
    keys = [f"m/{n % 3}/{n // 3 % 2}/+%20 {n}.mp4" for n in range(MANY)]
    others = ["m/notes.txt", "m/0/.hidden.mp4", "n/x.mp4", "x.mp4", "m/a_segmented.mp4.tmp"]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, keys + others))
    batch = batches.create(asked(globs=[f"{bucket}/m/**"]))
    work(expander)
    status = batches.status(batches.get(batch.id))
    assert (status.state, status.videos, status.objects_seen) == (
        BatchState.RUNNING, MANY, MANY + 3,
    )  # fmt: skip
    assert status.counts[State.QUEUED] == len(set(queued(queue))) == MANY
    assert status.skipped == {"temporary_name": 2, "wrong_suffix": 1}
    uris = {queue.records.get(i).spec.uri for i in queued(queue)}
    assert len(uris) == MANY
    assert all(uri.startswith(f"{bucket}/m/") for uri in uris)

    again = batches.create(asked(globs=[f"{bucket}/m/**/*.mp4"]))
    work(expander)
    assert batches.status(again).videos == MANY
    assert queue.depth().queued == len(queued(queue)) == MANY


@pytest.mark.parametrize("name", ["clip[1].mp4", "a*b.mp4", "what?.mp4", "[].mp4", "[!x]-*.mp4"])
def test_a_pattern_that_is_the_name_of_an_object_is_that_object(
    place: tuple[str, Put], batches: Batches, expander: BatchRunner, queue: JobQueue, name: str
) -> None:
    bucket, put = place
    for key in (name, "clip1.mp4", "ab.mp4", "what1.mp4", "y-1.mp4"):
        put(f"in/{key}")
    batches.create(asked(globs=[f"{bucket}/in/{name}"]))
    work(expander)
    (job_id,) = queued(queue)
    assert queue.records.get(job_id).spec.stem == name.removesuffix(".mp4")


def test_a_bracket_itself_is_written_in_brackets(
    place: tuple[str, Put], batches: Batches, expander: BatchRunner, queue: JobQueue
) -> None:
    bucket, put = place
    for key in ("clip[1].mp4", "clip[22].mp4", "clip1.mp4"):
        put(f"in/{key}")
    batches.create(asked(globs=[f"{bucket}/in/clip[[]*].mp4"]))
    work(expander)
    stems = {queue.records.get(each).spec.stem for each in queued(queue)}
    assert stems == {"clip[1]", "clip[22]"}


def test_exemplars_and_track_fps_are_those_of_every_video(
    settings: Settings, queue: JobQueue, batches: Batches, expander: BatchRunner
) -> None:
    uris = [write_video(settings, name).as_uri() for name in ("a.mp4", "b.mp4")]
    shown = {"prompt": "buoy", "frame": 3, "box": [1, 2, 30, 40]}
    batches.create(asked(prompts=[], uris=uris, exemplars=[shown], options={"track_fps": 2.5}))
    work(expander)
    specs = [queue.records.get(each).spec for each in queued(queue)]
    assert [[each.prompt for each in spec.exemplars] for spec in specs] == [["buoy"], ["buoy"]]
    assert [spec.options.track_fps for spec in specs] == [2.5, 2.5]


def test_uris_are_judged_one_by_one(settings: Settings, queue: JobQueue) -> None:
    good = [write_video(settings, f"{n}.mp4").as_uri() for n in range(PAGE + 5)]
    bad = ["file:///etc/passwd", (settings.data_dir / "no.mp4").as_uri(), "ftp://x/y.mp4", "x.mp4"]
    with served(settings) as url, Client(url) as client:
        batch = client.batches.submit("person", uris=[*bad, *good, good[0]], name="weekly")
        eventually(lambda: client.batches.get(batch.id).state == "running", "the batch")
        status = client.batches.get(batch.id)
        assert (status.videos, status.uris, status.name) == (len(good), len(good) + 5, "weekly")
        assert status.rejected == {
            "unsupported_location": 2, "location_forbidden": 1, "source_not_found": 1,
        }  # fmt: skip
        skips = client.batches.skipped(batch.id)
        assert {skip.uri for skip in skips} == set(bad)
        assert all(skip.detail for skip in skips)
        videos = list(client.batches.videos(batch.id))
        assert sorted(record.spec.uri for record in videos) == sorted(good)
        assert [b.id for b in client.batches.list()] == [batch.id]


def test_a_link_in_a_pattern_is_followed(
    settings: Settings, batches: Batches, expander: BatchRunner
) -> None:
    files(settings, 8)
    (settings.data_dir / "link").symlink_to(settings.data_dir / "in")
    batch = batches.create(asked(globs=[f"{settings.data_dir.as_uri()}/link/0/*.mp4"]))
    work(expander)
    assert batches.status(batch).videos == 2


def test_results_are_no_videos(settings: Settings, batches: Batches, expander: BatchRunner) -> None:
    write_video(settings, "results/in/x/0123456789abcdef01234567/x_segmented.mp4")
    write_video(settings, "in/x.mp4")
    batch = batches.create(asked(globs=[settings.data_dir.as_uri() + "/"]))
    work(expander)
    status = batches.status(batch)
    assert (status.videos, status.skipped) == (1, {"own_result": 1})


def test_a_lost_page_is_looked_at_again(
    settings: Settings, batches: Batches, expander: BatchRunner, queue: JobQueue
) -> None:
    """Its jobs are there, and stay what they have become."""
    pattern = files(settings, PAGE + 50)
    batch = batches.create(asked(globs=[pattern]))
    expander.round()
    queue.cancel(queued(queue)[0])
    before = batches.get(batch.id)
    forgotten = before.model_copy(update={"cursor": batch.cursor})
    queue.redis.set(batches.key(batch.id), forgotten.model_dump_json(exclude_defaults=True))
    expander.close()
    work(expander)
    status = batches.status(batch)
    assert status.videos == PAGE + 50
    assert status.counts[State.CANCELLED] == 1
    # Two APIs that look at one page at a time: one of them counts.
    seen = status.objects_seen
    batches.advance(before, before.cursor.model_copy(update={"after": "x"}), seen=PAGE)
    assert batches.status(batch).objects_seen == seen


def test_an_api_that_is_killed_is_continued(
    settings: Settings, queue: JobQueue, batches: Batches, processes: Processes
) -> None:
    pattern = files(settings, 5 * PAGE)
    client = processes.api()
    batch = client.batches.submit("person", globs=[pattern])
    eventually(lambda: batches.get(batch.id).cursor.after, "the first page")
    processes.running[0].kill()
    processes.running[0].wait()
    at_death = batches.get(batch.id)
    assert at_death.is_expanding
    client = processes.api()
    eventually(lambda: not batches.get(batch.id).is_expanding, "the rest")
    status = client.batches.get(batch.id)
    assert (status.videos, status.objects_seen, status.state) == (5 * PAGE, 5 * PAGE, "running")
    jobs = queued(queue)
    assert len(jobs) == len(set(jobs)) == 5 * PAGE


def test_one_api_has_a_batch_at_a_time(
    settings: Settings, queue: JobQueue, batches: Batches, expander: BatchRunner
) -> None:
    batch = batches.create(asked(globs=[files(settings, 3 * PAGE)]))
    expander.round()
    other = BatchRunner(queue, RulesFile(settings), settings)
    assert other.round() is False
    expander.close()
    assert other.round() is True
    work(other)
    assert batches.status(batch).videos == 3 * PAGE


def test_batches_take_turns(settings: Settings, batches: Batches, expander: BatchRunner) -> None:
    large = batches.create(asked(globs=[files(settings, 8 * PAGE)]))
    small = batches.create(asked(uris=[write_video(settings, "one.mp4").as_uri()]))
    while batches.get(small.id).is_expanding:  # two rounds, or more where a slow one cost the lock
        expander.round()
    assert batches.status(batches.get(small.id)).videos == 1
    assert batches.status(batches.get(large.id)).state == BatchState.EXPANDING


def test_what_stops_the_looking_up_is_told_and_a_retry_goes_on(
    settings: Settings, batches: Batches, expander: BatchRunner
) -> None:
    batch = batches.create(asked(globs=[files(settings, 2 * PAGE + 10)]))
    expander.round()
    expander.close()
    folder = settings.data_dir / "in"
    folder.rename(settings.data_dir / "away")
    work(expander)
    status = batches.status(batches.get(batch.id))
    assert status.error
    assert status.error.code == SourceNotFound.code
    assert (status.videos, status.state) == (PAGE, BatchState.RUNNING)
    assert not batches.get(batch.id).has_work
    (settings.data_dir / "away").rename(folder)
    batches.retry(batch.id)
    expander._not_before.clear()
    work(expander)
    status = batches.status(batches.get(batch.id))
    assert (status.videos, status.objects_seen) == (2 * PAGE + 10, 2 * PAGE + 10)
    assert status.error is None


# --- what becomes of the jobs --------------------------------------------------------------------


def failure() -> Failure:
    return Failure.of(VideoError("broken"))


def test_the_counts_are_those_of_the_jobs(
    settings: Settings, queue: JobQueue, batches: Batches, expander: BatchRunner
) -> None:
    batch = batches.create(asked(globs=[files(settings, 10)]))
    work(expander)
    for _ in range(3):
        take(queue).fail(failure())
    take(queue).succeed({}, {})
    take(queue)
    queue.cancel(queued(queue)[0])
    status = batches.status(batches.get(batch.id))
    assert status.counts == {
        State.QUEUED: 4, State.RUNNING: 1, State.SUCCEEDED: 1, State.FAILED: 3, State.CANCELLED: 1,
    }  # fmt: skip
    assert status.failures == {VideoError.code: 3}
    assert status.progress == 0.5
    assert not status.is_over
    for state, count in status.counts.items():
        found, _ = queue.records.page(Filter(batch=batch.id, state=state))
        assert len(found) == count
        assert {record.state for record in found} == {state}
    found, _ = queue.records.page(Filter(batch=batch.id, cause=VideoError.code))
    assert len(found) == 3


def test_time_spent_and_left(
    settings: Settings, queue: JobQueue, batches: Batches, expander: BatchRunner
) -> None:
    other = batches.create(asked(uris=[write_video(settings).as_uri()]))
    work(expander)
    take(queue).succeed({}, {})
    batch = batches.create(asked(globs=[files(settings, 4)]))
    work(expander)
    assert batches.status(batches.get(batch.id)).eta_s is None
    for spent in (90, 110):
        lease = take(queue)
        key = queue.records.key(lease.record.id)
        queue.redis.hset(key, "started_at", lease.record.started_at - spent)  # type: ignore[operator]
        lease.succeed({}, {})
    lease = take(queue)
    lease.heartbeat(Progress(stage="predict", frames=25, frames_expected=100, fps=5.0))
    status = batches.status(batches.get(batch.id))
    assert status.gpu_seconds == pytest.approx(200, abs=5)
    assert status.progress == pytest.approx(2.25 / 4)
    assert status.eta_s is None  # no worker has said that it lives
    assert batches.status(batches.get(other.id)).gpu_seconds < 50


def test_a_cancelled_batch_queues_no_more(
    settings: Settings, queue: JobQueue, batches: Batches, expander: BatchRunner
) -> None:
    batch = batches.create(asked(globs=[files(settings, 3 * PAGE)]))
    expander.round()
    done, running = take(queue), take(queue)
    done.succeed({}, {})
    batches.cancel(batch.id)
    assert batches.status(batches.get(batch.id)).state == BatchState.CANCELLING
    work(expander)
    status = batches.status(batches.get(batch.id))
    assert status.state == BatchState.CANCELLED
    assert status.counts[State.CANCELLED] == PAGE - 2
    assert status.counts[State.SUCCEEDED] == status.counts[State.RUNNING] == 1
    assert queue.records.get(running.record.id).cancel_requested
    assert not status.is_over  # one is yet to stop
    running.cancel()
    assert batches.status(batches.get(batch.id)).is_over
    assert queued(queue) == []
    # Submitted anew, it goes on with what is not done.
    again = batches.create(batch.work.model_copy(update={"uris": []}))  # type: ignore[arg-type]
    work(expander)
    assert batches.status(again).counts[State.QUEUED] == 3 * PAGE - 1


def test_only_what_failed_is_retried_and_once(
    settings: Settings, queue: JobQueue, batches: Batches, expander: BatchRunner
) -> None:
    count = PAGE + 20
    batch = batches.create(asked(globs=[files(settings, count + 2)]))
    work(expander)
    take(queue).succeed({}, {})
    queue.cancel(queued(queue)[-1])
    for _ in range(count):
        take(queue).fail(failure())
    assert batches.status(batches.get(batch.id)).state == BatchState.FINISHED
    batches.retry(batch.id)
    expander.round()
    first = take(queue)
    first.fail(failure())  # fails again, while others are still to be retried
    work(expander)
    status = batches.status(batches.get(batch.id))
    assert status.counts == {
        State.QUEUED: count - 1, State.RUNNING: 0,
        State.SUCCEEDED: 1, State.FAILED: 1, State.CANCELLED: 1,
    }  # fmt: skip
    assert queue.records.get(first.record.id).state == State.FAILED
    assert len(set(queued(queue))) == len(queued(queue)) == count - 1


def test_a_batch_is_forgotten_with_its_jobs(
    settings: Settings, queue: JobQueue, batches: Batches, expander: BatchRunner
) -> None:
    batch = batches.create(asked(globs=[files(settings, 2)], uris=["file:///x"]))
    upkeep = Maintenance(queue, retention_days=1e-9)
    upkeep.forget_old()
    assert batches.get(batch.id).has_work
    work(expander)
    take(queue).succeed({}, {})
    upkeep.forget_old()
    assert batches.status(batches.get(batch.id)).videos == 1
    take(queue).fail(failure())
    upkeep.forget_old()
    with pytest.raises(BatchNotFound):
        batches.get(batch.id)
    assert list(queue.redis.scan_iter("*batch*")) == []


# --- over HTTP -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"globs": ["gs://*/x"]}, "invalid_request"),
        ({"globs": ["ftp://x/**"]}, "unsupported_location"),
        ({"globs": ["file:///etc/*"]}, "location_forbidden"),
        ({"uris": ["x"] * 10_001}, "invalid_request"),
        ({"uris": ["x" * 4000] * 400}, "upload_too_large"),
        ({}, "invalid_request"),
        ({"uris": ["file:///x"], "engine": "none"}, "unknown_engine"),
        (
            {"uris": ["file:///x"], "objects": [{"object_id": 3, "frame": 0, "box": [1, 2, 3, 4]}]},
            "invalid_visual_prompt",
        ),
        ({"uris": ["file:///x"], "callback": "https://example.com"}, "callbacks_off"),
    ],
)
def test_a_wrong_batch_is_refused_at_once(
    client: Client, fields: dict[str, object], code: str
) -> None:
    with pytest.raises(ApiError) as caught:
        client.batches.submit("person", **fields)  # type: ignore[arg-type]
    assert caught.value.remote_code == code
    assert list(client.batches.list()) == []


def test_a_folder_that_is_not_there_is_told_at_once(client: Client, settings: Settings) -> None:
    with pytest.raises(ApiError) as caught:
        client.batches.submit("person", globs=[settings.data_dir.as_uri() + "/no/*.mp4"])
    assert caught.value.remote_code == SourceNotFound.code


def test_batches_are_listed_in_pages(client: Client) -> None:
    made = [client.batches.submit("person", uris=[f"file:///{n}"]).id for n in range(23)]
    assert [batch.id for batch in client.batches.list()] == made[::-1]
    assert len(list(client.batches.list(limit=5))) == 5


def test_there_is_no_such_batch(client: Client) -> None:
    calls: list[Callable[[str], object]] = [
        client.batches.get,
        client.batches.cancel,
        client.batches.retry,
        client.batches.skipped,
        lambda batch_id: list(client.batches.videos(batch_id)),
    ]
    for call in calls:
        with pytest.raises(ApiError) as caught:
            call("nothing")
        assert caught.value.remote_code == BatchNotFound.code


def test_a_cancelled_batch_is_not_retried(client: Client, video: Path) -> None:
    batch = client.batches.submit("person", uris=[video.as_uri()])
    client.batches.cancel(batch.id)
    *_, last = client.batches.watch(batch.id, poll_s=0.05)
    assert last.state == BatchState.CANCELLED
    with pytest.raises(ApiError) as caught:
        client.batches.retry(batch.id)
    assert caught.value.remote_code == "state_conflict"


# --- cancelling in chunks ------------------------------------------------------------------------


def test_many_that_wait_are_cancelled_in_chunks(queue: JobQueue, batches: Batches) -> None:
    """With all that one cancel does, and what has changed in between is left as it is."""
    hook = "https://example.com/"
    ids = [queue.submit(spec(f"{n}.mp4"), callback=hook, batch="b")[0].id for n in range(150)]
    other = queue.submit(spec("other.mp4"))[0].id
    first = take(queue)
    found = cancel_waiting(queue, "b", 1000)
    assert {record.id for record in found} == set(ids[1:])
    assert queued(queue) == [other]
    assert queue.records.counts()[State.CANCELLED] == 149
    assert len(queue.callbacks.due(500)) == 149
    assert queue.records.totals.read()["jobs:cancelled"] == 149
    assert [event.event for event in queue.records.timeline(ids[5])] == ["queued", "cancelled"]
    record = queue.records.get(ids[5])
    assert (record.state, bool(record.finished_at)) == (State.CANCELLED, True)
    first.succeed({}, {})
    assert cancel_waiting(queue, "b", 1000) == []


def test_what_a_worker_takes_meanwhile_is_not_cancelled_behind_its_back(
    queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [queue.submit(spec(f"{n}.mp4"), batch="b")[0].id for n in range(3)]
    build = cancelling._commands

    def slowly(*args: Any) -> Any:
        if not queue.redis.zcard(queue.leases_key):
            take(queue)
        return build(*args)

    monkeypatch.setattr(cancelling, "_commands", slowly)
    assert {record.id for record in cancel_waiting(queue, "b", 10)} == set(ids[1:])
    assert queue.records.get(ids[0]).state == State.RUNNING
