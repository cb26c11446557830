"""New versions of results over HTTP: what is queued, what is refused, and how they are linked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from shoal.client import Client
from shoal.model.record import Record
from shoal.model.worker import WorkerInfo
from shoal.queue.queue import JobQueue
from shoal.queue.workers import announce
from shoal.results.layout import Counts, ResultSummary, Track, state_name, summary_name
from shoal.settings import Settings
from shoal.storage import storage_for
from tests.cli import invoke
from tests.integration.test_api_videos import code_of
from tests.serving import publish, take


def track(object_id: int, prompt: str = "person", first: int = 0, last: int = 40) -> Track:
    return Track(
        object_id=object_id,
        prompt=prompt,
        frames=last - first + 1,
        first_frame=first,
        last_frame=last,
        visible_s=1,
        mean_area=10,
        spans=[(0, 1)],
        path=[],
    )


SUMMARY = ResultSummary(
    duration_s=4,
    tracks=[track(1), track(3, first=5), track(7, "ball")],
    counts=Counts(times_s=[], frames_per_bin=1, mean={}, most={}),
)


def succeed(record: Record, queue: JobQueue, settings: Settings) -> None:
    files = {summary_name(record.spec): SUMMARY.model_dump_json().encode()}
    take(queue).succeed(
        publish(record.spec, settings, files), {"engine": record.spec.options.engine}
    )


@pytest.fixture
def base(client: Client, video: Path, queue: JobQueue, settings: Settings) -> Record:
    """A job that has succeeded."""
    record = client.submit(video.as_uri(), ["person", "ball"], sample_fps=5, engine="cpu")
    succeed(record, queue, settings)
    return record


def refine(http: httpx.Client, base: Record, **fields: Any) -> httpx.Response:
    return http.post(f"/videos/{base.id}/refine", json=fields)


def test_edits_are_a_job_of_their_own(http: httpx.Client, base: Record) -> None:
    fields = {
        "remove": [3],
        "merge": [[1, 8]],
        "split": [{"object_id": 7, "frame": 20}],
        "relabel": {"7": "puck"},
    }
    response = refine(http, base, **fields)
    assert response.status_code == 202
    record = Record.model_validate(response.json())
    assert response.headers["Location"] == f"/videos/{record.id}"
    assert record.id != base.id
    assert response.json()["base"] == record.spec.base == base.id
    assert record.spec.edits is not None
    assert record.spec.edits.new_ids == (8,)
    assert record.spec.labels == ("person", "ball", "puck")
    assert record.spec.results == base.spec.results
    assert record.spec.options == base.spec.options
    again = refine(http, base, **fields)
    assert (again.status_code, again.json()["id"]) == (200, record.id)


def test_versions_know_each_other(
    http: httpx.Client, base: Record, queue: JobQueue, settings: Settings
) -> None:
    first = Record.model_validate(refine(http, base, remove=[3]).json())
    second = Record.model_validate(refine(http, base, remove=[7]).json())
    succeed(first, queue, settings)
    third = Record.model_validate(refine(http, first, relabel={"1": "referee"}).json())
    assert third.spec.base == first.id
    family = [base.id, first.id, second.id, third.id]
    for record in (base, first, second, third):
        items = http.get(f"/videos/{record.id}/versions").json()["items"]
        assert [item["id"] for item in items] == family
    of_base = http.get("/videos", params={"base": base.id}).json()["items"]
    assert [item["id"] for item in of_base] == [second.id, first.id]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"remove": [2]}, "unknown_object"),
        ({"split": [{"object_id": 3, "frame": 5}]}, "invalid_edit"),
        ({"merge": [[1]]}, "invalid_edit"),
        ({}, "invalid_edit"),
        ({"relabel": {"1": ""}}, "invalid_prompt"),
        ({"removed": [1]}, "invalid_request"),
        ({"remove": [0]}, "invalid_request"),
        ({"remove": [1], "callback": "https://example.org"}, "callbacks_off"),
    ],
    ids=str,
)
def test_what_is_wrong_is_refused(
    http: httpx.Client, base: Record, fields: dict[str, Any], code: str
) -> None:
    response = refine(http, base, **fields)
    assert code_of(response) == (422, code)


def test_a_job_that_has_not_succeeded_cannot_be_refined(
    http: httpx.Client, client: Client, video: Path, queue: JobQueue
) -> None:
    record = client.submit(video.as_uri(), ["person"])
    for _ in ("queued", "running"):
        response = refine(http, record, remove=[1])
        assert code_of(response) == (409, "state_conflict")
        if record.state == "queued":
            take(queue)
            record.state = client.get(record.id).state
    missing = http.post(f"/videos/{'0' * 24}/refine", json={"remove": [1]})
    assert code_of(missing) == (404, "job_not_found")


def test_corrections_are_the_same_job_with_more_said_of_objects(
    http: httpx.Client, client: Client, queue: JobQueue, settings: Settings, video: Path
) -> None:
    begin = {"label": "dog", "frame": 3, "box": [1, 1, 9, 9]}
    base = client.submit(video.as_uri(), ["person"], objects=[begin], engine="sam3")
    succeed(base, queue, settings)
    worker = WorkerInfo(name="w", host="h", pid=1, started_at=1, engine="sam3", device="cuda")
    announce(queue.redis, queue.name, worker, ttl_s=60)
    correction = {"object_id": 3, "frame": 120, "points": [[4, 5, 1]]}
    plan = http.post(f"/videos/{base.id}/refine/plan", json={"objects": [correction]}).json()
    assert (plan["exists"], plan["needs_model"], plan["continues_from_frame"]) == (
        False,
        True,
        None,
    )
    for frame in (40, 90, 130):
        keep_state(base, frame, settings)
    plan = http.post(f"/videos/{base.id}/refine/plan", json={"objects": [correction]}).json()
    assert plan["continues_from_frame"] == 90
    record = Record.model_validate(refine(http, base, objects=[correction]).json())
    assert record.id == plan["id"]
    assert record.spec.base == base.id
    assert record.spec.edits is None
    assert [each.frame for each in record.spec.objects] == [3, 120]
    succeed(record, queue, settings)
    earlier = {"label": "dog", "frame": 60, "points": [[4, 5, 1]]}
    plan = http.post(f"/videos/{record.id}/refine/plan", json={"objects": [earlier]}).json()
    assert plan["continues_from_frame"] == 40, "of the version before"
    both = refine(http, base, objects=[correction], remove=[1])
    assert code_of(both) == (422, "invalid_edit")


def test_corrections_are_refused_where_they_cannot_be(
    http: httpx.Client, base: Record, queue: JobQueue, settings: Settings
) -> None:
    correction = {"object_id": 3, "frame": 12, "points": [[4, 5, 1]]}
    assert code_of(refine(http, base, objects=[{"frame": 3}])) == (422, "invalid_visual_prompt")
    assert code_of(refine(http, base, objects=[correction])) == (422, "unsupported_by_engine")
    edited = Record.model_validate(refine(http, base, remove=[3]).json())
    succeed(edited, queue, settings)
    assert code_of(refine(http, edited, objects=[correction])) == (422, "invalid_edit")


def keep_state(record: Record, frame: int, settings: Settings) -> None:
    """A checkpoint as a worker leaves it."""
    local = settings.data_dir / "state"
    local.write_bytes(b"")
    uri = record.spec.parts_folder(record.id) + state_name(frame, 1, frame)
    storage_for(uri, settings).put(local, uri, "application/octet-stream")


@pytest.mark.parametrize("fields", [{"remove": [3]}, {"merge": [[1, 3]]}, {"relabel": {"1": "x"}}])
def test_a_job_that_redacts_is_never_edited(
    http: httpx.Client,
    client: Client,
    video: Path,
    queue: JobQueue,
    settings: Settings,
    fields: dict[str, Any],
) -> None:
    """A gap of a track is hidden because of the frames around it: any edit may uncover one."""
    redacting = {"kind": "redact", "strict": False}
    record = client.submit(video.as_uri(), ["person"], outputs=[redacting, "overlay"])
    succeed(record, queue, settings)
    assert code_of(refine(http, record, **fields)) == (422, "invalid_edit")


def test_results_that_are_gone_are_said_to_be(
    http: httpx.Client, base: Record, settings: Settings
) -> None:
    for path in Path(base.spec.results_prefix.removeprefix("file://")).parent.parent.rglob(
        "*.json"
    ):
        path.unlink()
    response = refine(http, base, remove=[3])
    assert code_of(response) == (404, "result_not_found")


def test_the_command_line_and_the_client(
    base: Record, client: Client, tmp_path: Path, queue: JobQueue, settings: Settings
) -> None:
    edits = ["--remove", "3", "--merge", "1+8", "--split", "7@20", "--relabel", "7=puck"]
    shown = invoke("refine", base.id, *edits, "--json", url=client.url, cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    record = client.get(json.loads(shown.stdout)["id"])
    same = client.refine(
        base.id,
        remove=[3],
        merge=[[1, 8]],
        split=[{"object_id": 7, "frame": 20}],
        relabel={7: "puck"},
    )
    assert same.id == record.id
    plan = client.plan_refine(base.id, remove=[3, 1])
    assert (plan.exists, plan.needs_model, plan.continues_from_frame) == (False, False, None)
    assert [each.id for each in client.versions(base.id)] == [base.id, record.id]
    assert "new version" in invoke("refine", "--help", url=client.url, cwd=tmp_path).stdout


@pytest.mark.parametrize(
    "edit", [["--merge", "3,7"], ["--split", "5"], ["--split", "x@3"], ["--relabel", "4"]], ids=str
)
def test_what_the_command_line_cannot_read_is_said(
    client: Client, edit: list[str], tmp_path: Path
) -> None:
    shown = invoke("refine", "0" * 24, *edit, url=client.url, cwd=tmp_path)
    assert shown.returncode == 5
    assert edit[1] in shown.stderr
