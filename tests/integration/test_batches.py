"""Expansion of batches: every object is one job, whatever happens in the middle."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from api.background.batch_runner import PAGE, BatchRunner
from shoal.client import Client
from shoal.errors import SourceNotFound
from shoal.ingest.rules_file import RulesFile
from shoal.model.batch import BatchState
from shoal.model.job import State
from shoal.queue.batches import Batches
from shoal.queue.queue import JobQueue
from shoal.settings import Settings
from shoal.storage import gcs, s3
from tests.buckets import clients_of, make_bucket
from tests.integration.batching import expand, request_of, write_videos
from tests.running import Processes, eventually, is_ready
from tests.serving import served, waiting, write_video

MANY = 1_100  # more than a page of either store, and more than five of ours

Put = Callable[[str], object]


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
    place: tuple[str, Put], batches: Batches, runner: BatchRunner, queue: JobQueue
) -> None:
    bucket, put = place
    keys = [f"m/{n % 3}/{n // 3 % 2}/+%20 {n}.mp4" for n in range(MANY)]
    others = ["m/notes.txt", "m/0/.hidden.mp4", "n/x.mp4", "x.mp4", "m/a_segmented.mp4.tmp"]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, keys + others))
    batch = batches.create(request_of(globs=[f"{bucket}/m/**"]))
    expand(runner)
    status = batches.status(batches.get(batch.id))
    assert (status.state, status.videos, status.objects_seen) == (
        BatchState.RUNNING, MANY, MANY + 3,
    )  # fmt: skip
    assert status.counts[State.QUEUED] == len(set(waiting(queue))) == MANY
    assert status.skipped == {"temporary_name": 2, "wrong_suffix": 1}
    uris = {queue.records.get(i).spec.uri for i in waiting(queue)}
    assert len(uris) == MANY
    assert all(uri.startswith(f"{bucket}/m/") for uri in uris)

    again = batches.create(request_of(globs=[f"{bucket}/m/**/*.mp4"]))
    expand(runner)
    assert batches.status(again).videos == MANY
    assert queue.depth().queued == len(waiting(queue)) == MANY


@pytest.mark.parametrize("name", ["clip[1].mp4", "a*b.mp4", "what?.mp4", "[].mp4", "[!x]-*.mp4"])
def test_a_pattern_that_is_the_name_of_an_object_is_that_object(
    place: tuple[str, Put], batches: Batches, runner: BatchRunner, queue: JobQueue, name: str
) -> None:
    bucket, put = place
    for key in (name, "clip1.mp4", "ab.mp4", "what1.mp4", "y-1.mp4"):
        put(f"in/{key}")
    batches.create(request_of(globs=[f"{bucket}/in/{name}"]))
    expand(runner)
    (job_id,) = waiting(queue)
    assert queue.records.get(job_id).spec.stem == name.removesuffix(".mp4")


def test_a_bracket_itself_is_written_in_brackets(
    place: tuple[str, Put], batches: Batches, runner: BatchRunner, queue: JobQueue
) -> None:
    bucket, put = place
    for key in ("clip[1].mp4", "clip[22].mp4", "clip1.mp4"):
        put(f"in/{key}")
    batches.create(request_of(globs=[f"{bucket}/in/clip[[]*].mp4"]))
    expand(runner)
    stems = {queue.records.get(each).spec.stem for each in waiting(queue)}
    assert stems == {"clip[1]", "clip[22]"}


def test_exemplars_and_track_fps_are_those_of_every_video(
    settings: Settings, queue: JobQueue, batches: Batches, runner: BatchRunner
) -> None:
    uris = [write_video(settings, name).as_uri() for name in ("a.mp4", "b.mp4")]
    shown = {"prompt": "buoy", "frame": 3, "box": [1, 2, 30, 40]}
    batches.create(request_of(prompts=[], uris=uris, exemplars=[shown], options={"track_fps": 2.5}))
    expand(runner)
    specs = [queue.records.get(each).spec for each in waiting(queue)]
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
    settings: Settings, batches: Batches, runner: BatchRunner
) -> None:
    write_videos(settings, 8)
    (settings.data_dir / "link").symlink_to(settings.data_dir / "in")
    batch = batches.create(request_of(globs=[f"{settings.data_dir.as_uri()}/link/0/*.mp4"]))
    expand(runner)
    assert batches.status(batch).videos == 2


def test_results_are_no_videos(settings: Settings, batches: Batches, runner: BatchRunner) -> None:
    write_video(settings, "results/in/x/0123456789abcdef01234567/x_segmented.mp4")
    write_video(settings, "in/x.mp4")
    batch = batches.create(request_of(globs=[settings.data_dir.as_uri() + "/"]))
    expand(runner)
    status = batches.status(batch)
    assert (status.videos, status.skipped) == (1, {"own_result": 1})


def test_a_lost_page_is_looked_at_again(
    settings: Settings, batches: Batches, runner: BatchRunner, queue: JobQueue
) -> None:
    """Its jobs are there, and stay what they have become."""
    pattern = write_videos(settings, PAGE + 50)
    batch = batches.create(request_of(globs=[pattern]))
    runner.round()
    queue.cancel(waiting(queue)[0])
    before = batches.get(batch.id)
    forgotten = before.model_copy(update={"cursor": batch.cursor})
    queue.redis.set(batches.key(batch.id), forgotten.model_dump_json(exclude_defaults=True))
    runner.close()
    expand(runner)
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
    pattern = write_videos(settings, 5 * PAGE)
    dying = processes.start("tests.integration.halting_api")
    with Client(f"http://127.0.0.1:{settings.api_port}") as client:
        eventually(lambda: is_ready(client), "the API to answer")
        batch = client.batches.submit("person", globs=[pattern])
    queued = 3 * PAGE
    eventually(lambda: queue.depth().queued == queued, "a page that is queued and not kept", 120)
    dying.kill()
    dying.wait()
    assert batches.status(batches.get(batch.id)).objects_seen == 2 * PAGE
    client = processes.api()
    eventually(lambda: not batches.get(batch.id).is_expanding, "the rest", 120)
    status = client.batches.get(batch.id)
    assert (status.videos, status.objects_seen, status.state) == (5 * PAGE, 5 * PAGE, "running")
    jobs = waiting(queue)
    assert len(jobs) == len(set(jobs)) == 5 * PAGE


def test_one_api_has_a_batch_at_a_time(
    settings: Settings, queue: JobQueue, batches: Batches, runner: BatchRunner
) -> None:
    batch = batches.create(request_of(globs=[write_videos(settings, 3 * PAGE)]))
    runner.round()
    other = BatchRunner(queue, RulesFile(settings), settings)
    assert other.round() is False
    runner.close()
    assert other.round() is True
    expand(other)
    assert batches.status(batch).videos == 3 * PAGE


def test_batches_take_turns(settings: Settings, batches: Batches, runner: BatchRunner) -> None:
    large = batches.create(request_of(globs=[write_videos(settings, 8 * PAGE)]))
    small = batches.create(request_of(uris=[write_video(settings, "one.mp4").as_uri()]))
    while batches.get(small.id).is_expanding:  # two rounds, or more where a slow one cost the lock
        runner.round()
    assert batches.status(batches.get(small.id)).videos == 1
    assert batches.status(batches.get(large.id)).state == BatchState.EXPANDING


def test_what_stops_the_looking_up_is_told_and_a_retry_goes_on(
    settings: Settings, batches: Batches, runner: BatchRunner
) -> None:
    batch = batches.create(request_of(globs=[write_videos(settings, 2 * PAGE + 10)]))
    runner.round()
    runner.close()
    folder = settings.data_dir / "in"
    folder.rename(settings.data_dir / "away")
    expand(runner)
    status = batches.status(batches.get(batch.id))
    assert status.error
    assert status.error.code == SourceNotFound.code
    assert (status.videos, status.state) == (PAGE, BatchState.RUNNING)
    assert not batches.get(batch.id).has_work
    (settings.data_dir / "away").rename(folder)
    batches.retry(batch.id)
    runner._not_before.clear()
    expand(runner)
    status = batches.status(batches.get(batch.id))
    assert (status.videos, status.objects_seen) == (2 * PAGE + 10, 2 * PAGE + 10)
    assert status.error is None
