"""The API's reaper thread, when its sweeps fail."""

from __future__ import annotations

import logging

import pytest
import redis

from api.reaper import ReaperThread
from shoal.lease import Reaper
from shoal.queue import JobQueue
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
    caplog.set_level(logging.INFO)
    queue = JobQueue(redis.Redis(port=1), "shoal", retries=0, lease_s=0.04)
    thread = ReaperThread(queue)
    thread.start()
    wait_for(lambda: "the end" in done)
    thread.stop()
    assert not thread.is_alive()
    messages = [record.getMessage() for record in caplog.records]
    told = [message.partition(":")[0].partition(",")[0] for message in messages]
    assert told == [
        "Redis does not answer",
        "the sweep failed",
        "Redis is back",
        "Redis does not answer",
        "Redis is back",
    ]
