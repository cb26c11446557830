"""Submitting, finding, cancelling and retrying jobs over HTTP."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from shoal.errors import AudioOnly
from shoal.model.failure import Failure
from shoal.model.job import State
from shoal.model.record import Progress
from shoal.model.worker import WorkerInfo
from shoal.queue.queue import JobQueue
from shoal.queue.workers import announce
from shoal.settings import Settings
from tests.serving import served, take, write_video


def submit(http: httpx.Client, video: Path, **changes: Any) -> httpx.Response:
    return http.post("/videos", json={"uri": video.as_uri(), "prompts": ["person"]} | changes)


def code_of(response: httpx.Response) -> tuple[int, str]:
    assert response.headers["Content-Type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == response.status_code
    assert problem["type"] == f"urn:shoal:problem:{problem['code']}"
    assert problem["title"]
    assert problem["detail"]
    assert problem["hint"]
    return response.status_code, problem["code"]


def test_a_video_is_queued(
    http: httpx.Client, video: Path, queue: JobQueue, settings: Settings
) -> None:
    options = {"sample_fps": 5, "max_frames": 10}
    response = submit(http, video, prompts=["person", " soccer  ball "], options=options)
    assert response.status_code == 202
    job = response.json()
    assert response.headers["Location"] == f"/videos/{job['id']}"
    shown = http.get(response.headers["Location"]).json()
    assert shown.pop("place") == {"position": 1, "starts_in_s": None}
    assert shown == job
    record = queue.records.get(job["id"])
    assert record.state == State.QUEUED
    assert record.spec.prompts == ("person", "soccer ball")
    assert (record.spec.options.sample_fps, record.spec.options.max_frames) == (5, 10)
    assert record.spec.size == video.stat().st_size
    assert record.spec.results == f"{settings.results_root}/match%20%231"


def test_the_same_video_again_is_the_same_job(
    http: httpx.Client, video: Path, queue: JobQueue
) -> None:
    first = submit(http, video)
    again = submit(http, video)
    assert (first.status_code, again.status_code) == (202, 200)
    assert again.json()["id"] == first.json()["id"]
    assert submit(http, video, prompts=["car"]).status_code == 202
    take(queue).fail(Failure.of(AudioOnly("no picture")))
    assert submit(http, video).status_code == 202


CUP = {"label": "cup", "frame": 3, "points": [[4.5, 5, 1]]}


def test_objects_may_be_pointed_at_with_words_or_without(
    http: httpx.Client, video: Path, queue: JobQueue
) -> None:
    options = {"engine": "sam3", "max_objects": 5, "score_threshold": 0.25}
    removed = [{"object_id": 2, "frame": 7}, {"object_id": 4}]
    response = submit(http, video, objects=[CUP], remove_objects=removed, options=options)
    assert response.status_code == 202
    spec = queue.records.get(response.json()["id"]).spec
    assert [each.model_dump() for each in spec.remove_objects] == [
        removed[0],
        removed[1] | {"frame": 0},
    ]
    assert spec.labels == ("person", "cup")
    assert spec.objects[0].points == ((4.5, 5.0, 1),)
    assert (spec.options.max_objects, spec.options.score_threshold) == (5, 0.25)
    alone = submit(http, video, prompts=[], objects=[CUP])
    assert alone.status_code == 202
    assert alone.json()["id"] != spec.id


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"prompts": []}, 422, "invalid_prompt"),
        ({"prompts": ["  "]}, 422, "invalid_prompt"),
        ({"prompts": ["x" * 101]}, 422, "invalid_prompt"),
        ({"prompts": [f"p{i}" for i in range(17)]}, 422, "invalid_prompt"),
        ({"prompts": ["octopus"], "options": {"engine": "cpu"}}, 422, "unknown_prompt"),
        ({"prompts": ["7" * 31], "options": {"engine": "sam3"}}, 422, "invalid_prompt"),
        ({"options": {"engine": "oracle"}}, 422, "unknown_engine"),
        ({"options": {"sample_fps": "often"}}, 422, "invalid_option"),
        ({"options": {"colour": "red"}}, 422, "invalid_option"),
        ({"options": {"max_frames": -1}}, 422, "invalid_option"),
        ({"options": {"max_objects": -1}}, 422, "invalid_option"),
        ({"options": {"score_threshold": 2}}, 422, "invalid_option"),
        ({"objects": [CUP | {"points": []}]}, 422, "invalid_visual_prompt"),
        ({"objects": [CUP, CUP]}, 422, "invalid_visual_prompt"),
        ({"objects": [CUP | {"frame": -1}]}, 422, "invalid_request"),
        ({"objects": [CUP | {"box": [1, 2]}]}, 422, "invalid_request"),
        ({"remove_objects": [{"object_id": 0}]}, 422, "invalid_request"),
        ({"objects": [CUP], "options": {"engine": "cpu"}}, 422, "unsupported_by_engine"),
        ({"options": {"direction": "both"}}, 422, "invalid_option"),
        ({"options": {"direction": "up"}}, 422, "invalid_option"),
        ({"options": {"start_frame": -1}}, 422, "invalid_option"),
        ({"options": {"outputs": ["gif"]}}, 422, "unknown_output"),
        ({"options": {"outputs": [{"kind": "overlay", "opacity": 2}]}}, 422, "invalid_output"),
        ({"options": {"outputs": [{"kind": "crops", "size": 2}]}}, 422, "invalid_output"),
        ({"options": {"outputs": ["mot", "mot"]}}, 422, "invalid_output"),
        ({"options": {"outputs": 7}}, 422, "invalid_output"),
        (
            {"options": {"outputs": [{"kind": "overlay", "colours": {"dog": "#ffffff"}}]}},
            422,
            "invalid_output",
        ),
        ({"uri": "ftp://host/match.mp4"}, 422, "unsupported_location"),
        ({"uri": "match.mp4"}, 422, "unsupported_location"),
        ({"uri": ""}, 422, "invalid_request"),
        ({"uri": "file:///etc/passwd"}, 403, "location_forbidden"),
        ({"uri": 7}, 422, "invalid_request"),
        ({"surprise": 1}, 422, "invalid_request"),
    ],
)
def test_a_bad_request_is_refused_at_once(
    http: httpx.Client,
    video: Path,
    queue: JobQueue,
    changes: dict[str, Any],
    status: int,
    code: str,
) -> None:
    assert code_of(submit(http, video, **changes)) == (status, code)
    assert queue.depth().queued == 0


def test_a_refusal_names_the_field(http: httpx.Client, video: Path) -> None:
    response = submit(http, video, options={"sample_fps": "often", "max_frames": -1})
    assert "options.sample_fps" in response.json()["detail"]
    assert "options.max_frames" in response.json()["detail"]


def test_a_missing_video_is_refused(http: httpx.Client, video: Path) -> None:
    missing = video.with_name("missing.mp4")
    assert code_of(submit(http, missing)) == (404, "source_not_found")


def test_a_video_above_the_limit_is_refused(queue: JobQueue, settings: Settings) -> None:
    settings = settings.model_copy(update={"max_video_bytes": 10})
    video = write_video(settings)
    with served(settings) as url, httpx.Client(base_url=url) as http:
        assert code_of(submit(http, video)) == (422, "video_too_large")


@pytest.mark.parametrize("announced", [True, False])
def test_an_endless_body_is_not_read(http: httpx.Client, announced: bool) -> None:
    headers = {"Content-Type": "application/json"}
    body = b" " * 1_500_000
    chunks = (body[i : i + 100_000] for i in range(0, len(body), 100_000))
    response = http.post("/videos", content=body if announced else chunks, headers=headers)
    assert code_of(response) == (413, "upload_too_large")


def test_what_is_not_json_is_refused(http: httpx.Client) -> None:
    headers = {"Content-Type": "application/json"}
    assert code_of(http.post("/videos", content=b"{", headers=headers))[0] == 422
    assert code_of(http.post("/videos", content=b"uri=x"))[0] == 422


def test_many_at_once_each_get_their_own_answer(
    http: httpx.Client, video: Path, queue: JobQueue, settings: Settings
) -> None:
    """They share a look at the disk and a call to Redis; a bad one is in nobody's way."""
    videos = [video, *(write_video(settings, f"{number}.mp4") for number in range(9))]
    wishes = [*videos, *videos, video.with_name("gone.mp4"), Path("/etc/passwd")] * 3
    with ThreadPoolExecutor(16) as senders:
        answers = list(senders.map(lambda path: submit(http, path), wishes))
    told = {path: set[Any]() for path in wishes}
    for path, answer in zip(wishes, answers, strict=True):
        status = answer.status_code
        told[path].add(answer.json()["id"] if status in (200, 202) else code_of(answer))
    assert told.pop(video.with_name("gone.mp4")) == {(404, "source_not_found")}
    assert told.pop(Path("/etc/passwd")) == {(403, "location_forbidden")}
    ids = {job_id for (job_id,) in told.values()}  # one for each video
    assert len(ids) == queue.depth().queued == len(videos)
    assert [answer.status_code for answer in answers].count(202) == len(videos)


