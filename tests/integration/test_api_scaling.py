"""GET /scaling."""

from __future__ import annotations

import httpx

from api.routes.scaling import EXAMPLE
from shoal.model.scaling import ScalingDecision, ScalingStatus
from shoal.queue import scaling
from shoal.queue.queue import JobQueue
from shoal.queue.scaling import Scaling


def test_no_autoscaler(http: httpx.Client) -> None:
    assert http.get("/scaling").json() == {"status": None, "decisions": []}


def test_state_and_decisions_newest_first(http: httpx.Client, queue: JobQueue) -> None:
    status = ScalingStatus(at=2, leader="a-1", launcher="sky", action="grow", reason="3 queued")
    scaling.publish(queue.redis, queue.name, status, ttl_s=60)
    for at in (1, 2):
        decision = ScalingDecision(at=at, action="grow", reason="3 queued", launched=at)
        scaling.tell(queue.redis, queue.name, decision)
    answer = http.get("/scaling").json()
    assert answer["status"]["reason"] == "3 queued"
    assert [decision["launched"] for decision in answer["decisions"]] == [2, 1]
    assert len(http.get("/scaling?limit=1").json()["decisions"]) == 1


def test_a_state_that_nobody_renews_lapses(http: httpx.Client, queue: JobQueue) -> None:
    status = ScalingStatus(at=2, leader="a-1", launcher="sky", action="grow", reason="3 queued")
    scaling.publish(queue.redis, queue.name, status, ttl_s=60)
    (key,) = queue.redis.keys("*:scaling")
    assert 0 < queue.redis.pttl(key) <= 60_000
    assert http.get("/scaling").json()["status"] is not None
    queue.redis.pexpire(key, 0)  # the minute has passed
    assert http.get("/scaling").json()["status"] is None


def test_the_example_is_an_answer() -> None:
    assert Scaling.model_validate(EXAMPLE).model_dump() == EXAMPLE
