"""Messages of SNS: signed by a certificate of its own, on a topic that is listed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from shoal.queue.queue import JobQueue
from shoal.settings import Settings
from tests.events import CERTIFICATE, TOPIC, Internet, Signer
from tests.integration.events.conftest import BEARER, posting, s3
from tests.integration.test_api_videos import code_of


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


FORGED: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
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
