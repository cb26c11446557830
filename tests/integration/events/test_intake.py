"""Events over HTTP: one upload is one job, by the rules in force."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from starlette.testclient import TestClient

from api.app import create_app
from api.events.inbox import Inbox
from api.events.senders import Senders
from api.storage_calls import StorageCalls
from api.submitter import Submitter
from shoal.ingest.rules_file import RulesFile
from shoal.queue.ingested import Ingested
from shoal.queue.queue import JobQueue, open_queue
from shoal.settings import Settings
from tests import events
from tests.buckets import forget_clients
from tests.events import KEY, Internet, Signer, payload
from tests.integration.events.conftest import BEARER, gcs, s3
from tests.integration.test_api_videos import code_of
from tests.ports import free_port
from tests.serving import waiting


def test_an_event_of_google_becomes_a_job(
    http: httpx.Client, signer: Signer, queue: JobQueue, strict: Settings
) -> None:
    answer = gcs(http, signer.token(), payload("gcs_pubsub_push"))
    assert answer.status_code == 200, answer.text
    (job_id,) = answer.json()["jobs"]
    spec = queue.records.get(job_id).spec
    assert (spec.uri, spec.version) == (f"gs://matches/{KEY}", "1700000000000001")
    assert spec.size == 7340032
    assert spec.prompts == ("referee", "ball")  # the object's metadata, as the rule allows
    assert spec.options.sample_fps == 5
    assert spec.results == f"{strict.results_root}/soccer/week%201/a%2Bb%2520c%20%C3%BC"


def test_an_event_is_one_call_to_redis(
    http: httpx.Client, queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also to note what the upload became, and to ask whether it may be a copy of a result."""
    s3(http, events.s3_payload("matches", "soccer/0.mp4"), **BEARER)  # loads the script
    calls: list[str] = []
    execute: Any = AsyncRedis.execute_command

    async def noted(self: Any, *args: Any, **options: Any) -> Any:
        calls.append(args[0])
        return await execute(self, *args, **options)

    monkeypatch.setattr(AsyncRedis, "execute_command", noted)
    monkeypatch.setattr("api.events.inbox.run_in_threadpool", None)  # no thread is needed
    answers = [
        s3(http, events.s3_payload("matches", f"soccer/{name}.mp4"), **BEARER).json()
        for name in "1213"
    ]
    assert calls == ["EVALSHA"] * 4
    ids = {job for answer in answers for job in answer["jobs"]}
    assert [answer["known"] for answer in answers] == [0, 0, 1, 0]
    specs = [queue.records.get(job).spec for job in ids]
    edited = [spec.model_copy(update={"prompts": ("ball",)}) for spec in specs]
    earlier = Ingested(queue.redis, queue.name).earlier(edited)
    assert earlier == {new.id: old.id for new, old in zip(edited, specs, strict=True)}


@pytest.mark.parametrize("name", ["s3_records", "minio", "ceph", "eventbridge"])
def test_an_event_of_s3_becomes_a_job(http: httpx.Client, queue: JobQueue, name: str) -> None:
    for headers in (BEARER, {"x-api-key": "event-token"}):
        answer = s3(http, payload(name), **headers)
        assert answer.status_code == 200, answer.text
    (job_id,) = answer.json()["jobs"]
    record = queue.records.get(job_id)
    assert record.spec.uri == f"s3://matches/{KEY}"
    assert record.callbacks == ["https://example.com/soccer"]
    assert queue.depth().queued == 1


def test_every_sender_of_one_upload_means_one_job(http: httpx.Client, signer: Signer) -> None:
    answers = [s3(http, payload(name), **BEARER) for name in ("s3_records", "eventbridge")]
    answers += [s3(http, signer.sns("sns_notification", version=v)) for v in "12"]
    assert [answer.json()["queued"] for answer in answers] == [1, 0, 0, 0]
    assert len({answer.json()["jobs"][0] for answer in answers}) == 1


def test_duplicates_in_any_order_and_at_once_are_one_job_each(
    http: httpx.Client, queue: JobQueue
) -> None:
    documents = [
        events.s3_payload("matches", f"soccer/{number}.mp4", versionId=f"v{number}")
        for number in range(5)
    ] * 40
    random.Random(7).shuffle(documents)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda document: s3(http, document, **BEARER), documents))
    assert {answer.status_code for answer in answers} == {200}
    assert sum(answer.json()["queued"] for answer in answers) == 5
    assert queue.depth().queued == 5
    assert len(waiting(queue)) == 5


