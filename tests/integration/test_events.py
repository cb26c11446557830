"""Events over HTTP: who may send them, and that one upload is one job."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from redis import Redis
from starlette.testclient import TestClient

from api.app import create_app
from api.events import oidc
from api.events.inbox import Inbox
from api.events.senders import Senders
from api.submitter import Submitter
from shoal.embedded.stack import free_port
from shoal.queue import JobQueue, open_queue
from shoal.rules_file import RulesFile
from shoal.settings import Settings
from tests import events
from tests.events import ACCOUNT, AUDIENCE, CERTIFICATE, KEY, TOPIC, Internet, Signer, payload
from tests.integration.test_api_videos import code_of
from tests.serving import served

RULES = """
[[rule]]
name = "soccer"
bucket = "gs://matches"
key = "soccer/**"
prompts = ["person", "ball"]
options = { sample_fps = 5 }
prompts_from_metadata = true

[[rule]]
name = "soccer on s3"
bucket = "s3://matches"
key = "soccer/**"
prompts = ["person"]
results = "s3://matches/results"
callback = "https://example.com/soccer"
"""


@pytest.fixture
def strict(settings: Settings, tmp_path: Path) -> Settings:
    """Settings with every way in locked, and rules."""
    (tmp_path / "rules.toml").write_text(RULES)
    return settings.model_copy(
        update={
            "rules": tmp_path / "rules.toml",
            "sweep_s": 0,
            "api_tokens": (SecretStr("api-token"),),
            "event_tokens": (SecretStr("old-token"), SecretStr("event-token")),
            "gcs_audience": AUDIENCE,
            "gcs_senders": (ACCOUNT,),
            "sns_topics": (TOPIC,),
            "callback_secret": (SecretStr("whsec_" + "QUJDRA" * 6),),
        }
    )


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer()


@pytest.fixture
def internet(signer: Signer) -> Internet:
    return Internet(signer)


@contextmanager
def posting(settings: Settings, internet: Internet) -> Iterator[httpx.Client]:
    with (
        served(settings, transport=internet.transport()) as url,
        httpx.Client(base_url=url, trust_env=False) as http,
    ):
        yield http


@pytest.fixture
def http(strict: Settings, internet: Internet, queue: JobQueue) -> Iterator[httpx.Client]:
    with posting(strict, internet) as client:
        yield client


BEARER = {"authorization": "Bearer event-token"}


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def gcs(http: httpx.Client, token: str, document: Any) -> httpx.Response:
    return http.post("/events/gcs", json=document, headers={"authorization": f"Bearer {token}"})


def s3(http: httpx.Client, document: Any, **headers: str) -> httpx.Response:
    return http.post("/events/s3", json=document, headers=headers)


# --- what becomes of an event ---------------------------------------------------------------------


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
    ] * 100
    random.Random(7).shuffle(documents)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda document: s3(http, document, **BEARER), documents))
    assert {answer.status_code for answer in answers} == {200}
    assert sum(answer.json()["queued"] for answer in answers) == 5
    assert queue.depth().queued == 5
    assert queue.redis.llen(queue.rq.key) == 5


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


# --- who may send ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://evil.example"},
        {"iss": None},
        {"aud": "https://other.example"},
        {"aud": None},
        {"exp": 1_700_000_000, "iat": 1_699_999_000},
        {"exp": None},
        {"iat": 4_000_000_000, "exp": 4_000_003_600},
        {"iat": "now"},
        {"email": "other@acme.iam.gserviceaccount.com"},
        {"email": None},
        {"email_verified": False},
        {"email_verified": None},
        {"email_verified": "true"},
    ],
)
def test_a_token_with_a_wrong_claim_is_refused(
    http: httpx.Client, signer: Signer, queue: JobQueue, claims: dict[str, Any]
) -> None:
    answer = gcs(http, signer.token(**claims), payload("gcs_pubsub_push"))
    assert code_of(answer) == (401, "bad_event_sender")
    assert queue.depth().queued == 0


def test_a_token_of_another_key_is_refused(http: httpx.Client) -> None:
    token = Signer().token()
    assert code_of(gcs(http, token, payload("gcs_pubsub_push"))) == (401, "bad_event_sender")


def test_a_token_signed_with_what_is_public_is_refused(http: httpx.Client, signer: Signer) -> None:
    """Google's certificate as the key of a symmetric signature, and headers that mislead."""
    _, claims, signature = signer.token().split(".")
    for header in (
        {"alg": "HS256", "kid": "key-1"},
        {"alg": "none", "kid": "key-1"},
        {"alg": "RS256", "kid": ["key-1"]},
        {"alg": "RS256", "kid": "../key-1"},
        {"alg": "RS256", "kid": "key-1", "jku": "https://evil.example/"},
        {"alg": "RS256"},
    ):
        head = base64url(json.dumps(header).encode())
        mac = hmac.new(signer.pem, f"{head}.{claims}".encode(), hashlib.sha256).digest()
        for proof in (base64url(mac), signature, ""):
            answer = gcs(http, f"{head}.{claims}.{proof}", payload("gcs_pubsub_push"))
            assert code_of(answer) == (401, "bad_event_sender")


