"""A result that is copied to where uploads go is no upload, whoever announces it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from shoal.client import Client
from shoal.errors import OwnResult
from shoal.queue import result_sizes
from shoal.queue.queue import JobQueue
from shoal.settings import Settings
from shoal.storage import ObjectInfo, s3 as store
from shoal.storage.base import MARKER
from shoal.storage.files import FileStorage
from tests import events, media
from tests.attempts import Job
from tests.buckets import forget_clients, make_bucket
from tests.events import Internet
from tests.fakes import Fake
from tests.integration.events.conftest import BEARER, posting, s3
from tests.serving import take, write_video

OURS = ("mine", "my_segmented")  # uploads; the others in the bucket are copies of a result


@pytest.fixture
def bucket(
    bucket_servers: dict[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """The name of a bucket with an upload, and a copy of a result beside it."""
    for name, value in bucket_servers["s3"].items():
        monkeypatch.setenv(name, value)
    forget_clients()
    name = make_bucket("s3").rpartition("/")[2]
    put = store._client().put_object
    put(Bucket=name, Key="in/my_segmented.mp4", Body=b"x", Metadata={"camera": "7"})
    put(Bucket=name, Key="out/x_segmented.mp4", Body=b"y", Metadata={MARKER: "a" * 24})
    store._client().copy_object(
        Bucket=name,
        Key="in/x_segmented.mp4",
        CopySource={"Bucket": name, "Key": "out/x_segmented.mp4"},
    )
    for source, key in (("out/x_segmented.mp4", "holiday"), ("in/my_segmented.mp4", "mine")):
        store._client().copy_object(
            Bucket=name, Key=f"in/{key}.mp4", CopySource={"Bucket": name, "Key": source}
        )
    yield name
    forget_clients()


@pytest.fixture
def ruled(strict: Settings, bucket: str, tmp_path: Path) -> Settings:
    rules = tmp_path / "rules.toml"
    rules.write_text(
        f'[[rule]]\nbucket = "s3://{bucket}"\nkey = "in/**"\nprompts = ["person"]\n'
        f'results = "s3://{bucket}/out"\n'
    )
    return strict


def test_an_event(ruled: Settings, internet: Internet, bucket: str, queue: JobQueue) -> None:
    with posting(ruled, internet) as http:
        copied = s3(http, events.s3_payload(bucket, "in/x_segmented.mp4"), **BEARER)
        assert (copied.status_code, copied.json()["skipped"]) == (200, 1), copied.text
        skipped = http.get("/events/skipped", headers={"authorization": "Bearer api-token"}).json()
        assert skipped["counts"] == {"own_result": 1}
        assert (
            s3(http, events.s3_payload(bucket, "in/my_segmented.mp4"), **BEARER).json()["queued"]
            == 1
        )
        gone = s3(http, events.s3_payload(bucket, "in/gone_redacted.mp4"), **BEARER)
        assert (gone.status_code, gone.json()["skipped"]) == (200, 1)
    assert queue.depth().queued == 1


def test_a_sweep(ruled: Settings, internet: Internet, bucket: str, queue: JobQueue) -> None:
    with posting(ruled, internet) as http, Client(str(http.base_url), "api-token") as client:
        for expected in ([f"s3://{bucket}/in/{name}.mp4" for name in OURS], []):
            found = [each.uri for page in client.reconcile() for each in page.queued]
            assert found == expected
    assert queue.depth().queued == len(OURS)


@pytest.fixture
def one_byte_result(client: Client, queue: JobQueue, settings: Settings) -> None:
    """Some job has a video of one byte among its results, as those in the bucket have."""
    client.submit(write_video(settings, "x.mp4").as_uri(), ["person"])
    take(queue).succeed({"x_segmented.mp4": 1, "x_masks.parquet": 2}, {})


@pytest.mark.usefixtures("one_byte_result")
def test_a_renamed_copy_is_known_by_its_size_and_then_its_metadata(
    ruled: Settings, internet: Internet, bucket: str, queue: JobQueue
) -> None:
    with posting(ruled, internet) as http:

        def queued(key: str, size: int) -> int:
            answer = s3(http, events.s3_payload(bucket, key, size=size), **BEARER)
            assert answer.status_code == 200, answer.text
            count: int = answer.json()["queued"]
            return count

        assert queued("in/holiday.mp4", 1) == 0
        assert queued("in/mine.mp4", 1) == 1
        # The storage is not asked for others: these do not exist, which nobody notices.
        assert queued("in/missing.mp4", 3) == 1
        assert queued("in/as_large_as_a_table.mp4", 2) == 1


def test_what_is_known_is_not_asked_for_again(
    ruled: Settings, internet: Internet, bucket: str, queue: JobQueue
) -> None:
    with posting(ruled, internet) as http:
        event = events.s3_payload(bucket, "in/missing.mp4", size=3)
        assert s3(http, event, **BEARER).json()["queued"] == 1
        pipe = queue.redis.pipeline()
        result_sizes.note(pipe, queue.name, [3])
        pipe.execute()
        answer = s3(http, event, **BEARER).json()
        assert (answer["known"], answer["skipped"]) == (1, 0)
        other = events.s3_payload(bucket, "in/missing_too.mp4", size=3)
        assert s3(http, other, **BEARER).json()["skipped"] == 1  # it is not there
        both = {"Records": [*other["Records"], *event["Records"]]}
        answer = s3(http, both, **BEARER).json()
        assert (answer["known"], answer["skipped"]) == (1, 1)


@pytest.mark.parametrize(("automatic", "is_done"), [(True, False), (False, True)])
def test_a_worker_processes_a_copy_only_for_who_submits_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, automatic: bool, is_done: bool
) -> None:
    clip, folder = tmp_path / "clip.mp4", tmp_path / "job"
    media.write_video(clip, frames=4)
    folder.mkdir()
    job = Job(clip, folder, Fake, outputs=("masks",))
    stat = FileStorage.stat

    def with_mark(self: FileStorage, uri: str) -> ObjectInfo:
        return replace(stat(self, uri), metadata={MARKER: "a" * 24})

    monkeypatch.setattr(FileStorage, "stat", with_mark)
    with nullcontext() if is_done else pytest.raises(OwnResult, match="a" * 24):
        job.order(job.spec, automatic=automatic)
    assert bool(list(folder.rglob("*_metadata.json"))) == is_done