def test_an_event_that_comes_late_does_not_revive_a_cancelled_job(
    http: httpx.Client, queue: JobQueue
) -> None:
    (job_id,) = s3(http, payload("s3_records"), **BEARER).json()["jobs"]
    queue.cancel(job_id)
    assert s3(http, payload("s3_records"), **BEARER).json()["known"] == 1
    assert queue.depth().queued == 0


def test_a_new_version_of_a_video_is_a_new_job(http: httpx.Client, queue: JobQueue) -> None:
    for version in ("v2", "v1"):
        s3(http, events.s3_payload("matches", "soccer/a.mp4", versionId=version), **BEARER)
    assert queue.depth().queued == 2


SKIPPED = [
    ("cctv/a.mp4", {}, "no_rule"),
    ("soccer/a.txt", {}, "wrong_suffix"),
    ("soccer/a", {}, "wrong_suffix"),
    ("soccer/a.mp4", {"size": 0}, "empty"),
    ("soccer/new/", {"size": 0}, "folder_marker"),
    ("soccer/.a.mp4", {}, "temporary_name"),
    ("soccer/a.mp4.part", {}, "temporary_name"),
    ("results/soccer/a/0123456789abcdef01234567/a_segmented.mp4", {}, "own_result"),
    ("soccer/copy/0123456789abcdef01234567/a_segmented.mp4", {}, "own_result"),
]


def test_what_is_skipped_is_counted_and_listed(http: httpx.Client, queue: JobQueue) -> None:
    for key, changes, _ in SKIPPED:
        answer = s3(http, events.s3_payload("matches", key, **changes), **BEARER)
        assert (answer.status_code, answer.json()["skipped"]) == (200, 1)
    found = http.get("/events/skipped", headers={"authorization": "Bearer api-token"}).json()
    assert [item["reason"] for item in reversed(found["items"])] == [r for _, _, r in SKIPPED]
    assert found["counts"]["wrong_suffix"] == 2
    assert queue.depth().queued == 0
    for _ in range(100):
        s3(http, events.s3_payload("matches", "x.mp4"), **BEARER)
    found = http.get("/events/skipped", headers={"authorization": "Bearer api-token"}).json()
    assert (len(found["items"]), found["counts"]["no_rule"]) == (100, 101)


def test_what_carries_our_mark_is_never_taken(
    http: httpx.Client, signer: Signer, queue: JobQueue
) -> None:
    document = events.gcs_payload("matches", "soccer/x.mp4", metadata={"shoal-job": "1"})
    assert gcs(http, signer.token(), document).json()["skipped"] == 1
    minio = payload("minio")
    minio["Records"][0]["s3"]["object"]["userMetadata"] = {"X-Amz-Meta-Shoal-Job": "1"}
    assert s3(http, minio, **BEARER).json()["skipped"] == 1
    assert queue.depth().queued == 0


def test_bad_prompts_in_the_metadata_are_told(http: httpx.Client, signer: Signer) -> None:
    document = events.gcs_payload("matches", "soccer/x.mp4", metadata={"shoal-prompts": " , "})
    assert gcs(http, signer.token(), document).json()["skipped"] == 1
    found = http.get("/events/skipped", headers={"authorization": "Bearer api-token"}).json()
    assert found["items"][0]["reason"] == "bad_prompts"


def test_each_of_many_records_is_judged_on_its_own(http: httpx.Client, queue: JobQueue) -> None:
    keys = ["soccer/a.mp4", "soccer/a.txt", "soccer/b+c%252F..%2Fd.mp4", "soccer/%ff.mp4"]
    records = [events.s3_payload("matches", key)["Records"][0] for key in keys]
    answer = s3(http, {"Records": records}, **BEARER)
    assert {name: answer.json()[name] for name in ("queued", "skipped")} == {
        "queued": 2,
        "skipped": 2,
    }


