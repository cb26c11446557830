"""The source of a job over HTTP: for those who may see its pictures anyway, and nobody else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from shoal.client import Client
from shoal.queue.queue import JobQueue
from shoal.settings import Settings
from tests.integration.test_api_videos import code_of
from tests.serving import publish, take

OVERLAY = {"match #1_segmented.mp4": b"the overlay"}


def finish(
    client: Client, video: Path, queue: JobQueue, settings: Settings, outputs: list[Any]
) -> str:
    """A job that has succeeded, with the file of an overlay."""
    record = client.submit(video.as_uri(), ["person"], outputs=outputs)
    take(queue).succeed(publish(record.spec, settings, OVERLAY), {})
    return f"/videos/{record.id}/source"


def test_a_player_gets_the_source_in_ranges(
    http: httpx.Client, client: Client, video: Path, queue: JobQueue, settings: Settings
) -> None:
    url, content = finish(client, video, queue, settings, ["overlay"]), video.read_bytes()
    whole, part = http.get(url), http.get(url, headers={"Range": "bytes=2-3"})
    assert (whole.status_code, whole.content) == (200, content)
    assert whole.headers["Content-Type"] == "video/mp4"
    assert (part.status_code, part.content) == (206, content[2:4])
    assert http.head(url).headers["Content-Length"] == str(len(content))


@pytest.mark.parametrize(
    "outputs",
    [["csv"], [{"kind": "overlay", "audio": False}], [{"kind": "redact", "keep_upload": True}]],
)
def test_what_the_results_do_not_show_is_not_served(
    http: httpx.Client,
    client: Client,
    video: Path,
    queue: JobQueue,
    settings: Settings,
    outputs: list[Any],
) -> None:
    url = finish(client, video, queue, settings, outputs)
    assert code_of(http.get(url)) == (404, "source_not_found")


def test_a_job_that_is_not_done_has_none(http: httpx.Client, client: Client, video: Path) -> None:
    job = client.submit(video.as_uri(), ["person"]).id
    assert code_of(http.get(f"/videos/{job}/source")) == (404, "source_not_found")


def test_another_version_is_not_taken_for_it(
    http: httpx.Client, client: Client, video: Path, queue: JobQueue, settings: Settings
) -> None:
    url = finish(client, video, queue, settings, ["overlay"])
    video.write_bytes(b"another video, of another length")
    assert code_of(http.get(url))[1] == "source_changed"
    video.unlink()
    assert code_of(http.get(url)) == (404, "source_not_found")