def test_lists_filter_and_page(http: httpx.Client, settings: Settings, queue: JobQueue) -> None:
    names = [f"match-{i}.mp4" for i in range(5)] + ["training.mp4"]
    ids = [submit(http, write_video(settings, name)).json()["id"] for name in names]
    seen: list[str] = []
    params = {"limit": "4"}
    while True:
        page = http.get("/videos", params=params).json()
        seen += [job["id"] for job in page["items"]]
        if not page["next_cursor"]:
            break
        params["cursor"] = page["next_cursor"]
    assert seen == ids[::-1]
    http.delete(f"/videos/{ids[0]}")
    cancelled = http.get("/videos", params={"state": "cancelled"}).json()["items"]
    assert [job["id"] for job in cancelled] == [ids[0]]
    found = http.get("/videos", params={"text": "TRAIN"}).json()["items"]
    assert [job["id"] for job in found] == [ids[5]]


@pytest.mark.parametrize(
    "params", [{"state": "lost"}, {"limit": "0"}, {"limit": "201"}, {"cursor": "nan~x"}]
)
def test_a_bad_query_is_refused(http: httpx.Client, params: dict[str, str]) -> None:
    response = http.get("/videos", params=params)
    assert code_of(response) == (422, "invalid_request")
    assert next(iter(params)) in response.json()["detail"]