def test_a_token_played_back_leads_to_the_same_job(http: httpx.Client, signer: Signer) -> None:
    token = signer.token()
    answers = [gcs(http, token, payload("gcs_pubsub_push")).json() for _ in range(3)]
    assert [answer["queued"] for answer in answers] == [1, 0, 0]
    later = signer.token(iat=1_700_000_000, exp=1_700_003_600)  # it was good once
    assert code_of(gcs(http, later, payload("gcs_pubsub_push"))) == (401, "bad_event_sender")


def test_a_good_token_is_not_believed_for_longer_than_it_says(
    http: httpx.Client, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A good token is not checked again for a minute, unless it ends before."""
    monkeypatch.setattr(oidc, "SKEW_S", 600)
    token = signer.token(iat=time.time() - 900, exp=time.time() - 300)
    assert gcs(http, token, payload("gcs_pubsub_push")).status_code == 200
    monkeypatch.setattr(oidc, "SKEW_S", 0)
    assert code_of(gcs(http, token, payload("gcs_pubsub_push"))) == (401, "bad_event_sender")


def test_a_good_token_does_not_open_for_one_like_it(http: httpx.Client, signer: Signer) -> None:
    token = signer.token()
    assert gcs(http, token, payload("gcs_pubsub_push")).status_code == 200
    for other in (token[:-8] + "AAAAAAAA", token + "A", token.rpartition(".")[0] + "."):
        assert code_of(gcs(http, other, payload("gcs_pubsub_push"))) == (401, "bad_event_sender")


@pytest.mark.parametrize("header", ["", "Basic x", "Bearer", "x"])
def test_without_a_token_google_is_not_believed(
    http: httpx.Client, internet: Internet, header: str
) -> None:
    answer = http.post(
        "/events/gcs", json=payload("gcs_pubsub_push"), headers={"authorization": header}
    )
    assert code_of(answer) == (401, "bad_event_sender")
    assert internet.asked == []


def test_secrets_are_compared_in_constant_time(
    strict: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every event token is compared in full, whichever fits; e-mails of senders as well."""
    compared: list[tuple[bytes, bytes]] = []
    real = hmac.compare_digest

    def compare(a: bytes, b: bytes) -> bool:
        compared.append((a, b))
        return real(a, b)

    monkeypatch.setattr("hmac.compare_digest", compare)
    senders = Senders(strict)
    senders.check_token({"authorization": "Bearer old-token"})
    assert len(compared) == len(strict.event_tokens)
    senders.close()


@pytest.mark.parametrize(
    "token", ["x", "a.b.c", "e30.e30.", "eyJhbGciOiJub25lIn0.e30.", "W10.W10.AA", "\xff.\xfe.x"]
)
def test_what_is_no_token_is_refused(http: httpx.Client, token: str) -> None:
    headers = {"authorization": f"Bearer {token}".encode("latin-1")}
    answer = http.post("/events/gcs", json=payload("gcs_pubsub_push"), headers=headers)
    assert code_of(answer) == (401, "bad_event_sender")


def test_certificates_are_fetched_once(
    http: httpx.Client, signer: Signer, internet: Internet
) -> None:
    for _ in range(3):
        assert gcs(http, signer.token(), payload("gcs_pubsub_push")).status_code == 200
        assert s3(http, signer.sns("sns_notification")).status_code == 200
    assert len(internet.asked) == 2


def test_without_certificates_the_sender_shall_try_again(
    http: httpx.Client, signer: Signer, internet: Internet
) -> None:
    internet.status = 500
    code = (503, "sender_check_unavailable")
    assert code_of(gcs(http, signer.token(), payload("gcs_pubsub_push"))) == code
    assert code_of(s3(http, signer.sns("sns_notification"))) == code


@pytest.mark.parametrize("token", ["api-token", "Event-token", "event-token2", "\xff"])
def test_only_an_event_token_opens_the_plain_way(http: httpx.Client, token: str) -> None:
    for header in (f"Bearer {token}", f"Basic {token}", token):
        answer = http.post(
            "/events/s3",
            json=payload("s3_records"),
            headers={"authorization": header.encode("latin-1")},
        )
        assert code_of(answer) == (401, "bad_event_sender")


def test_an_event_token_opens_nothing_else(http: httpx.Client) -> None:
    assert code_of(http.get("/videos", headers=BEARER)) == (401, "unauthorized")
    assert code_of(http.get("/events/skipped", headers=BEARER)) == (401, "unauthorized")
    assert code_of(http.post("/events/s3/", headers=BEARER)) == (401, "unauthorized")


@pytest.mark.parametrize("setting", ["gcs_audience", "gcs_senders", "sns_topics", "event_tokens"])
def test_a_missing_setting_is_named(
    strict: Settings, internet: Internet, signer: Signer, queue: JobQueue, setting: str
) -> None:
    empty = "" if setting == "gcs_audience" else ()
    with posting(strict.model_copy(update={setting: empty}), internet) as http:
        if setting.startswith("gcs"):
            answer = gcs(http, signer.token(), payload("gcs_pubsub_push"))
        elif setting == "sns_topics":
            answer = s3(http, signer.sns("sns_notification"))
        else:
            answer = s3(http, payload("s3_records"), **BEARER)
        assert code_of(answer) == (503, "events_not_configured")
        assert f"SHOAL_{setting.upper()}" in answer.json()["detail"]


def test_on_this_machine_alone_nothing_needs_to_be_set(
    strict: Settings, internet: Internet, queue: JobQueue
) -> None:
    nothing = {"api_tokens": (), "event_tokens": (), "gcs_audience": "", "gcs_senders": ()}
    with posting(strict.model_copy(update=nothing), internet) as http:
        assert http.post("/events/gcs", json=payload("gcs_pubsub_push")).status_code == 200
        assert s3(http, payload("s3_records")).status_code == 200
        elsewhere = s3(http, payload("s3_records"), host="shoal.example")
        assert code_of(elsewhere) == (401, "unauthorized")


# --- messages of SNS ------------------------------------------------------------------------------


def test_a_subscription_to_a_listed_topic_is_confirmed(
    http: httpx.Client, signer: Signer, internet: Internet
) -> None:
    message = signer.sns("sns_subscription", version="2")
    assert s3(http, message).status_code == 200
    assert internet.asked == [CERTIFICATE, message["SubscribeURL"]]


def test_strangers_do_not_make_us_fetch_anything(
    http: httpx.Client, signer: Signer, internet: Internet
) -> None:
    for name in ("sns_subscription", "sns_notification"):
        message = signer.sns(name, TopicArn=TOPIC + "2")
        assert code_of(s3(http, message)) == (401, "bad_event_sender")
    assert internet.asked == []


HOSTS = [
    "http://sns.eu-central-1.amazonaws.com/a.pem",
    "https://sns.eu-central-1.amazonaws.com.evil.example/a.pem",
    "https://evil.example/sns.eu-central-1.amazonaws.com/a.pem",
    "https://sns.eu-central-1.amazonaws.com@evil.example/a.pem",
    "https://evil.example\\@sns.eu-central-1.amazonaws.com/a.pem",
    "https://sns.eu-central-1.amazonaws.com\\.evil.example/a.pem",
    "https://sns.eu-central-1.amazonaws.com:8443/a.pem",
    "https://sns.eu-central-1.amazonaws.com/a.pem?x=.pem",
    "https://sns.eu-central-1.amazonaws.com/a.txt#.pem",
    "https://sns.eu-central-1.amazonaws.com/../a.pem",
    "https://s3.amazonaws.com/bucket/a.pem",
    "https://bucket.s3.amazonaws.com/a.pem",
    "https://xsns.eu-central-1.amazonaws.com/a.pem",
    "https://sns.eu.central.amazonaws.com/a.pem",
    "https://sns.eu-central-1.amazonaws.com/a.pem\n",
    "https://sns.eu-central-1.amazonaws.com/%0d%0a.pem",
    "file:///etc/ssl/a.pem",
    "",
]


@pytest.mark.parametrize("url", HOSTS)
def test_a_certificate_from_elsewhere_is_not_fetched(
    http: httpx.Client, signer: Signer, internet: Internet, url: str
) -> None:
    answer = s3(http, signer.sns("sns_notification", SigningCertURL=url))
    assert code_of(answer) == (401, "bad_event_sender")
    assert internet.asked == []


@pytest.mark.parametrize("url", ["http://169.254.169.254/?a=b", *HOSTS])
def test_a_subscription_is_confirmed_with_sns_alone(
    http: httpx.Client, signer: Signer, internet: Internet, url: str
) -> None:
    answer = s3(http, signer.sns("sns_subscription", SubscribeURL=url))
    assert code_of(answer) == (401, "bad_event_sender")
    assert internet.asked == [CERTIFICATE]


FORGED = {
    "other account": lambda real: real | {"TopicArn": TOPIC.replace("123456789012", "1")},
    "signed for another type": lambda real: real | {"Type": "SubscriptionConfirmation"},
    "unsigned field moved in": lambda real: real | {"MessageId": "x"},
    "wrong key": lambda real: Signer().sns("sns_notification"),
    "changed message": lambda real: real | {"Message": '{"Records": []}'},
    "changed subject": lambda real: real | {"Subject": "x"},
    "changed topic case": lambda real: real | {"TopicArn": TOPIC.upper()},
    "changed time": lambda real: real | {"Timestamp": "2023-11-14T22:13:21.123Z"},
    "other type": lambda real: real | {"Type": "UnsubscribeConfirmation", "Token": "x"},
    "other version": lambda real: real | {"SignatureVersion": "2"},
    "no signature": lambda real: real | {"Signature": ""},
    "not base64": lambda real: real | {"Signature": "?"},
}


@pytest.mark.parametrize("how", FORGED)
def test_a_forged_message_is_refused(
    http: httpx.Client, signer: Signer, internet: Internet, queue: JobQueue, how: str
) -> None:
    forged = FORGED[how](signer.sns("sns_notification"))
    assert code_of(s3(http, forged)) == (401, "bad_event_sender")
    assert code_of(s3(http, forged, **BEARER)) == (401, "bad_event_sender")
    assert queue.depth().queued == 0
    assert set(internet.asked) <= {CERTIFICATE}


@pytest.mark.parametrize("sent_at", ["2023-11-14T22:13:21.123Z", "2199-01-01T00:00:00Z", "then"])
def test_a_message_played_back_is_refused(http: httpx.Client, signer: Signer, sent_at: str) -> None:
    answer = s3(http, signer.sns("sns_notification", Timestamp=sent_at))
    assert code_of(answer) == (401, "bad_event_sender")


def test_a_message_delivered_again_is_the_same_job(http: httpx.Client, signer: Signer) -> None:
    message = signer.sns("sns_notification")
    assert [s3(http, message).json()["queued"] for _ in range(3)] == [1, 0, 0]


def test_an_expired_certificate_is_refused(strict: Settings, queue: JobQueue) -> None:
    signer = Signer(expired=True)
    with posting(strict, Internet(signer)) as http:
        answer = s3(http, signer.sns("sns_notification"))
    assert code_of(answer) == (401, "bad_event_sender")


def test_redirects_are_not_followed(http: httpx.Client, signer: Signer, internet: Internet) -> None:
    internet.status = 302
    answer = s3(http, signer.sns("sns_subscription"))
    assert code_of(answer) == (503, "sender_check_unavailable")
    assert internet.asked == [CERTIFICATE]


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
    app.state.inbox = Inbox(senders, RulesFile(strict), queue, submitter, strict)
    google = {"authorization": f"Bearer {signer.token()}"}
    http = TestClient(app, "http://shoal", raise_server_exceptions=False)  # without a lifespan
    for answer in (
        http.post("/events/s3", json=payload("s3_records"), headers=BEARER),
        http.post("/events/gcs", json=payload("gcs_pubsub_push"), headers=google),
    ):
        assert code_of(answer) == (503, "redis_unavailable")
