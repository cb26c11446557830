"""Results read from where they are: buckets, an API, the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import shoal
from shoal.client import Client
from shoal.errors import ApiError, ResultNotFound
from shoal.exits import Exit
from shoal.queue.queue import JobQueue
from shoal.settings import Settings
from shoal.storage import storage_for
from tests.integration.test_cli import Run, document, shoal as shoal_command  # noqa: F401
from tests.integration.test_storage_buckets import bucket  # noqa: F401
from tests.serving import publish, take
from tests.tables import WRITTEN, write_results


@pytest.fixture
def files(tmp_path: Path) -> dict[str, bytes]:
    return write_results(tmp_path / "made")


@pytest.fixture
def job_id(
    client: Client, video: Path, queue: JobQueue, settings: Settings, files: dict[str, bytes]
) -> str:
    record = client.submit(video.as_uri(), ["person"])
    take(queue).succeed(publish(record.spec, settings, files), {})
    return record.id


def test_a_bucket(bucket: str, tmp_path: Path, files: dict[str, bytes]) -> None:  # noqa: F811
    folder = f"{bucket}/results/match/{'0' * 24}"
    storage = storage_for(bucket, Settings())
    for name in files:
        storage.put(tmp_path / "made" / name, f"{folder}/{name}", "application/octet-stream")
    for uri in (folder, f"{folder}/", f"{folder}/match_metadata.json"):
        found = shoal.read(uri)
        assert found.frames.tolist() == list(WRITTEN)
        assert found.frame(WRITTEN[2]).object_ids.tolist() == [1, 2]
    with pytest.raises(ResultNotFound):
        shoal.read(f"{bucket}/results/other")


def test_an_api(api_url: str, job_id: str, client: Client) -> None:
    found = shoal.read(f"{api_url}/videos/{job_id}")
    assert len(found.tracks) == 3
    with pytest.raises(ApiError, match="no job"):
        shoal.read(f"{api_url}/videos/{'f' * 24}")


def test_a_job_without_results(api_url: str, client: Client, video: Path) -> None:
    record = client.submit(video.as_uri(), ["person"])
    with pytest.raises(ResultNotFound):
        shoal.read(f"{api_url}/videos/{record.id}")


def test_export(shoal_command: Run, job_id: str, tmp_path: Path) -> None:  # noqa: F811
    run = shoal_command("export", job_id[:8], "-f", "coco", "--format", "mot", "--to", "out")
    assert run.returncode == Exit.OK, run.stderr
    assert json.loads((tmp_path / "out/match_coco.json").read_text())["images"]
    assert (tmp_path / "out/match_mot.txt").read_text().startswith("1,1,")
    assert "match_mot.txt" in run.stdout


def test_export_of_a_folder(shoal_command: Run, files: object, tmp_path: Path) -> None:  # noqa: F811
    run = shoal_command("export", "made", "-f", "csv", "--json")
    assert run.returncode == Exit.OK, run.stderr
    assert document(run) == {"files": ["match_tracks.csv"]}
    assert (tmp_path / "match_tracks.csv").is_file()


def test_export_of_what_needs_pictures(shoal_command: Run, job_id: str) -> None:  # noqa: F811
    run = shoal_command("export", job_id, "-f", "crops", "--json")
    assert run.returncode == Exit.REFUSED
    assert document(run)["error"]["code"] == "unknown_output"


def test_outputs_are_checked_before_anything_is_uploaded(
    shoal_command: Run,  # noqa: F811
    queue: JobQueue,
    video: Path,
) -> None:
    run = shoal_command("submit", "missing.mp4", "-p", "person", "-o", "gif", "--json")
    assert document(run)["error"]["code"] == "unknown_output"
    options = ["-o", "mot", "-o", "overlay:boxes,opacity=0.3", "-o", "crops:per_object=2"]
    run = shoal_command("submit", video.as_uri(), "-p", "person", *options, "--json")
    assert run.returncode == Exit.OK, run.stderr
    (item,) = document(run)["items"]
    outputs = queue.records.get(item["id"]).spec.options.model_dump(exclude_defaults=True)
    assert outputs["outputs"] == (
        {"kind": "overlay", "boxes": True, "opacity": 0.3},
        {"kind": "masks"},
        {"kind": "mot"},
        {"kind": "crops", "per_object": 2},
    )


def test_the_client_checks_outputs(client: Client, video: Path, queue: JobQueue) -> None:
    from shoal.errors import InvalidOutput
    from shoal.model.outputs import Crops

    with pytest.raises(InvalidOutput):
        client.submit(video.as_uri(), "person", outputs=["mot", "mot"])
    wanted: list[Crops | str] = [Crops(kind="crops", per_object=2), "mot"]
    record = client.submit(video.as_uri(), "person", outputs=wanted)
    kinds = [each.kind for each in queue.records.get(record.id).spec.options.outputs]
    assert kinds == ["masks", "mot", "crops"]
