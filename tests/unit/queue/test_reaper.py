"""A background thread of the API, when its rounds fail."""

from __future__ import annotations

import logging

import pytest
import redis

from api.background.reaper import ReaperThread
from shoal.queue.maintenance import Maintenance
from shoal.queue.queue import JobQueue
from shoal.queue.reaper import Reaper
from tests.serving import wait_for


def test_it_goes_on_whatever_happens_and_does_not_repeat_itself(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    away, fault = redis.ConnectionError("refused"), RuntimeError("one bad job")
    story: list[Exception | None] = [away, away, away, fault, None, away, None]
    done: list[object] = []

    def sweep(_: Reaper) -> list[str]:
        if story:
            done.append(story[0])
            if error := story.pop(0):
                raise error
        else:
            done.append("the end")
        return []

    monkeypatch.setattr(Reaper, "sweep", sweep)
    monkeypatch.setattr(Maintenance, "run", lambda _: None)
    caplog.set_level(logging.INFO)
    queue = JobQueue(redis.Redis(port=1), "shoal", retries=0, lease_s=0.04)
    thread = ReaperThread(queue, Maintenance(queue, retention_days=0))
    thread.start()
    wait_for(lambda: "the end" in done)
    thread.stop()
    assert not thread.is_alive()
    messages = [record.getMessage() for record in caplog.records]
    logged = [
        message.removeprefix("reaper").removeprefix(":").split(":")[0] for message in messages
    ]
    assert logged == [
        " waiting for Redis",
        " failed; next run in 0.0 s",
        " Redis is available again",
        " waiting for Redis",
        " Redis is available again",
    ]
