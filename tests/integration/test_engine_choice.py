"""``GET /engines`` says of every engine, 'auto' included, what a submission would be told."""

from __future__ import annotations

import httpx
import pytest

from shoal.model.worker import WorkerInfo
from shoal.queue.queue import JobQueue
from shoal.queue.workers import announce
from shoal.settings import Settings
from tests.serving import write_video


@pytest.mark.parametrize("prompt", ["unicorn", "person"])
def test_what_is_free_is_accepted_and_what_is_not_is_refused(
    http: httpx.Client, queue: JobQueue, settings: Settings, prompt: str
) -> None:
    uri = write_video(settings).as_uri()
    for running in ((), ("cpu",), ("cpu", "sam3"), ("sam3",), ("",)):
        queue.redis.flushdb()
        for number, engine in enumerate(running):
            device = "cuda:0" if engine == "sam3" else "cpu"
            name = f"worker-{number}"
            info = WorkerInfo(
                name=name, host="h", pid=1, started_at=1, engine=engine, device=device
            )
            announce(queue.redis, queue.name, info, 60)
        items = http.get("/engines", params={"prompt": prompt}).json()["items"]
        assert len(items) == 4
        for item in items:
            body = {"uri": uri, "prompts": [prompt], "options": {"engine": item["name"]}}
            answer = http.post("/videos", json=body)
            told = "" if answer.is_success else answer.json()["code"]
            assert told == item["code"], (running, item)
