"""A user cancels a video, and its worker is struck before it hears of it."""

from __future__ import annotations

import random

import pytest

from shoal.model.job import State
from shoal.results.layout import parts_prefix
from shoal.settings import Settings
from shoal.storage import storage_for
from tests.chaos.crawling import SHORT_LEASE
from tests.conftest import SubmitClip
from tests.running import Processes, eventually, model_process

ENGINE = "tests.chaos.crawling:CrawlingCounting"
BEAT_S = "1.4"  # slow enough for the blow to come first


@pytest.mark.parametrize("blow", ["SIGTERM", "SIGKILL", "SIGKILL model", "SIGSTOP"])
def test_it_stays_cancelled_and_leaves_nothing(
    processes: Processes, submit_clip: SubmitClip, settings: Settings, blow: str
) -> None:
    chance = random.Random(blow)
    processes.env |= {"SHOAL_PART_S": "0.3", "SHOAL_BEAT_S": BEAT_S}
    client = processes.api()
    job_id = submit_clip()
    worker = processes.worker(ENGINE, **SHORT_LEASE)
    spec = processes.wait_frames(job_id, chance.randint(8, 20)).spec
    model = model_process(worker)
    client.cancel(job_id)
    match blow:
        case "SIGTERM":
            worker.terminate()
        case "SIGKILL":
            worker.kill()
        case "SIGKILL model":
            model.kill()
        case "SIGSTOP":
            model.suspend()
            worker.kill()
    client.cancel(job_id)
    processes.worker(ENGINE)
    attempts = processes.wait_state(job_id, "cancelled").attempt
    storage, prefix = storage_for(spec.results, settings), parts_prefix(spec)
    eventually(lambda: not list(storage.entries(prefix)), "its segments to be removed")
    eventually(processes.idle_workers, "the other worker to be idle")
    record = processes.queue.records.get(job_id)
    assert (record.state, record.attempt) == (State.CANCELLED, attempts)
    assert processes.queue.depth().queued == processes.queue.depth().running == 0
    eventually(lambda: not processes.queue.redis.zcard(processes.queue.cleanup.key), "the list")
