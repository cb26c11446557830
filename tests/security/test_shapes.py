"""Ids and URLs of every shape but their own: refused, never a fault, and never another key."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings as hypothesis_settings, strategies as st
from redis import Redis

from api.background.webhook_sender import WebhookSender
from api.webhook_client import WebhookClient
from shoal.errors import (
    BatchNotFound,
    CallbackNotFound,
    InvalidSetting,
    JobNotFound,
    UnsupportedLocation,
)
from shoal.model.batch import BatchRequest
from shoal.model.delivery import DeliveryState
from shoal.model.job import JobSpec
from shoal.queue.batches import Batches
from shoal.queue.connection import connect
from shoal.queue.queue import JobQueue, open_queue
from shoal.settings import Settings
from shoal.storage import storage_for
from tests.receiver import Receiver
from tests.security.conftest import FIRST, bearer
from tests.security.test_scopes import routes
from tests.serving import take, wait_for

quick = hypothesis_settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

STREAMS = "/live/"
WITH_ID = sorted({(m, p) for m, p in routes() if "{" in p and not p.startswith(STREAMS)})
LIVE_WITH_ID = sorted({p for _, p in routes() if "{" in p and p.startswith(STREAMS)})
PARTS = ("job_id", "batch_id", "delivery_id", "name", "number", "table", "name:path", "path:path")


# --- ids ----------------------------------------------------------------------------------------


def job(queue: JobQueue, callback: str = "", name: str = "a") -> str:
    spec = JobSpec(uri=f"s3://b/{name}.mp4", version="1", size=1, prompts=("x",), results="s3://r")
    return queue.submit(spec, callback=callback)[0].id


@pytest.fixture(scope="module")
def hostile(queue: JobQueue) -> list[str]:
    """Ids beside those of a job, a batch and a delivery that there are."""
    batch = Batches(queue).create(BatchRequest(uris=["file:///nowhere.mp4"], prompts=["x"])).id
    mine = job(queue, "https://example.com/")
    (delivery,), _ = queue.callbacks.page(state=None, job="", limit=1, cursor="") or ([None], "")
    known = [batch, mine, *([delivery.id] if delivery else [])]
    ends = [":totals", ":uris", ":skips", ":lock", "\n", "\0", " ", ".", "/", "x", "%00", "é"]
    return [
        *(each + end for each in known for end in ends),
        *(each.upper() for each in known),
        *(f" {each}" for each in known),
        "", "0", "*", "[", "due", "gone", "x" * 5000, "\N{GRINNING FACE}" * 100, "msg_", "-1",
        "9" * 5000, "//[x",
    ]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def over(queue: JobQueue) -> None:
    """A job that has ended has a delivery."""
    job(queue, "https://example.com/", "over")
    take(queue).cancel()


@pytest.mark.parametrize(("method", "path"), WITH_ID)
def test_an_id_of_another_shape_is_not_found(
    http: httpx.Client, hostile: list[str], method: str, path: str
) -> None:
    for each in hostile:
        address = path
        for part in PARTS:
            address = address.replace("{" + part + "}", quote(each, safe=""))
        answer = http.request(method, address, headers=bearer(FIRST))
        assert answer.status_code < 500, each
        if "{batch_id}" in path or "{delivery_id}" in path or "{job_id}" in path:
            assert answer.status_code in (303, 307, 404, 405, 422) or not each, each


@pytest.mark.parametrize("path", LIVE_WITH_ID)
def test_a_live_page_of_what_there_is_not_ends(
    http: httpx.Client, hostile: list[str], path: str
) -> None:
    for each in filter(None, hostile):
        address = path.partition("{")[0] + quote(each, safe="")
        answer = http.get(address, headers=bearer(FIRST))
        assert answer.status_code in (307, 404) or "event: gone" in answer.text, each


@pytest.fixture(scope="module")
def batch_id(queue: JobQueue) -> str:
    request = BatchRequest(uris=["file:///nowhere.mp4"], prompts=["x"])
    return Batches(queue).create(request).id


@quick
@given(st.sampled_from([":totals", ":uris", ":skips"]) | st.text(min_size=1, max_size=60))
def test_no_text_but_an_id_is_looked_up(queue: JobQueue, batch_id: str, end: str) -> None:
    text = batch_id + end
    for look, error in (
        (queue.records.get, JobNotFound),
        (queue.cancel, JobNotFound),
        (queue.retry, JobNotFound),
        (Batches(queue).get, BatchNotFound),
        (Batches(queue).cancel, BatchNotFound),
        (Batches(queue).skips, BatchNotFound),
        (queue.callbacks.get, CallbackNotFound),
        (queue.callbacks.replay, CallbackNotFound),
    ):
        with pytest.raises(error):
            look(text)


# --- URLs -----------------------------------------------------------------------------------------

BROKEN = [
    "//[x", "//[", "//]", "http://[x", "http://[::1", "http://a]b/", "https://a[b]/", "file://[x/y",
    "file://[/y", "[", "]", "//\uff0f", "http://\u2100.example/", "://",
    "http://[fe80::1%25]/", "http://x:99999999/", "http://x:a/", "file:", "FILE://[",
    "\x00", "//@[",
]  # fmt: skip

MISSING = "file:///nowhere.mp4"


@pytest.fixture(params=BROKEN)
def broken(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


def places(url: str) -> Iterator[tuple[str, str, dict[str, object]]]:
    """Everywhere that the API takes an address."""
    yield "POST", "/videos", {"json": {"uri": url, "prompts": ["x"]}}
    yield "POST", "/videos", {"json": {"uri": MISSING, "prompts": ["x"], "callback": url}}
    yield "POST", "/batches", {"json": {"uris": [url], "prompts": ["x"]}}
    yield "POST", "/batches", {"json": {"globs": [url], "prompts": ["x"]}}
    yield "POST", "/batches", {"json": {"uris": [MISSING], "prompts": ["x"], "callback": url}}
    yield "GET", "/ui/rules", {"params": {"uri": url}}
    yield "GET", "/ui/videos", {"params": {"text": url}}
    yield "GET", "/ui/login", {"params": {"to": url}}
    yield "POST", "/ui/login", {"data": {"to": url, "token": FIRST}}
    yield "POST", "/ui/login", {"data": {"to": url, "token": url}}


def test_what_is_no_url_is_no_fault(http: httpx.Client, broken: str) -> None:
    for method, path, sent in places(broken):
        headers = bearer(FIRST)
        answer = http.request(method, path, headers=headers, **sent)  # type: ignore[arg-type]
        assert answer.status_code < 500, path
        if path == "/ui/login" and method == "POST" and answer.status_code == 303:
            assert answer.headers["Location"] == "/ui"


@pytest.mark.parametrize("header", ["Origin", "Host", "Referer", "X-Forwarded-Proto"])
def test_what_is_no_origin_is_no_fault(
    http: httpx.Client, local: httpx.Client, broken: str, header: str
) -> None:
    if not broken.isprintable():
        return
    headers = [(header.encode(), broken.encode())]
    http.post("/ui/login", data={"token": FIRST})
    for client in (http, local):
        for method, path in (("GET", "/ui"), ("POST", "/queue/resume"), ("POST", "/ui/login")):
            answer = client.request(method, path, headers=headers)
            assert answer.status_code < 500


@pytest.mark.parametrize(
    "to",
    [
        "https://evil.example/ui", "//evil.example/ui", "///evil.example", "/\\evil.example",
        "/ui\\@evil.example", "/ui\n//evil.example", "\t//evil.example", "javascript:alert(1)",
        "/uix", "ui", "/ui@evil.example", "//[x", "/ui:x", "/UI/videos",
    ],
)  # fmt: skip
def test_the_login_leads_nowhere_else(http: httpx.Client, to: str) -> None:
    answer = http.post("/ui/login", data={"token": FIRST, "to": to})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/ui")
    assert 'name="to" value="/ui"' in http.get("/ui/login", params={"to": to}).text


def test_storage_refuses_what_is_no_url(settings: Settings, broken: str) -> None:
    with pytest.raises(UnsupportedLocation):
        storage_for(broken, settings).stat(broken)


@pytest.mark.parametrize("url", ["redis://[x", "redis://:s3cret-word@[x", "http://x", "x", ""])
def test_a_broken_redis_url_is_named_without_its_password(url: str) -> None:
    with pytest.raises(InvalidSetting, match="SHOAL_REDIS_URL") as refused:
        connect(Settings(redis_url=url))
    assert "s3cret" not in str(refused.value)


def undelivered(queue: JobQueue) -> set[str]:
    deliveries, _ = queue.callbacks.page(state=None, job="", limit=9, cursor="")
    assert len(deliveries) == 3
    return {each.url for each in deliveries if each.state != DeliveryState.DELIVERED}


def test_a_callback_that_is_no_url_holds_up_no_other(settings: Settings, redis: Redis) -> None:
    queue = open_queue(settings.model_copy(update={"queue": "apart"}), redis)
    receiver = Receiver()
    try:
        for number, url in enumerate(("http://a]b/", "http://[x/", receiver.url)):
            job(queue, url, f"callback-{number}")
            take(queue).cancel()
        client = WebhookClient(("127.0.0.1/32",))
        sender = WebhookSender(queue.callbacks, settings.callback_secret, client)
        sender.start()
        try:
            wait_for(lambda: receiver.url not in undelivered(queue))
        finally:
            sender.stop()
    finally:
        receiver.close()
