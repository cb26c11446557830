"""Nobody without a token takes what requests with one need: threads, or an answer from a host."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import httpx
import pytest
from pydantic import SecretStr

from api.events import fetching, oidc
from api.events.sns import host_of_topic
from shoal.queue.queue import JobQueue
from shoal.settings import Settings
from tests.events import ACCOUNT, AUDIENCE, TOPIC, Signer, payload
from tests.security.conftest import NO_LIMIT, commands
from tests.serving import served, wait_for

THREADS = 40  # of the framework, for all that is no coroutine
CALLERS = THREADS + 5


class SilentHost:
    """A host that takes a request and does not answer."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers = threading.Event()

    def transport(self) -> httpx.MockTransport:
        def handle(request: httpx.Request) -> httpx.Response:
            self.asked.append(str(request.url))
            self.answers.wait(60)
            raise httpx.ReadTimeout("it took too long")

        return httpx.MockTransport(handle)


@pytest.fixture
def silent() -> Iterator[SilentHost]:
    host = SilentHost()
    yield host
    host.answers.set()


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer()


@pytest.fixture
def http(
    settings: Settings, queue: JobQueue, silent: SilentHost, monkeypatch: pytest.MonkeyPatch
) -> Iterator[httpx.Client]:
    monkeypatch.setattr(fetching, "TIMEOUT_S", 2.0)
    monkeypatch.setattr(fetching, "FAILED_S", 600.0)  # longer than a busy machine takes here
    more = {
        "api_tokens": (SecretStr("api-token"),),
        "gcs_audience": AUDIENCE,
        "gcs_senders": (ACCOUNT,),
        "sns_topics": (TOPIC,),
    }
    limits = httpx.Limits(max_connections=2 * CALLERS)
    with (
        served(settings.model_copy(update=more), transport=silent.transport()) as url,
        httpx.Client(base_url=url, limits=limits, timeout=NO_LIMIT) as client,
    ):
        yield client
        silent.answers.set()


def gcs(http: httpx.Client, signer: Signer) -> Callable[[], httpx.Response]:
    headers = {"authorization": f"Bearer {signer.token(email='stranger@example.com')}"}
    return partial(http.post, "/events/gcs", json=payload("gcs_pubsub_push"), headers=headers)


def sns(http: httpx.Client, signer: Signer) -> Callable[[], httpx.Response]:
    return partial(http.post, "/events/s3", json=signer.sns("sns_notification"))


@pytest.mark.parametrize("post", [sns, gcs])
def test_a_host_that_does_not_answer_holds_one_thread_and_no_other_request(
    http: httpx.Client,
    silent: SilentHost,
    signer: Signer,
    post: Callable[[httpx.Client, Signer], Callable[[], httpx.Response]],
) -> None:
    ask = post(http, signer)
    with ThreadPoolExecutor(CALLERS) as pool:
        waiting = [pool.submit(ask) for _ in range(CALLERS)]
        wait_for(lambda: bool(silent.asked))
        api = {"authorization": "Bearer api-token"}
        assert http.get("/queue", headers=api).status_code == 200  # a route that takes a thread
        assert http.get("/healthz").status_code == 200
        assert http.get("/readyz").status_code == 200
        codes = {each.result().json()["code"] for each in waiting}
    assert codes == {"sender_check_unavailable"}
    assert len(silent.asked) == 1


def test_a_failure_is_remembered_for_a_while(
    http: httpx.Client, silent: SilentHost, signer: Signer
) -> None:
    silent.answers.set()
    for _ in range(5):
        assert sns(http, signer)().status_code == 503
        elsewhere = signer.sns("sns_notification")
        elsewhere["SigningCertURL"] = elsewhere["SigningCertURL"].replace("01d088", "ffffff")
        assert http.post("/events/s3", json=elsewhere).status_code == 503
    assert len(silent.asked) == 1  # the host did not answer: not for this certificate either
    assert gcs(http, signer)().status_code == 503
    assert silent.asked[1:] == [oidc.CERTIFICATES]


