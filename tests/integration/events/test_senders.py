"""Events over HTTP: whose tokens are believed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import httpx
import pytest

from api.events import oidc
from api.events.senders import Senders
from shoal.queue.queue import JobQueue
from shoal.settings import Settings
from tests.events import Internet, Signer, payload
from tests.integration.events.conftest import BEARER, gcs, posting, s3
from tests.integration.test_api_videos import code_of


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


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
    headers = httpx.Headers({"authorization": f"Bearer {token}"}, encoding="latin-1")
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
            headers=httpx.Headers({"authorization": header}, encoding="latin-1"),
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
