"""Priorities, weights and limits as users set them: jobs, batches, rules and tokens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from api.background.batch_runner import BatchRunner
from shoal.client import Client
from shoal.errors import ApiError
from shoal.ingest.rules_file import RulesFile
from shoal.model.record import now
from shoal.model.token import Limits, Scope
from shoal.queue.queue import JobQueue
from shoal.queue.quotas import Quotas
from shoal.queue.tokens import TokenStore
from shoal.settings import Settings
from tests.serving import served, take, wait_for, write_video

ADMIN = "a" * 40


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"api_tokens": (SecretStr(ADMIN),)})


@pytest.fixture
def url(settings: Settings, queue: JobQueue) -> Iterator[str]:
    with served(settings) as url:
        yield url


@pytest.fixture
def admin(url: str) -> Iterator[Client]:
    with Client(url, ADMIN) as client:
        yield client


def videos(settings: Settings, count: int) -> list[str]:
    return [write_video(settings, f"{number}.mp4").as_uri() for number in range(count)]


def test_a_job_has_the_priority_it_asks_for_or_that_of_its_token(
    url: str, admin: Client, settings: Settings, queue: JobQueue
) -> None:
    secret = admin.create_token("bulk", "submit", priority="low", weight=3).secret
    first, second = videos(settings, 2)
    with Client(url, secret) as client:
        usual = client.submit(first, "person")
        urgent = client.submit(second, "person", priority="high")
    assert (usual.priority, usual.share.source, usual.share.weight) == ("low", "token:bulk", 3)
    assert urgent.priority == "high"
    assert take(queue).record.id == urgent.id
    with pytest.raises(ApiError) as error:
        admin.submit(first, "person", priority="urgent")
    assert error.value.status == 422


def test_a_job_tells_its_place_in_the_line(
    admin: Client, settings: Settings, queue: JobQueue
) -> None:
    first, _, third = (admin.submit(uri, "person") for uri in videos(settings, 3))
    place = admin.get(third.id).place
    assert place is not None
    assert (place.position, place.starts_in_s) == (3, None)
    take(queue).succeed({}, {})
    assert admin.get(first.id).place is None
    place = admin.get(third.id).place
    assert place is not None
    assert place.position == 2


def test_a_batch_has_weight_and_limit(
    url: str, admin: Client, settings: Settings, queue: JobQueue
) -> None:
    batch = admin.batches.submit(
        "person", uris=videos(settings, 3), priority="low", weight=5, max_running=2
    )
    assert (batch.priority, batch.weight, batch.max_running) == ("low", 5, 2)
    wait_for(lambda: admin.batches.get(batch.id).videos == 3)
    share = next(admin.batches.videos(batch.id)).share
    assert (share.source, share.weight, share.max_running) == (f"batch:{batch.id}", 5, 2)
    assert take(queue)
    assert take(queue)
    assert queue.line.take() is None


def test_a_rule_has_priority_weight_and_limit(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(
        '[[rule]]\nname = "soccer"\nbucket = "gs://in"\nprompts = ["person"]\n'
        'results = "gs://out"\npriority = "low"\nweight = 3\nmax_running = 7\n'
    )
    rules = RulesFile(settings.model_copy(update={"rules": path})).current()
    _, share = rules.terms_of("gs://in/a.mp4")
    assert (share.source, share.priority, share.weight) == ("rule:soccer", "low", 3)
    assert share.max_running == 7


def test_a_token_queues_no_more_than_it_may(
    url: str, admin: Client, settings: Settings, queue: JobQueue
) -> None:
    secret = admin.create_token("small", "submit", limits=Limits(queued=2)).secret
    uris = videos(settings, 4)
    with Client(url, secret) as client:
        for uri in uris[:2]:
            client.submit(uri, "person")
        assert client.submit(uris[0], "person").id  # what is known costs nothing
        with pytest.raises(ApiError, match="2 queued videos: 0 are left") as error:
            client.submit(uris[2], "person")
        assert (error.value.status, error.value.remote_code) == (429, "quota_exceeded")
        with pytest.raises(ApiError, match="0 are left, 2 were asked for"):
            client.batches.submit("person", uris=uris[2:])
        take(queue)
        client.submit(uris[2], "person")


def test_a_token_submits_and_uploads_no_more_in_a_day(
    url: str, admin: Client, settings: Settings
) -> None:
    limits = Limits(submissions_per_day=2, upload_bytes_per_day=1000)
    secret = admin.create_token("daily", "submit", limits=limits).secret
    uris = videos(settings, 3)
    headers = {"Authorization": f"Bearer {secret}"}
    with Client(url, secret) as client, httpx.Client(base_url=url, headers=headers) as http:
        client.submit(uris[0], "person")
        client.cancel(client.submit(uris[1], "person").id)
        with pytest.raises(ApiError, match="2 submissions a day: 0 are left"):
            client.submit(uris[2], "person")
        assert http.put("/uploads/a.mp4", content=bytes(600)).status_code == 201
        refused = http.put("/uploads/b.mp4", content=bytes(500))
        assert refused.status_code == 429
        assert "400 are left" in refused.json()["detail"]
        chunks = (bytes(100) for _ in range(5))
        assert http.put("/uploads/c.mp4", content=chunks).status_code == 429
        assert http.put("/uploads/d.mp4", content=bytes(400)).status_code == 201


def test_limits_of_a_day_are_new_the_next_day(queue: JobQueue) -> None:
    today = now()
    token, _ = TokenStore(queue.redis, queue.name).create(
        "t", Scope.SUBMIT, limits=Limits(submissions_per_day=1)
    )
    Quotas(queue.redis, queue.name, lambda: today).submit(token, 1)
    assert Quotas(queue.redis, queue.name, lambda: today).room(token) == 0
    assert Quotas(queue.redis, queue.name, lambda: today + 86_400).room(token) == 1


def test_a_batch_waits_for_room_and_goes_on(settings: Settings, queue: JobQueue) -> None:
    """A pattern's videos are not counted before: what the token may not queue now comes later."""
    from shoal.model.batch import BatchRequest

    TokenStore(queue.redis, queue.name).create("t", Scope.SUBMIT, limits=Limits(queued=2))
    videos(settings, 5)
    runner = BatchRunner(queue, RulesFile(settings), settings)
    pattern = f"{settings.data_dir.as_uri()}/*.mp4"
    batch = runner.batches.create(BatchRequest(globs=[pattern], prompts=["person"]), "t")
    done: list[str] = []
    for _ in range(10):
        runner._not_before.clear()
        while runner.round() and not runner.batches.get(batch.id).error:
            pass
        assert queue.depth().queued <= 2
        while queue.depth().queued:
            lease = take(queue)
            done.append(lease.record.id)
            lease.succeed({}, {})
    assert len(done) == len(set(done)) == 5
    assert runner.batches.get(batch.id).expanded_at
