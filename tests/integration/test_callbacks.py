"""Callbacks: put down with the end of a job, signed, tried again, and only to allowed hosts."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
from pydantic import SecretStr
from redis import Redis
from standardwebhooks.webhooks import Webhook

from api.egress import Egress
from shoal import callbacks
from shoal.callbacks import MAX_BODY_BYTES, DeliveryState, message
from shoal.client import Client
from shoal.errors import AudioOnly, CallbackForbidden, Failure, InvalidCallback, ShoalError
from shoal.jobs import JobSpec, State
from shoal.lease import Reaper
from shoal.queue import JobQueue
from shoal.settings import Settings
from shoal.targets import Targets
from tests.integration.test_api_videos import code_of
from tests.receiver import Receiver
from tests.serving import served, take, wait_for, write_video

SECRETS = ("whsec_" + "QUJDRA" * 6, "whsec_" + "RUZHSA" * 6)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    running = Receiver()
    yield running
    running.close()


@pytest.fixture
def telling(settings: Settings, queue: JobQueue) -> Iterator[Client]:
    """An API that sends callbacks, also to 127.0.0.1."""
    more = {
        "callback_secret": tuple(map(SecretStr, SECRETS)),
        "callback_allow": ("127.0.0.1/32",),
    }
    with served(settings.model_copy(update=more)) as url, Client(url) as client:
        yield client


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callbacks, "SCHEDULE_S", (0, 0, 0))


def settled(client: Client, count: int = 1) -> list[callbacks.Delivery]:
    """All deliveries, once so many are there and none is to be tried any more."""

    def over() -> bool:
        found = client.callbacks()
        return len(found) >= count and all(d.state != DeliveryState.PENDING for d in found)

    wait_for(over)
    return list(client.callbacks())


def submit(client: Client, settings: Settings, callback: str, name: str = "a.mp4") -> str:
    path = settings.data_dir / name
    uri = (path if path.exists() else write_video(settings, name)).as_uri()
    return client.submit(uri, ["person"], callback=callback).id


@pytest.mark.parametrize("secret", SECRETS)
def test_success_is_told_and_signed(
    telling: Client, settings: Settings, queue: JobQueue, receiver: Receiver, secret: str
) -> None:
    job_id = submit(telling, settings, receiver.url)
    take(queue).succeed({"a_metadata.json": 3}, {"objects_detected": 2})
    (delivery,) = settled(telling)
    headers, body = receiver.got[0]
    told = Webhook(secret).verify(body, headers)
    assert told["type"] == "video.succeeded"
    assert told["data"]["id"] == job_id
    assert told["data"]["results"] == {"a_metadata.json": 3}
    assert told["data"]["summary"] == {"objects_detected": 2}
    named = {name.lower(): value for name, value in headers.items()}
    assert named["webhook-id"] == delivery.id
    assert (delivery.state, delivery.job) == (DeliveryState.DELIVERED, job_id)
    assert [attempt.status for attempt in delivery.tries] == [204]
    assert len(receiver.got) == 1


def test_failure_and_cancellation_are_told(
    telling: Client, settings: Settings, queue: JobQueue, receiver: Receiver
) -> None:
    submit(telling, settings, receiver.url)
    take(queue).fail(Failure.of(AudioOnly("no picture")))
    telling.cancel(submit(telling, settings, receiver.url, "b.mp4"))
    submit(telling, settings, receiver.url, "c.mp4")
    take(queue).cancel()
    settled(telling, 3)
    told = [json.loads(body) for _, body in receiver.got]
    kinds = sorted(each["type"] for each in told)
    assert kinds == ["video.cancelled", "video.cancelled", "video.failed"]
    (failed,) = (each["data"] for each in told if each["type"] == "video.failed")
    assert failed["error"]["code"] == "audio_only"
    assert "traceback" not in failed["error"]


def test_the_end_of_a_job_and_its_callback_are_one_step(queue: JobQueue, redis: Redis) -> None:
    """Whoever ends it: here the reaper, of a job whose worker is gone."""
    spec = JobSpec(uri="file:///a", version="1", size=1, prompts=("p",), results="file:///r")
    queue.submit(spec, callback="https://example.com/hook")
    lease = take(queue)
    queue.cancel(spec.id)
    redis.zadd(queue.leases_key, {spec.id: 0})
    Reaper(queue).sweep()
    assert queue.records.get(spec.id).state == State.CANCELLED
    (delivery,) = queue.callbacks.due(10)
    assert (delivery.job, delivery.type) == (lease.record.id, "video.cancelled")


def test_all_who_asked_are_told_once(
    telling: Client, settings: Settings, queue: JobQueue, receiver: Receiver
) -> None:
    job_id = submit(telling, settings, receiver.url)
    assert submit(telling, settings, receiver.url + "&second=1") == job_id
    assert submit(telling, settings, receiver.url) == job_id
    take(queue).succeed({}, {})
    settled(telling, 2)
    for _ in range(3):  # after the end: at once, and once
        submit(telling, settings, receiver.url + "&late=1")
    assert len(settled(telling, 3)) == 3
    assert len(receiver.got) == 3
    assert len(telling.callbacks(job=job_id)) == 3


def test_refusals_are_tried_again_with_the_same_id_and_then_given_up(
    telling: Client, settings: Settings, queue: JobQueue, receiver: Receiver
) -> None:
    elsewhere = {"Location": f"http://127.0.0.1:{receiver.port}/elsewhere"}
    receiver.answers = [(500, {}), (302, elsewhere), (429, {"Retry-After": "0"}), (404, {})]
    submit(telling, settings, receiver.url)
    take(queue).succeed({}, {})
    (delivery,) = settled(telling)
    assert delivery.state == DeliveryState.FAILED
    assert [attempt.status for attempt in delivery.tries] == [500, 302, 429, 404]
    ids = {
        value for headers, _ in receiver.got for n, value in headers.items() if n == "webhook-id"
    }
    assert ids == {delivery.id}
    replayed = telling.replay(delivery.id)
    assert replayed.state == DeliveryState.PENDING
    (delivery,) = settled(telling)
    assert delivery.state == DeliveryState.DELIVERED
    assert len(delivery.tries) == 5


def test_410_disables_a_receiver_until_a_replay(
    telling: Client, settings: Settings, queue: JobQueue, receiver: Receiver
) -> None:
    receiver.answers = [(410, {})]
    submit(telling, settings, receiver.url)
    take(queue).succeed({}, {})
    settled(telling)
    submit(telling, settings, receiver.url, "b.mp4")
    take(queue).succeed({}, {})
    second, first = settled(telling, 2)
    assert (first.state, second.state) == (DeliveryState.DISABLED, DeliveryState.DISABLED)
    assert len(receiver.got) == 1
    telling.replay(second.id)
    wait_for(lambda: len(receiver.got) == 2)
    submit(telling, settings, receiver.url, "c.mp4")
    take(queue).succeed({}, {})
    assert settled(telling, 3)[0].state == DeliveryState.DELIVERED


def test_a_receiver_that_hangs_holds_nobody(
    telling: Client, settings: Settings, queue: JobQueue, receiver: Receiver
) -> None:
    receiver.hold.clear()
    other = Receiver()
    for number in range(20):
        submit(telling, settings, receiver.url, f"{number}.mp4")
        take(queue).succeed({}, {})
    wait_for(lambda: len(receiver.got) > 0)
    submit(telling, settings, other.url, "other.mp4")
    take(queue).succeed({}, {})
    wait_for(lambda: len(other.got) == 1)
    other.close()
    receiver.hold.set()
    assert len(settled(telling, 21)) == 21


def test_what_an_api_that_died_had_claimed_is_tried_again(queue: JobQueue, redis: Redis) -> None:
    spec = JobSpec(uri="file:///a", version="1", size=1, prompts=("p",), results="file:///r")
    queue.submit(spec, callback="https://example.com/hook")
    take(queue).succeed({}, {})
    outbox = queue.callbacks
    (delivery,) = outbox.due(10)
    assert outbox.claim(delivery)
    assert not outbox.claim(delivery)
    assert outbox.due(10) == []
    redis.zadd(outbox.due_key, {delivery.id: time.time() - 1})
    assert outbox.due(10) == [delivery]


def test_a_message_stays_small(queue: JobQueue) -> None:
    spec = JobSpec(
        uri="file:///" + "ü" * 4000,
        version="1",
        size=1,
        prompts=tuple("😀" * 99 + chr(97 + i) for i in range(16)),
        results="file:///" + "r" * 4000,
    )
    failure = Failure.of(AudioOnly("😀" * 100_000))
    record = queue.submit(spec)[0].model_copy(update={"state": State.FAILED, "error": failure})
    body = message(record)
    assert len(body) <= MAX_BODY_BYTES
    data = json.loads(body)["data"]
    assert data["truncated"]
    assert data["id"] == record.id


# --- where they may go -------------------------------------------------------------------------

PRIVATE = [
    "http://127.0.0.1/",
    "http://localhost/",
    "http://[::1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[2002:7f00:1::]/",
    "http://[fe80::1]/",
    "http://[fd00::1]/",
    "http://169.254.169.254/latest/meta-data/",
    "http://10.0.0.1/",
    "http://100.64.0.1/",
    "http://0.0.0.0/",
    "http://224.0.0.1/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7f.1/",
    "http://0177.0.0.1/",
    "http://127.1/",
    "http://127.0.0.1.:80/",
    "http://127.0.0.2/",
    "http://[::127.0.0.1]/",
    "http://[::]/",
    "http://[fec0::1]/",
    "http://[ff02::1]/",
    "http://[2001:db8::1]/",
    "http://[2001:0:7f00:1::]/",
    "http://[64:ff9b:1::a00:1]/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://[2002:a9fe:a9fe::]/",
    "http://[::ffff:169.254.169.254]/",
    "http://[fd00:ec2::254]/latest/meta-data/",
    "http://2852039166/latest/meta-data/",
    "http://0xa9fea9fe/",
    "http://0251.0376.0251.0376/",
    "http://169.254.43518/",
    "http://100.100.100.200/",
    "http://168.63.129.16/metadata",
    "http://192.0.0.192/",
    "http://172.16.0.1/",
    "http://192.168.0.1/",
    "http://198.18.0.1/",
    "http://240.0.0.1/",
    "http://255.255.255.255/",
]
MALFORMED = [
    "ftp://example.com/",
    "example.com",
    "http://",
    "http://user:pw@example.com/",
    "http://example.com@127.0.0.1/",
    "http://example.com\\@127.0.0.1/",
    "http://example.com%40127.0.0.1@10.0.0.1/",
    "http://@127.0.0.1/",
    "http://127.0.0.1#@example.com:99999/",
    "http:127.0.0.1",
    "http:///127.0.0.1/",
    "https:\\example.com",
    "file:///etc/passwd",
    "gopher://example.com/",
    "javascript:alert(1)",
    "http://[::1",
    "http://example.com\t/",
    "http://example.com:0x50/",
    "http://example.com:-1/",
    "http://127.0.0.1\\.example.com/",
    "http://example.com/ x",
    "http://example.com/\r\nHost: evil",
    "http://exämple.com/",
    "http://example.com:22/",
    "http://example.com:99999/",
    "https://example.com/" + "x" * 2000,
]


@pytest.mark.parametrize("url", PRIVATE)
def test_private_addresses_are_out_of_reach(url: str) -> None:
    with pytest.raises(InvalidCallback):  # CallbackForbidden, where the host could be read at all
        Egress(()).post(url, {}, b"")


@pytest.mark.parametrize("url", MALFORMED)
def test_urls_that_could_be_read_in_two_ways_are_refused(url: str) -> None:
    with pytest.raises(InvalidCallback):
        Targets(()).check(url)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://10.0.0.1/", "10.0.0.1 is not a public address"),
        ("http://[fd00::1]/", "fd00::1 is not a public address"),
        ("http://0x7f.1/", "127.0.0.1 is not a public address, written as '0x7f.1'"),
    ],
)
def test_the_address_is_named(url: str, words: str) -> None:
    with pytest.raises(CallbackForbidden) as refused:
        Targets(()).check(url)
    assert str(refused.value) == words


@pytest.mark.parametrize(
    "answer", [["10.1.2.3"], ["93.184.215.14", "127.0.0.1"], ["::ffff:10.0.0.1"], ["fe80::1%eth0"]]
)
def test_a_name_that_means_a_private_address_is_refused(answer: list[str]) -> None:
    with pytest.raises(CallbackForbidden):
        Egress((), lambda host, port: answer).post("http://public.example/", {}, b"")


def test_the_checked_address_is_the_one_that_is_used() -> None:
    """A name that means another host the second time it is asked for (DNS rebinding)."""
    allowed = Receiver("127.0.0.1")
    forbidden = Receiver("127.0.0.2", allowed.port)
    answers = [["127.0.0.1"], ["127.0.0.2"]]
    egress = Egress(("127.0.0.1/32",), lambda host, port: answers.pop(0))
    assert egress.post(f"http://rebind.example:{allowed.port}/", {}, b"x").status == 204
    assert len(answers) == 1
    (headers, _), *more = allowed.got
    assert headers["Host"] == f"rebind.example:{allowed.port}"
    assert more == []
    with pytest.raises(CallbackForbidden):
        egress.post(f"http://rebind.example:{allowed.port}/", {}, b"x")
    assert forbidden.got == []
    allowed.close()
    forbidden.close()


def test_a_name_may_be_allowed() -> None:
    receiver = Receiver()
    egress = Egress(("hooks.internal",), lambda host, port: ["127.0.0.1"])
    assert egress.post(f"http://Hooks.Internal:{receiver.port}/", {}, b"").status == 204
    with pytest.raises(CallbackForbidden):
        egress.post(f"http://other.internal:{receiver.port}/", {}, b"")
    receiver.close()


def test_an_answer_that_drips_in_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    from api import egress

    monkeypatch.setattr(egress, "TIMEOUT_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _ = server.accept()
            try:
                while True:
                    connection.sendall(b"H")
                    time.sleep(0.1)
            except OSError:
                pass  # the other side hung up, as it should

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        with pytest.raises(egress.NoAnswer):
            Egress(("127.0.0.0/8",)).post(url, {}, b"")


def test_a_bad_callback_is_refused_at_once(
    telling: Client, settings: Settings, queue: JobQueue
) -> None:
    uri = write_video(settings).as_uri()
    body = {"uri": uri, "prompts": ["person"], "callback": "http://169.254.169.254/"}
    response = httpx.post(telling.url + "/videos", json=body)
    assert code_of(response) == (422, "callback_forbidden")
    response = httpx.post(telling.url + "/videos", json=body | {"callback": "ftp://x/"})
    assert code_of(response) == (422, "invalid_callback")
    assert queue.depth().queued == 0


def test_without_a_secret_there_are_no_callbacks(client: Client, settings: Settings) -> None:
    with pytest.raises(ShoalError) as caught:
        submit(client, settings, "https://example.com/")
    assert caught.value.remote_code == "callbacks_off"  # type: ignore[attr-defined]
