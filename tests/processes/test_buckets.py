"""A bucket in, a bucket out: an upload leads to results and a callback, on each kind of store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import httpx
import pyarrow.parquet as pq
import pytest
from pydantic import SecretStr
from standardwebhooks.webhooks import Webhook

from api.events.inbox import SkippedLog
from shoal.client import Client
from shoal.ingest.decide import Reason
from shoal.model.job import State
from shoal.queue.queue import JobQueue
from shoal.results.layout import Metadata
from shoal.settings import Settings
from shoal.storage import azure, gcs, s3, storage_for
from shoal.storage.base import MARKER
from tests import events
from tests.buckets import clients_of, make_bucket
from tests.events import ACCOUNT, AUDIENCE, TOPIC, Internet, Signer
from tests.receiver import Receiver
from tests.running import Processes, eventually
from tests.serving import served

EVENT_TOKEN = "a-token-of-event-grid"
SECRET = "whsec_" + "QUJDRA" * 6
KEY = "matches/week 1/a+b%20c ü.mp4"


class Store:
    """A bucket for uploads and one for results, written with the store's own client."""

    def __init__(self, scheme: str) -> None:
        self.scheme = scheme
        self.uploads, self.results = make_bucket(scheme), make_bucket(scheme)
        self.name = self.uploads.rpartition("/")[2]

    def upload(self, clip: Path, key: str) -> None:
        if self.scheme == "gs":
            blob = gcs._client().bucket(self.name).blob(key)
            blob.upload_from_filename(str(clip), content_type="video/mp4")
        elif self.scheme == "az":
            with clip.open("rb") as file:
                azure._client().get_blob_client(self.name, key).upload_blob(file)
        else:
            s3._client().upload_file(str(clip), self.name, key)

    def listed(self) -> dict[str, int]:
        """URI -> size of every result."""
        found = storage_for(self.results, Settings()).list(self.results + "/")
        return {info.uri: info.size for info in found}

    def announce(self, http: httpx.Client, signer: Signer, uri: str) -> httpx.Response:
        """Post what the store's sender says of an object that is there."""
        info = storage_for(uri, Settings()).stat(uri)
        bucket, _, key = uri.partition("://")[2].partition("/")
        if self.scheme == "gs":
            more = {"metadata": dict(info.metadata), "contentType": info.content_type}
            body = events.gcs_payload(
                bucket, key, generation=info.version, size=str(info.size), **more
            )
            token = {"authorization": f"Bearer {signer.token()}"}
            return http.post("/events/gcs", json=body, headers=token)
        if self.scheme == "az":
            blob = {"eTag": info.version, "contentLength": info.size, "contentType": "video/mp4"}
            body = events.azure_payload(bucket, key, **blob)
            return http.post("/events/azure", json=body, headers={"x-api-key": EVENT_TOKEN})
        etag = info.version.removeprefix("etag:")
        records = events.s3_payload(bucket, encoded(key), size=info.size, eTag=etag, versionId=None)
        message = signer.sns("sns_notification", version="2", Message=json.dumps(records))
        return http.post("/events/s3", json=message)


def encoded(key: str) -> str:
    """As S3 writes a key into an event."""
    return quote_plus(key, safe="/")


@pytest.fixture(params=["gs", "s3", "az"])
def store(
    request: pytest.FixtureRequest, bucket_servers: dict[str, dict[str, str]]
) -> Iterator[Store]:
    with clients_of(bucket_servers[request.param]):
        yield Store(request.param)


@pytest.fixture
def rules(store: Store, tmp_path: Path) -> Path:
    path = tmp_path / "rules.toml"
    path.write_text(
        f'[[rule]]\nbucket = "{store.uploads}"\nkey = "matches/**/*.mp4"\nprompts = ["car"]\n'
        f'options = {{ sample_fps = 5, max_frames = 10 }}\nresults = "{store.results}/done"\n'
    )
    return path


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    running = Receiver()
    yield running
    running.close()