def test_a_job_is_cancelled_and_retried(http: httpx.Client, video: Path, queue: JobQueue) -> None:
    url = submit(http, video).headers["Location"]
    assert code_of(http.post(url + "/retry")) == (409, "state_conflict")
    assert http.delete(url).json()["state"] == "cancelled"
    retried = http.post(url + "/retry")
    assert (retried.status_code, retried.json()["state"]) == (202, "queued")
    lease = take(queue)
    stopping = http.delete(url).json()
    assert (stopping["state"], stopping["cancel_requested"]) == ("running", True)
    assert lease.heartbeat(Progress())
    lease.cancel()
    events = [event["event"] for event in http.get(url + "/timeline").json()["items"]]
    assert events == ["queued", "cancelled", "queued", "started", "cancel_requested", "cancelled"]


def test_a_failure_tells_its_cause(http: httpx.Client, video: Path, queue: JobQueue) -> None:
    url = submit(http, video).headers["Location"]
    take(queue).fail(Failure.of(AudioOnly("the file has no picture")))
    job = http.get(url).json()
    assert job["state"] == "failed"
    assert job["error"]["code"] == "audio_only"
    assert job["error"]["message"] == "the file has no picture"
    assert job["error"]["hint"] == AudioOnly.default_hint


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("DELETE", ""),
        ("POST", "/retry"),
        ("GET", "/timeline"),
        ("GET", "/results"),
        ("GET", "/results/a.mp4"),
    ],
)
def test_an_unknown_job(http: httpx.Client, method: str, path: str) -> None:
    response = http.request(method, f"/videos/{'0' * 24}{path}")
    assert code_of(response) == (404, "job_not_found")


def test_the_queue_and_its_workers(http: httpx.Client, settings: Settings, queue: JobQueue) -> None:
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        submit(http, write_video(settings, name))
    lease = take(queue)
    worker = WorkerInfo(name="gpu-1", host="node", pid=1, started_at=1.5, job=lease.record.id)
    announce(queue.redis, queue.name, worker, ttl_s=60)
    status = http.get("/queue").json()
    assert (status["queued"], status["running"]) == (2, 1)
    assert status["jobs"] == {
        "queued": 2, "running": 1, "succeeded": 0, "failed": 0, "cancelled": 0
    }  # fmt: skip
    assert status["workers"] == [worker.model_dump()]


def test_an_engine_that_no_worker_could_run_is_refused_with_the_reason(
    http: httpx.Client, video: Path, queue: JobQueue
) -> None:
    """Unless there are no workers yet, or some whose device is not known."""

    def answer() -> httpx.Response:
        return submit(http, video, options={"engine": "sam3-native"})

    def announce_worker(name: str, device: str) -> None:
        worker = WorkerInfo(name=name, host="node", pid=1, started_at=1.5, device=device)
        announce(queue.redis, queue.name, worker, ttl_s=60)

    assert answer().status_code == 202
    announce_worker("one", "cpu")
    assert code_of(answer()) == (422, "engine_unavailable")
    assert "requires a CUDA GPU; no connected worker has one" in answer().json()["detail"]
    assert "SHOAL_ENGINE=sam3-native" in answer().json()["hint"]
    assert submit(http, video, options={"engine": "sam3"}).status_code == 202
    announce_worker("two", "")
    assert answer().status_code == 200
    announce_worker("two", "cuda:0 GPU")
    assert answer().status_code == 200


REDACT = {"kind": "redact", "prompts": ["face"]}


def test_the_prompts_of_a_redaction_are_prompts_of_the_job(
    http: httpx.Client, video: Path, queue: JobQueue
) -> None:
    response = submit(http, video, options={"outputs": [REDACT]})
    spec = queue.records.get(response.json()["id"]).spec
    assert spec.prompts == ("person", "face")
    assert spec.options.sample_fps == 0
    alone = submit(http, video, prompts=[], options={"outputs": [REDACT]})
    assert queue.records.get(alone.json()["id"]).spec.prompts == ("face",)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"outputs": ["redact", "overlay"]}, "invalid_output"),
        ({"outputs": ["redact"], "max_objects": 3}, "invalid_output"),
        ({"outputs": [{"kind": "redact", "style": "swirl"}]}, "invalid_output"),
        ({"outputs": ["redact"], "sample_fps": 2}, "invalid_option"),
        (
            {"outputs": [{"kind": "redact", "prompts": ["license plate"]}], "engine": "cpu"},
            "unknown_prompt",
        ),
    ],
)
def test_what_a_redaction_cannot_go_with_is_refused(
    http: httpx.Client, video: Path, options: dict[str, Any], code: str
) -> None:
    assert code_of(submit(http, video, options=options)) == (422, code)
