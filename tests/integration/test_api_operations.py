"""What an operator does over HTTP: pause, bulk actions, metrics, and looking on live."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from api.routes.scaling import EXAMPLE
from shoal.client import Client
from shoal.errors import AudioOnly
from shoal.model.failure import Failure
from shoal.model.job import State
from shoal.model.scaling import ScalingDecision, ScalingStatus
from shoal.model.worker import WorkerInfo
from shoal.queue import scaling
from shoal.queue.queue import JobQueue
from shoal.queue.workers import announce
from shoal.results.layout import part_name, parts_prefix
from shoal.settings import Settings
from shoal.storage import storage_for
from tests.conftest import SubmitClip
from tests.integration.test_api_videos import code_of, submit
from tests.serving import served, take, write_video


@pytest.fixture
def jobs(http: httpx.Client, settings: Settings) -> list[str]:
    """Four queued ones."""
    videos = [write_video(settings, f"m{i}.mp4") for i in range(4)]
    return [submit(http, video).json()["id"] for video in videos]


# --- pause and bulk actions ----------------------------------------------------------------------


def test_the_queue_is_paused_and_resumed(client: Client) -> None:
    assert not client.queue().paused
    assert client.pause().paused
    assert client.pause().paused
    assert client.queue().paused
    assert not client.resume().paused


def test_what_a_filter_finds_is_retried_and_cancelled(
    http: httpx.Client, jobs: list[str], queue: JobQueue
) -> None:
    for _ in range(2):
        take(queue).fail(Failure.of(AudioOnly("no picture")))

    def bulk(action: str, **wanted: str) -> dict[str, Any]:
        body = {"action": action, "filter": wanted}
        answer: dict[str, Any] = http.post("/videos/bulk", json=body).json()
        return answer

    assert bulk("retry", cause="no_frames") == {"changed": 0, "skipped": 0, "next_cursor": ""}
    assert bulk("retry", cause="audio_only")["changed"] == 2
    assert bulk("retry") == {"changed": 0, "skipped": 4, "next_cursor": ""}
    running = take(queue).record.id
    assert bulk("cancel", text="m") == {"changed": 4, "skipped": 0, "next_cursor": ""}
    assert queue.records.get(running).cancel_requested
    assert bulk("cancel") == {"changed": 0, "skipped": 4, "next_cursor": ""}
    assert queue.records.counts()[State.CANCELLED] == 3


def test_a_bulk_action_goes_on_where_it_was(
    http: httpx.Client, submit_clip: SubmitClip, queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.routes.videos.BULK", 2)
    for number in range(5):
        submit_clip(prompts=(f"p{number}",))
    body: dict[str, Any] = {"action": "cancel"}
    changed = []
    while True:
        result = http.post("/videos/bulk", json=body).json()
        changed.append(result["changed"])
        if not result["next_cursor"]:
            break
        body["cursor"] = result["next_cursor"]
    assert changed == [2, 2, 1]


@pytest.mark.parametrize(
    "body",
    [{}, {"action": "destroy"}, {"action": "retry", "filter": {"colour": "red"}},
     {"action": "retry", "cursor": "nonsense"}],
)  # fmt: skip
def test_a_bad_bulk_request_is_refused(http: httpx.Client, body: dict[str, Any]) -> None:
    assert code_of(http.post("/videos/bulk", json=body)) == (422, "invalid_request")


def test_lists_take_every_filter(http: httpx.Client, jobs: list[str], queue: JobQueue) -> None:
    take(queue).fail(Failure.of(AudioOnly("no picture")))

    def found(**params: str) -> list[str]:
        return [job["id"] for job in http.get("/videos", params=params).json()["items"]]

    assert found(cause="audio_only") == found(worker="worker-1") == [jobs[0]]
    assert found(prompt="PERSON", state="queued") == jobs[:0:-1]
    assert found(after="2020-01-01", before="2020-01-02") == []
    assert len(found(after="2020-01-01", state="")) == 4
    assert code_of(http.get("/videos", params={"after": "yesterday"}))[0] == 422
    assert code_of(http.get("/videos", params={"colour": "red"}))[0] == 422


# --- engines and parts ---------------------------------------------------------------------------


def test_engines_tell_what_they_cannot_do(
    http: httpx.Client, queue: JobQueue, redis: Redis
) -> None:
    worker = WorkerInfo(name="w", host="h", pid=1, started_at=1, engine="cpu")
    announce(redis, queue.name, worker, ttl_s=60)
    auto, cpu, *_ = http.get("/engines").json()["items"]
    assert (auto["name"], auto["workers"], cpu["workers"], cpu["code"]) == ("auto", 1, 1, "")
    answers = http.get("/engines", params={"prompt": ["goalkeeper", "person"]}).json()["items"]
    by_name = {item["name"]: item for item in answers}
    assert by_name["cpu"]["code"] == "unknown_prompt"
    assert "goalkeeper" in by_name["cpu"]["reason"]
    assert by_name["auto"]["code"] == "unknown_prompt"  # all workers run the engine cpu
    assert by_name["sam3"]["code"] == "engine_unavailable"
    assert http.get("/engines", params={"prompt": "x" * 101}).json()["items"][0]["code"]


def test_finished_parts_are_served_while_the_video_runs(
    http: httpx.Client, client: Client, jobs: list[str], queue: JobQueue, settings: Settings,
    tmp_path: Path,
) -> None:  # fmt: skip
    lease = take(queue)
    job_id = lease.record.id
    assert client.parts(job_id) == []
    assert code_of(http.get(f"/videos/{job_id}/parts/1")) == (404, "result_not_found")
    local = tmp_path / "part"
    local.write_bytes(b"0123456789")
    uri = parts_prefix(lease.record.spec) + part_name(1, 1, "overlay.mp4")
    storage_for(uri, settings).put(local, uri, "video/mp4")
    lease.record_event("part", number=1, frames=60)
    (part,) = client.parts(job_id)
    assert (part.number, part.attempt, part.frames) == (1, 1, 60)
    answer = http.get(part.url, headers={"Range": "bytes=2-4"})
    assert (answer.status_code, answer.content) == (206, b"234")
    assert answer.headers["Content-Type"] == "video/mp4"
    storage_for(uri, settings).delete(uri)
    assert code_of(http.get(part.url)) == (404, "result_not_found")
    lease.succeed({}, {})
    assert client.parts(job_id) == []
    assert code_of(http.get(f"/videos/{'0' * 24}/parts")) == (404, "job_not_found")


# --- metrics -------------------------------------------------------------------------------------


def test_metrics(http: httpx.Client, jobs: list[str], queue: JobQueue, redis: Redis) -> None:
    take(queue).fail(Failure.of(AudioOnly("no picture")))
    take(queue).succeed({}, {"frames_processed": 120, "duration_s": 4.5})
    take(queue)
    queue.pause()
    worker = WorkerInfo(
        name="gpu-1", host="h", pid=1, started_at=1, state="busy", engine="sam3", device="H100"
    )
    announce(redis, queue.name, worker, ttl_s=60)
    answer = http.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain")
    found = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    assert found["shoal_jobs", "queued"] == found["shoal_jobs", "running"] == 1
    assert found["shoal_jobs_failed", "audio_only"] == 1
    assert found["shoal_jobs_ended_total", "audio_only", "failed"] == 1
    assert found["shoal_jobs_ended_total", "", "succeeded"] == 1
    assert found["shoal_attempts_total", "failed"] == 1
    assert found["shoal_attempt_seconds_total", "succeeded"] >= 0
    assert (found["shoal_frames_total",], found["shoal_video_seconds_total",]) == (120, 4.5)
    assert found["shoal_queue_paused",] == 1
    assert found["shoal_queue_oldest_seconds",] >= 0
    assert found["shoal_workers", "H100", "busy", "sam3"] == 1
    assert found["shoal_worker_beat_age_seconds", "gpu-1"] > 0
    assert found["process_resident_memory_bytes",] > 0


# --- live ----------------------------------------------------------------------------------------


@contextmanager
def listening(http: httpx.Client, address: str) -> Iterator[Iterator[dict[str, str]]]:
    """The data of each event of a stream."""
    with http.stream("GET", address) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        yield (json.loads(line[5:]) for line in lines if line.startswith("data:"))


def test_the_first_event_has_all_and_the_next_what_changed(
    http: httpx.Client, jobs: list[str], queue: JobQueue
) -> None:
    address = f"/live/videos/{jobs[0]}"
    with listening(http, address) as events:
        first = next(events)
        assert {"head", "player", "progress", "attempts"} <= set(first)
        assert "queued" in first["head"]
        take(queue).fail(Failure.of(AudioOnly("no <picture>")))
        changed = next(event for event in events if "failed" in event.get("head", ""))
    assert "no &lt;picture&gt;" in changed["head"]
    assert "objects" not in changed
    with listening(http, address) as events:
        assert set(next(events)) == set(first)


def test_the_overview_and_a_list_are_live(http: httpx.Client, jobs: list[str]) -> None:
    with listening(http, "/live/overview?hours=1") as events:
        assert set(next(events)) == {"tiles", "chart", "workers", "scaling", "failures"}
        http.post("/queue/pause")
        assert any("is paused" in event.get("tiles", "") for event in events)
    with listening(http, "/live/videos?text=m2") as events:
        assert "m2.mp4" in next(events)["rows"]
    assert code_of(http.get("/live/videos?state=lost"))[0] == 422


def test_the_autoscaler_is_shown_where_there_is_one(http: httpx.Client, queue: JobQueue) -> None:
    assert "Autoscaler" not in http.get("/ui").text
    status = ScalingStatus.model_validate(EXAMPLE["status"])
    scaling.publish(queue.redis, queue.name, status, ttl_s=60)
    decisions: Any = EXAMPLE["decisions"]
    decision = ScalingDecision.model_validate(decisions[0])
    scaling.tell(queue.redis, queue.name, decision)
    page = http.get("/ui").text
    assert "of 10 machines" in page
    assert page.count("the cap of 10 allows 10") == 2


def test_streams_end_when_the_api_stops(
    settings: Settings, queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.server.STOP_WAIT_S", 60)  # after which it would cut them off
    with ExitStack() as streams:
        with served(settings) as url:
            http = streams.enter_context(httpx.Client(base_url=url))
            events = streams.enter_context(listening(http, "/live/overview"))
            next(events)
        for _ in events:  # to its end: one that was cut off would raise
            pass


def test_a_video_that_is_forgotten_ends_its_stream(http: httpx.Client, jobs: list[str]) -> None:
    text = http.get(f"/live/videos/{'0' * 24}").text
    assert "event: gone" in text