def test_one_that_cannot_be_looked_at_does_not_keep_the_others_waiting(
    http: httpx.Client, queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = {
        "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{free_port()}",  # where nothing listens
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    for name, value in away.items():
        monkeypatch.setenv(name, value)
    forget_clients()
    unknown = events.s3_payload("matches", "soccer/1.mp4", eTag="", versionId="")["Records"]
    known = events.s3_payload("matches", "soccer/2.mp4")["Records"]
    answer = s3(http, {"Records": [*unknown, *known]}, **BEARER)
    assert code_of(answer) == (503, "storage_unavailable")  # the sender tries again
    (record,), _ = queue.records.page()
    assert record.spec.uri == "s3://matches/soccer/2.mp4"
    forget_clients()


def test_no_key_leads_out_of_the_results(
    http: httpx.Client, signer: Signer, queue: JobQueue, strict: Settings
) -> None:
    document = events.gcs_payload("matches", "soccer/../../../../etc/./x.mp4")
    (job_id,) = gcs(http, signer.token(), document).json()["jobs"]
    assert queue.records.get(job_id).spec.results == f"{strict.results_root}/soccer/_/_/_/_/etc/x"


def test_the_test_message_of_s3_is_welcome(http: httpx.Client) -> None:
    assert s3(http, payload("s3_test_event"), **BEARER).json()["queued"] == 0


def test_what_can_never_work_is_refused_with_a_code(http: httpx.Client, signer: Signer) -> None:
    assert code_of(gcs(http, signer.token(), {"message": {}})) == (422, "bad_event")
    assert code_of(s3(http, {"Records": [{}]}, **BEARER)) == (422, "bad_event")
    unknown = signer.sns("sns_notification") | {"SignatureVersion": "3"}
    assert code_of(s3(http, unknown)) == (422, "bad_event")
    assert code_of(http.post("/events/s3", content=b"{", headers=BEARER)) == (422, "bad_event")
    large = http.post("/events/s3", content=b" " * 1_500_000, headers=BEARER)
    assert code_of(large) == (413, "upload_too_large")


# --- the rules in force ---------------------------------------------------------------------------


def test_rules_are_reloaded_and_a_broken_file_changes_nothing(
    http: httpx.Client, strict: Settings
) -> None:
    api = {"authorization": "Bearer api-token"}
    assert strict.rules
    event = events.s3_payload("other", "a.mp4")
    assert s3(http, event, **BEARER).json()["queued"] == 0
    strict.rules.write_text(
        '[[rule]]\nbucket = "s3://other"\nprompts = ["dog"]\nresults = "s3://out"\n'
    )
    assert s3(http, event, **BEARER).json()["queued"] == 1
    health = http.get("/health", headers=api).json()
    assert (health["status"], health["rules"]["in_force"]) == ("ok", ["rule 1"])
    strict.rules.write_text('[[rule]]\nbucket = "s3://other"\nprompt = ["dog"]\n')
    assert s3(http, event, **BEARER).json()["known"] == 1
    health = http.get("/health", headers=api).json()
    assert health["status"] == "degraded"
    assert any("rules.toml:3: prompt: " in fault for fault in health["rules"]["faults"])
    strict.rules.unlink()
    assert s3(http, event, **BEARER).json()["known"] == 1
    assert "No such file" in http.get("/health", headers=api).json()["rules"]["faults"][0]


def test_a_redis_that_is_away_asks_the_sender_to_try_again(
    strict: Settings, internet: Internet, signer: Signer
) -> None:
    app = create_app(strict, internet.transport())
    port = free_port()  # where nothing listens
    queue = open_queue(strict, Redis(port=port))
    senders = Senders(strict, internet.transport())
    away = strict.model_copy(update={"redis_url": f"redis://127.0.0.1:{port}/0"})
    submitter = Submitter(away, queue)
    storage = StorageCalls()
    app.state.inbox = Inbox(senders, RulesFile(strict), queue, submitter, strict, storage)
    google = {"authorization": f"Bearer {signer.token()}"}
    # Without a lifespan. Its responses are those of httpx or of httpx2, whichever is installed.
    http: Any = TestClient(app, "http://shoal", raise_server_exceptions=False)
    for answer in (
        http.post("/events/s3", json=payload("s3_records"), headers=BEARER),
        http.post("/events/gcs", json=payload("gcs_pubsub_push"), headers=google),
    ):
        assert code_of(answer) == (503, "redis_unavailable")
