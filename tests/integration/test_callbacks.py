"""Callbacks: put down with the end of a job, signed, and tried again."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import httpx
import pytest
from pydantic import SecretStr
from redis import Redis
from standardwebhooks.webhooks import Webhook

from api.background.webhook_sender import THREADS
from shoal.client import Client
from shoal.errors import AudioOnly, ShoalError
from shoal.model.delivery import Delivery, DeliveryState
from shoal.model.failure import Failure
from shoal.model.job import JobSpec, State
from shoal.queue import webhooks as callbacks
from shoal.queue.queue import JobQueue
from shoal.queue.reaper import Reaper
from shoal.queue.webhooks import MAX_BODY_BYTES, message
from shoal.settings import Settings
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
        "callback_allow": ("127.0.0.0/8",),
    }
    with served(settings.model_copy(update=more)) as url, Client(url) as client:
        yield client


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callbacks, "SCHEDULE_S", (0, 0, 0))


def settled(client: Client, count: int = 1) -> list[Delivery]:
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
    other = Receiver("127.0.0.2")  # of another host: each has a share of the threads
    for number in range(THREADS + 2):
        submit(telling, settings, receiver.url, f"{number}.mp4")
        take(queue).succeed({}, {})
    wait_for(lambda: len(receiver.got) > 0)
    submit(telling, settings, other.url, "other.mp4")
    take(queue).succeed({}, {})
    wait_for(lambda: len(other.got) == 1)
    other.close()
    receiver.hold.set()
    assert len(settled(telling, THREADS + 3)) == THREADS + 3


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
