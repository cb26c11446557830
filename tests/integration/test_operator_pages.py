"""Pages and routes of batches, callbacks, rules, skipped events, cost and priority."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from redis import Redis

from api.events.inbox import SkippedLog
from shoal.client import Client
from shoal.errors import AudioOnly, StateConflict
from shoal.formatting import dollars
from shoal.ingest.decide import Reason, Skip
from shoal.model.batch import BatchRequest
from shoal.model.failure import Failure
from shoal.model.job import JobSpec, State
from shoal.model.record import Forecast, Progress
from shoal.model.worker import WorkerInfo
from shoal.queue.batches import Batches
from shoal.queue.lease import Lease
from shoal.queue.queue import JobQueue
from shoal.queue.workers import announce
from shoal.settings import Settings
from tests.integration.test_api_videos import code_of, submit
from tests.serving import served, take, write_video
from tests.unit.test_monitoring import asked_for

EVIL = "<img src=x onerror=alert(1)>"
SLACK_S = 60.0  # that a busy machine may take for one step
SHOWN = "&lt;img src=x onerror=alert(1)&gt;"


@pytest.fixture
def jobs(http: httpx.Client, settings: Settings) -> list[str]:
    """Three queued ones."""
    videos = [write_video(settings, f"m{i}.mp4") for i in range(3)]
    return [submit(http, video).json()["id"] for video in videos]


def started_before(queue: JobQueue, lease: Lease, seconds: float, saved: float = 0.0) -> None:
    """As if the attempt had begun so long ago, and saved its last part that long after.

    A tenth of a cent a second.
    """
    record = queue.records.get(lease.record.id)
    began = (record.started_at or 0.0) - seconds
    key = queue.records.key(record.id)
    queue.redis.hset(key, mapping={"started_at": began, "hourly_price": 3.6})
    if saved:
        queue.redis.hset(key, "saved_at", began + saved)


# --- priority ------------------------------------------------------------------------------------


def test_a_waiting_video_goes_to_the_front_and_back(
    client: Client, jobs: list[str], queue: JobQueue
) -> None:
    assert client.prioritise(jobs[2], "front").priority == "front"
    assert queue.rq.get_job_ids() == [jobs[2], jobs[0], jobs[1]]
    assert client.prioritise(jobs[2], "front").priority == "front"
    assert client.prioritise(jobs[2], "normal").priority == "normal"
    assert queue.rq.get_job_ids() == [jobs[0], jobs[1], jobs[2]]
    client.prioritise(jobs[1], "front")
    lease = take(queue)
    assert lease.record.id == jobs[1]
    assert queue.records.get(jobs[1]).priority == "normal"  # it waits no more
    with pytest.raises(StateConflict):
        queue.prioritise(jobs[1], "front")


def test_priorities_are_two(http: httpx.Client, jobs: list[str]) -> None:
    address = f"/videos/{jobs[0]}/priority"
    assert code_of(http.post(address, json={"priority": "best"})) == (422, "invalid_request")
    assert code_of(http.post("/videos/" + 24 * "0" + "/priority", json={"priority": "front"})) == (
        404,
        "job_not_found",
    )


# --- cost ----------------------------------------------------------------------------------------


def test_cost_is_summed_over_attempts_and_waste_is_apart(
    http: httpx.Client, jobs: list[str], queue: JobQueue
) -> None:
    lease = take(queue)
    started_before(queue, lease, 10_000, saved=7_000)
    lease.give_back()
    spent = queue.records.get(jobs[0]).spent
    assert spent.seconds == pytest.approx(10_000, abs=SLACK_S)
    assert spent.cost == pytest.approx(spent.seconds / 1000, abs=0.001)
    assert spent.wasted_seconds == pytest.approx(3_000, abs=SLACK_S)
    assert spent.wasted_cost == pytest.approx(spent.wasted_seconds / 1000, abs=0.001)
    lease = take(queue)
    started_before(queue, lease, 5_000)
    lease.fail(Failure.of(AudioOnly("no picture")))
    queue.retry(jobs[0])
    spent = queue.records.get(jobs[0]).spent
    assert spent.seconds == pytest.approx(15_000, abs=2 * SLACK_S)
    attempts = queue.records.attempts(jobs[0])
    assert [a.wasted_seconds > 0 for a in attempts] == [True, False]
    assert sum(a.cost for a in attempts) == pytest.approx(spent.cost)
    page = http.get(f"/ui/videos/{jobs[0]}").text
    assert f"{dollars(spent.cost)}, {dollars(spent.wasted_cost)} lost to preemption" in page


def test_a_part_is_work_that_is_not_wasted(jobs: list[str], queue: JobQueue) -> None:
    lease = take(queue)
    started_before(queue, lease, 10_000)
    lease.record_event("part", number=1, frames=60)
    lease.give_back()
    spent = queue.records.get(jobs[0]).spent
    assert spent.seconds > 9_999
    assert spent.wasted_seconds < SLACK_S


# --- metrics -------------------------------------------------------------------------------------


def test_metrics_have_all_that_board_and_alerts_ask_for(
    http: httpx.Client, jobs: list[str], queue: JobQueue, redis: Redis
) -> None:
    take(queue).fail(Failure.of(AudioOnly("no picture")))
    lease = take(queue)
    lease.succeed({}, {"frames_processed": 30, "duration_s": 2.0}, {"fetch": 1.5, "process": 9.0})
    worker = WorkerInfo(name="gpu-1", host="n", pid=1, started_at=1, state="busy", hourly_price=2.5)
    announce(redis, queue.name, worker, ttl_s=60)
    running = take(queue)
    running.heartbeat(Progress(stage="process", frames=7, frames_expected=70, fps=4.5))
    families = {f.name: f for f in text_string_to_metric_families(http.get("/metrics").text)}
    names = {sample.name for family in families.values() for sample in family.samples}
    names |= {f.name + "_total" for f in families.values() if f.type == "counter"}
    assert asked_for() - names == set()

    def value(name: str, **labels: str) -> float:
        family = families[name.removesuffix("_total")]
        return next(s.value for s in family.samples if s.name == name and s.labels == labels)

    assert value("shoal_stage_seconds_total", stage="fetch") == 1.5
    assert value("shoal_frames_per_second") == 4.5
    assert value("shoal_price_dollars_per_hour") == 2.5
    assert 0 <= value("shoal_standstill_seconds") < SLACK_S


def test_a_running_video_shows_what_it_will_take(
    http: httpx.Client, jobs: list[str], queue: JobQueue
) -> None:
    lease = take(queue)
    told = Forecast(sampled_fps=1, reason="it is longer than 60 s", all_frames=2000)
    lease.heartbeat(Progress(stage="process", frames_expected=80, forecast=told))
    page = http.get(f"/ui/videos/{lease.record.id}").text
    assert "80 of 2\u202f000 frames will be processed, 1 per second" in page
    shown = http.get(f"/videos/{lease.record.id}").json()["progress"]["forecast"]
    assert (shown["sampled_fps"], shown["all_frames"]) == (1, 2000)
    timed = told.model_copy(update={"seconds": 60, "all_frames_s": 1500}).priced(2.4)
    lease.heartbeat(Progress(stage="process", frames_expected=80, forecast=timed))
    page = http.get(f"/ui/videos/{lease.record.id}").text
    assert (
        "about 1 min ($0.0400). All frames (sample_fps 0) would take about 25 min ($1.00)" in page
    )


def test_a_standstill_shows(jobs: list[str], queue: JobQueue) -> None:
    lease = take(queue)
    moved = [Progress(stage="process", frames=n) for n in (1, 1, 2)]
    seen = []
    for progress in moved:
        lease.heartbeat(progress)
        seen.append(queue.records.get(lease.record.id).progress.moved_at)
    assert seen[0] == seen[1] < seen[2]


# --- pages ---------------------------------------------------------------------------------------


def failed_in_batch(queue: JobQueue, uri: str) -> str:
    batch = Batches(queue).create(
        BatchRequest(uris=[uri], prompts=["person"], name=EVIL, globs=["gs://b/*.mp4"])
    )
    spec = JobSpec(uri=uri, version="1", size=1, prompts=("person",), results="gs://r")
    queue.submit(spec, batch=batch.id)
    take(queue).fail(Failure.of(AudioOnly(f"no picture in {EVIL}")))
    return batch.id


def test_the_list_has_an_inclusive_last_day_and_counts_what_is_filtered(
    http: httpx.Client, jobs: list[str]
) -> None:
    day = f"{datetime.now(UTC):%Y-%m-%d}"
    page = http.get("/ui/videos", params={"to": day}).text
    assert all(job in page for job in jobs)
    assert f'name="to" value="{day}"' in page
    assert "Cancel 3 queued or running…" in page
    assert "Cancel 3 videos matching the current filters?" in page
    assert "failed or cancelled…" not in page  # nothing to retry
    before = f"{datetime.now(UTC) - timedelta(days=1):%Y-%m-%d}"
    assert "No videos match these filters." in http.get("/ui/videos", params={"to": before}).text
    of_two_kinds = http.get("/ui/videos", params={"prompt": "person", "batch": ""}).text
    assert "Cancel 3 queued or running…" in of_two_kinds
    searched = http.get("/ui/videos", params={"text": "a"}).text  # counted by a walk
    assert "Cancel queued or running…" in searched
    assert http.get("/ui/videos", params={"to": "tomorrow"}).status_code == 422


def test_a_batch_has_its_pages(http: httpx.Client, queue: JobQueue) -> None:
    assert "No batches yet." in http.get("/ui/batches").text
    batch_id = failed_in_batch(queue, f"gs://b/{EVIL}.mp4")
    pages = [http.get(f"/ui/batches{path}").text for path in ("", f"/{batch_id}")]
    pages.append(http.get("/ui/videos", params={"batch": batch_id, "state": "failed"}).text)
    for page in pages:
        assert EVIL not in page
        assert SHOWN in page or batch_id in page
    assert f'data-post="/batches/{batch_id}/retry"' in pages[1]
    assert f"batch={batch_id}&amp;cause=audio_only" in pages[1]
    assert f'name="batch" value="{batch_id}"' in pages[2]  # the form keeps it
    assert http.get("/ui/batches/nonsense").status_code == 404


def test_a_callback_is_shown_and_sent_again(settings: Settings, queue: JobQueue) -> None:
    spec = JobSpec(uri="gs://b/a.mp4", version="1", size=1, prompts=(EVIL,), results="gs://r")
    queue.submit(spec, callback=f"https://example.org/{EVIL}")
    take(queue).fail(Failure.of(AudioOnly("no picture")))
    with served(settings) as url, httpx.Client(base_url=url) as http:
        page = http.get("/ui/callbacks").text
        assert "video.failed" in page
        assert EVIL not in page
        assert SHOWN in page
        assert "video.failed" not in http.get("/ui/callbacks?state=delivered").text
        assert "video.failed" in http.get(f"/ui/callbacks?job={spec.id}").text
        assert http.get("/ui/callbacks?state=best").status_code == 422


def test_skipped_uploads_are_listed_by_reason(http: httpx.Client, queue: JobQueue) -> None:
    assert "No uploads skipped." in http.get("/ui/skipped").text
    SkippedLog(queue.redis, queue.name).note("gcs", [Skip(f"gs://b/{EVIL}", Reason.NO_RULE)])
    page = http.get("/ui/skipped").text
    assert "No matching rule" in page
    assert EVIL not in page
    assert SHOWN in page


RULES = """
[[rule]]
name = "soccer <b>"
bucket = "gs://matches"
key = "soccer/**/*.mp4"
prompts = ["person", "ball"]
results = "gs://elsewhere/soccer"
"""


def test_rules_are_shown_and_tried(settings: Settings, queue: JobQueue, tmp_path: Path) -> None:
    file = tmp_path / "rules.toml"
    file.write_text(RULES)
    with (
        served(settings.model_copy(update={"rules": file})) as url,
        httpx.Client(base_url=url) as http,
    ):
        page = http.get("/ui/rules").text
        assert "soccer &lt;b&gt;" in page
        assert "soccer/**/*.mp4" in page

        def verdict(uri: str) -> str:
            text = http.get("/ui/rules", params={"uri": uri}).text
            return text.split('id="verdict"')[1].split("</p>")[0]

        assert "soccer &lt;b&gt;" in verdict("gs://matches/soccer/a/b.mp4")
        assert "No matching rule" in verdict("gs://matches/tennis/b.mp4")
        assert "Temporary file" in verdict("gs://matches/soccer/.b.mp4")
        assert "ignored" in verdict("ftp://nowhere")
        assert SHOWN in http.get("/ui/rules", params={"uri": EVIL}).text
        new = tmp_path / "new.toml"  # the API reads the file at any moment: never half of it
        new.write_text("[[rule]]\nbucket = 3\n")
        new.replace(file)
        page = http.get("/ui/rules").text
        assert "the previous rules are still active" in page
        assert "soccer/**/*.mp4" in page
    assert queue.records.counts()[State.QUEUED] == 0


def test_pages_and_streams_are_behind_the_login(settings: Settings) -> None:
    with (
        served(settings.model_copy(update={"api_tokens": (SecretStr("s3cret"),)})) as url,
        httpx.Client(base_url=url) as http,
    ):
        for path in ("/ui/batches", "/ui/callbacks", "/ui/skipped", "/ui/rules", "/live/skipped"):
            assert http.get(path).status_code == 401