def test_what_anyone_may_ask_is_answered_while_all_threads_are_busy(
    http: httpx.Client, queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    free, held = threading.Event(), []

    def depth(self: JobQueue) -> None:
        held.append(1)
        free.wait(60)
        raise AssertionError("ends the request")

    monkeypatch.setattr(JobQueue, "depth", depth)
    api = {"authorization": "Bearer api-token"}
    with ThreadPoolExecutor(THREADS) as pool:
        busy = [pool.submit(http.get, "/queue", headers=api) for _ in range(THREADS)]
        try:
            wait_for(lambda: len(held) >= THREADS)  # one may be a thread in the background
            assert http.get("/healthz").status_code == 200
            assert http.get("/readyz").status_code == 200
            stranger = {"authorization": "Bearer nobody's"}
            assert http.get("/queue", headers=stranger).status_code == 401
            assert http.post("/ui/login", data={"token": "nobody's"}).status_code == 401
            assert http.post("/events/s3", json=payload("s3_records")).status_code == 503
            assert http.get("/queue").status_code == 401
        finally:
            free.set()
        for each in busy:
            each.result()


def test_strangers_at_once_cost_no_look_at_all_tokens(http: httpx.Client, queue: JobQueue) -> None:
    with (
        commands(queue.redis, f"{queue.name}:token") as found,
        ThreadPoolExecutor(CALLERS) as pool,
    ):
        answers = [
            pool.submit(http.get, "/queue", headers={"authorization": f"Bearer guess-{n}"})
            for n in range(CALLERS)
        ]
        assert {each.result().status_code for each in answers} == {401}
    assert set(found) == {"HGET"}
    assert len(found) <= 2 * CALLERS


# --- the hosts of SNS ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arn", "host"),
    [
        ("arn:aws:sns:eu-central-1:123456789012:x", "sns.eu-central-1.amazonaws.com"),
        ("arn:aws:sns:ap-southeast-4:123456789012:x", "sns.ap-southeast-4.amazonaws.com"),
        ("arn:aws-us-gov:sns:us-gov-west-1:123456789012:x", "sns.us-gov-west-1.amazonaws.com"),
        ("arn:aws-cn:sns:cn-north-1:123456789012:x", "sns.cn-north-1.amazonaws.com.cn"),
        ("arn:aws:sns:s3-us-west-2:123456789012:x", ""),
        ("arn:aws:sns:s3:123456789012:x", ""),
        ("arn:aws:sns:eu-central-1.evil:123456789012:x", ""),
        ("arn:aws:sqs:eu-central-1:123456789012:x", ""),
        ("arn:evil:sns:eu-central-1:123456789012:x", ""),
        ("", ""),
    ],
)
def test_a_topic_has_one_host(arn: str, host: str) -> None:
    assert host_of_topic(arn) == host


@pytest.mark.parametrize(
    "host",
    [
        "sns.s3-us-west-2.amazonaws.com",
        "sns.us-east-1.amazonaws.com",  # another region than the topic's
        "sns.eu-central-1.amazonaws.com.cn",
        "SNS.eu-central-1.amazonaws.com",
        "sns.eu-central-1.amazonaws.com.",
        "sns.eu-central-1.amazonaws.com:443",
        "sns.eu-central-1.amazonaws.com@evil.example",
        "sns-eu-central-1.amazonaws.com",
        "sns.s3.eu-central-1.amazonaws.com",
    ],
)
def test_certificates_come_from_the_host_of_the_topics_region(
    http: httpx.Client, silent: SilentHost, signer: Signer, host: str
) -> None:
    message = signer.sns("sns_notification", SigningCertURL=f"https://{host}/a.pem")
    assert http.post("/events/s3", json=message).json()["code"] == "bad_event_sender"
    assert silent.asked == []
