"""``/rq``: rq-dashboard on our queue, read-only."""

from __future__ import annotations

import httpx
import pytest
from pydantic import SecretStr
from redis import Redis
from rq.job import Job

from shoal.errors import AudioOnly, Failure
from shoal.queue import JobQueue
from shoal.settings import Settings
from tests.integration.test_api_videos import submit
from tests.serving import served, take, write_video
from worker.rq_mirror import RQMirror


@pytest.fixture
def jobs(http: httpx.Client, settings: Settings) -> list[str]:
    """Two queued ones."""
    videos = [write_video(settings, f"m{i}.mp4") for i in range(2)]
    return [submit(http, video).json()["id"] for video in videos]


def test_it_shows_queue_workers_and_jobs(
    http: httpx.Client, jobs: list[str], queue: JobQueue, settings: Settings
) -> None:
    page = http.get("/rq/")
    assert page.status_code == 200
    assert "RQ dashboard" in page.text
    (found,) = http.get("/rq/0/data/queues.json").json()["queues"]
    assert (found["name"], found["count"]) == (queue.name, 2)
    listed = http.get(f"/rq/0/data/jobs/{queue.name}/queued/8/asc/1.json").json()
    assert [job["id"] for job in listed["jobs"]] == jobs
    assert http.get(f"/rq/0/view/job/{jobs[0]}").status_code == 200
    assert http.get(f"/rq/0/data/job/{jobs[0]}.json").json()["origin"] == queue.name
    # A worker with a job, which is JSON.
    lease = take(queue)
    mirror = RQMirror(queue, "gpu-1", beat_s=1)
    mirror.appear()
    mirror.started(Job.fetch(lease.record.id, queue.redis, queue.rq.serializer))
    (worker,) = http.get("/rq/0/data/workers.json").json()["workers"]
    assert worker["current_job"]["job_id"] == lease.record.id


def test_failed_jobs_are_listed(http: httpx.Client, jobs: list[str], queue: JobQueue) -> None:
    take(queue).fail(Failure.of(AudioOnly("no <b>picture</b>")))
    listed = http.get(f"/rq/0/data/jobs/{queue.name}/failed/8/asc/1.json").json()
    assert [job["id"] for job in listed["jobs"]] == jobs[:1]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/job/{job}/delete"),
        ("POST", "/job/{job}/requeue"),
        ("GET", "/requeue/{queue}"),  # rq-dashboard does it on a GET
        ("POST", "/requeue/{queue}"),
        ("POST", "/queue/{queue}/queued/empty"),
        ("POST", "/queue/{queue}/compact"),
    ],
)
def test_it_changes_nothing(
    http: httpx.Client, jobs: list[str], queue: JobQueue, redis: Redis, method: str, path: str
) -> None:
    before = redis.lrange(queue.rq.key, 0, -1)
    answer = http.request(method, "/rq" + path.format(job=jobs[0], queue=queue.name))
    assert answer.status_code == 403
    assert redis.lrange(queue.rq.key, 0, -1) == before


def test_scripts_run_by_nonce_alone(http: httpx.Client) -> None:
    page = http.get("/rq/")
    policy = page.headers["content-security-policy"]
    assert "'unsafe-inline'" not in policy.split("script-src")[1].split(";")[0]
    nonce = policy.split("'nonce-")[1].split("'")[0]
    assert page.text.count("<script") == page.text.count(f'<script nonce="{nonce}"')
    assert nonce not in http.get("/rq/").headers["content-security-policy"]


def test_it_is_behind_the_login(settings: Settings) -> None:
    with served(settings.model_copy(update={"api_tokens": (SecretStr("s3cret"),)})) as url:
        assert httpx.get(url + "/rq/").status_code == 401
        page = httpx.get(url + "/rq/", headers={"Accept": "text/html"})
        assert page.headers["location"].startswith("/ui/login")
        known = {"Authorization": "Bearer s3cret"}
        assert httpx.get(url + "/rq/", headers=known).status_code == 200