def test_an_event_leads_to_results_and_a_callback(
    store: Store,
    rules: Path,
    receiver: Receiver,
    settings: Settings,
    queue: JobQueue,
    processes: Processes,
    sample_clip: Path,
    tmp_path: Path,
) -> None:
    text = rules.read_text()
    rules.write_text(f'{text}callback = "{receiver.url}"\n')
    signer = Signer()
    update: dict[str, Any] = {
        "rules": rules,
        "sweep_s": 0,
        "gcs_audience": AUDIENCE,
        "gcs_senders": (ACCOUNT,),
        "sns_topics": (TOPIC,),
        "event_tokens": (SecretStr(EVENT_TOKEN),),
        "callback_secret": (SecretStr(SECRET),),
        "callback_allow": ("127.0.0.1/32",),
    }
    processes.worker("cpu")
    uri = f"{store.uploads}/{KEY}"
    transport = Internet(signer).transport()
    with (
        served(settings.model_copy(update=update), transport=transport) as url,
        httpx.Client(base_url=url, trust_env=False, timeout=60) as http,
        Client(url) as client,
    ):
        store.upload(sample_clip, KEY)
        for _ in range(3):  # as senders do
            answer = store.announce(http, signer, uri)
            assert answer.status_code == 200, answer.text
        (job_id,) = answer.json()["jobs"]
        record = client.wait(job_id)
        assert record.state == State.SUCCEEDED, record.error
        assert queue.records.counts()[State.SUCCEEDED] == 1
        check_results(store, record.results, job_id, tmp_path)

        eventually(lambda: receiver.got, "the callback")
        headers, body = receiver.got[0]
        told = Webhook(SECRET).verify(body, headers)
        assert (told["type"], told["data"]["id"]) == ("video.succeeded", job_id)

        for result in store.listed():  # the store announces them, too
            assert store.announce(http, signer, result).json()["skipped"] == 1
        skipped = SkippedLog(queue.redis, queue.name).read()
        assert skipped.counts == {Reason.OWN_RESULT: len(store.listed())}


def check_results(store: Store, names: dict[str, int], job_id: str, tmp_path: Path) -> None:
    folder = f"{store.results}/done/{KEY.removesuffix('.mp4')}"
    listed = store.listed()
    assert len(listed) == len(names) == 5
    for uri, size in listed.items():
        assert uri.rpartition("/")[0].startswith(folder.rpartition("/")[0])
        assert names[uri.rpartition("/")[2]] == size
        info = storage_for(uri, Settings()).stat(uri)
        assert info.metadata[MARKER] == job_id
        local = storage_for(uri, Settings()).fetch(uri, info.version, tmp_path)
        if local.name.endswith("_masks.parquet"):
            assert set(pq.read_table(local).column("prompt").to_pylist()) == {"car"}
        elif local.name.endswith("_metadata.json"):
            assert Metadata.model_validate_json(local.read_text()).frames_processed == 10


def test_an_upload_that_nobody_announced_is_found_after_redis_was_emptied_too(
    store: Store,
    rules: Path,
    settings: Settings,
    queue: JobQueue,
    processes: Processes,
    sample_clip: Path,
) -> None:
    processes.env |= {"SHOAL_RULES": str(rules), "SHOAL_SWEEP_S": "1"}
    processes.api()
    processes.worker("cpu")
    store.upload(sample_clip, "matches/a.mp4")
    eventually(lambda: len(store.listed()) == 5, "results", 180)
    eventually(lambda: queue.records.counts()[State.SUCCEEDED] == 1, "success")

    queue.redis.flushall()
    store.upload(sample_clip, "matches/b.mp4")
    eventually(lambda: len(store.listed()) == 10, "results of the other one", 120)
    eventually(lambda: queue.records.counts()[State.SUCCEEDED] == 1, "success")
    found = queue.records.counts()
    assert sum(found.values()) == 1, found  # the first has its results already
