"""A ``file://`` root that is away: what the API, batches, sweeps and workers make of it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import httpx
import pytest

from api.background.batch_runner import BatchRunner
from api.data_dir import make_data_dir
from shoal.client import Client
from shoal.errors import StorageUnavailable
from shoal.ingest.rules_file import RulesFile
from shoal.model.batch import BatchRequest
from shoal.model.job import JobSpec, Options, State
from shoal.queue.batches import Batches
from shoal.queue.queue import JobQueue
from shoal.settings import Settings
from tests import media
from tests.conftest import SubmitClip
from tests.running import Processes, eventually
from tests.serving import publish, served, take, write_video


@pytest.fixture
def away(settings: Settings) -> Path:
    """Where the root is when it is away."""
    return settings.data_dir.with_name("away")


def test_the_api_says_so(settings: Settings, queue: JobQueue, away: Path) -> None:
    """Everything that reads or writes storage, and nothing makes the root anew."""
    video = write_video(settings, "match.mp4").as_uri()
    spec = JobSpec(
        uri=video, version="1", size=1, prompts=("x",), results=settings.results_root + "/a"
    )
    queue.submit(spec)
    lease = take(queue)
    results = publish(spec, settings, {f"{spec.stem}_masks.parquet": b"masks"})
    lease.succeed(results, {})
    with (
        served(settings) as url,
        Client(url) as client,
        httpx.Client(base_url=url) as http,
    ):
        settings.data_dir.rename(away)
        try:
            answers = [
                http.post("/videos", json={"uri": video, "prompts": ["person"]}),
                http.post(
                    "/batches",
                    json={
                        "globs": [settings.data_dir.as_uri() + "/**"], "prompts": ["person"]
                    },
                ),
                http.put("/uploads/a.mp4", content=b"bytes"),
                *(http.get(f"/videos/{spec.id}/results/{name}") for name in results),
            ]  # fmt: skip
            assert not settings.data_dir.exists()
        finally:
            away.rename(settings.data_dir)
        found = [(each.status_code, each.json()["code"]) for each in answers]
        assert found == [(503, "storage_unavailable")] * len(answers)
        assert client.submit(video, ["person"]).state == State.QUEUED
        assert http.put("/uploads/a.mp4", content=b"bytes").status_code == 201


def test_a_batch_waits_for_it(settings: Settings, queue: JobQueue, away: Path) -> None:
    for number in range(3):
        write_video(settings, f"in/{number}.mp4")
    batches = Batches(queue)
    request = {
        "prompts": ["person"],
        "globs": [settings.data_dir.as_uri() + "/in/**"],
        "uris": [(settings.data_dir / "in" / "0.mp4").as_uri()],
    }
    batch = batches.create(BatchRequest.model_validate(request))
    settings.data_dir.rename(away)
    BatchRunner(queue, RulesFile(settings), settings).round()
    current = batches.get(batch.id)
    assert current.error is not None
    assert current.error.code == "storage_unavailable"
    assert current.is_expanding
    away.rename(settings.data_dir)
    runner = BatchRunner(queue, RulesFile(settings), settings)
    while runner.round():
        pass
    assert batches.status(batches.get(batch.id)).counts[State.QUEUED] == 3


def test_a_batch_that_is_cancelled_meanwhile_waits_for_nothing(
    settings: Settings, queue: JobQueue, away: Path
) -> None:
    batches = Batches(queue)
    uri = write_video(settings, "0.mp4").as_uri()
    batch = batches.create(BatchRequest.model_validate({"prompts": ["person"], "uris": [uri]}))
    settings.data_dir.rename(away)
    runner = BatchRunner(queue, RulesFile(settings), settings)
    runner.round()
    assert batches.get(batch.id).error is not None
    batches.cancel(batch.id)
    away.rename(settings.data_dir)
    BatchRunner(queue, RulesFile(settings), settings).round()
    status = batches.status(batches.get(batch.id))
    assert (status.state, status.error) == ("cancelled", None)


def test_a_sweep_queues_nothing_anew(settings: Settings, queue: JobQueue, tmp_path: Path) -> None:
    """Where the results are away, they are not taken for missing."""
    videos, results = tmp_path / "videos", tmp_path / "results"
    for folder in (videos, results):
        folder.mkdir()
    media.write_video(videos / "a.mp4", frames=2, fps=25)
    rules = tmp_path / "rules.toml"
    rules.write_text(f'[[rule]]\nbucket = "{videos.as_uri()}"\nprompts = ["person"]\n')
    swept = settings.model_copy(
        update={
            "rules": rules, "sweep_s": 0, "results": results.as_uri(),
            "file_roots": (videos, results),
        }
    )  # fmt: skip
    os.utime(videos / "a.mp4", (time.time() - 3600,) * 2)  # nobody is still writing it
    with served(swept) as url, Client(url) as client:
        results.rename(tmp_path / "away")
        *_, page = client.reconcile()
        assert "does not exist" in str(page.unreadable)
        assert queue.records.counts()[State.QUEUED] == 0
        videos.rename(tmp_path / "away too")
        *_, page = client.reconcile()
        assert "does not exist" in str(page.unreadable)
        assert not results.exists()
        assert not videos.exists()


@pytest.mark.parametrize("known", ["by its name", "by its jobs"])
def test_a_data_folder_is_made_once(
    settings: Settings, queue: JobQueue, submit_clip: SubmitClip, away: Path, known: str
) -> None:
    if known == "by its jobs":
        submit_clip()
    else:
        make_data_dir(settings, queue)
    assert settings.data_dir.is_dir()
    settings.data_dir.rename(away)
    for _ in range(2):
        make_data_dir(settings, queue)
    assert not settings.data_dir.exists()


def test_queued_videos_survive_and_a_worker_makes_no_root(
    processes: Processes, settings: Settings, submit_clip: SubmitClip, away: Path
) -> None:
    jobs = [submit_clip((prompt,), Options(max_frames=2)) for prompt in ("a", "b", "c", "d")]
    settings.data_dir.rename(away)
    processes.worker(SHOAL_RETRY_PAUSES_S="3600")

    def have_failed() -> bool:
        return all(processes.queue.records.get(job).failures for job in jobs)

    eventually(have_failed, "each to have been tried")
    assert not settings.data_dir.exists()
    away.rename(settings.data_dir)
    for job in jobs:
        processes.queue.redis.zadd(processes.queue.delayed.key, {job: 1})  # its pause is over
    for job in jobs:
        record = processes.wait_state(job, "succeeded", "failed")
        assert record.state == State.SUCCEEDED, record.error
        (failed, _) = processes.queue.records.attempts(job)
        assert failed.error is not None
        assert failed.error.code == StorageUnavailable.code
