"""Result files over HTTP, as a browser's video player asks for them."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from shoal.client import Client
from shoal.queue.queue import JobQueue
from shoal.settings import Settings
from tests.integration.test_api_videos import code_of
from tests.serving import publish, take

CONTENT = bytes(range(256)) * 20_000  # five chunks
OVERLAY = "match #1_segmented.mp4"
FILES = {
    OVERLAY: CONTENT,
    "match #1_metadata.json": b"{}",
    "match #1_masks.parquet": b"PAR1",
    "empty.txt": b"",
}


@pytest.fixture
def job_id(client: Client, video: Path, queue: JobQueue, settings: Settings) -> str:
    """A job that has succeeded."""
    record = client.submit(video.as_uri(), ["person"])
    take(queue).succeed(publish(record.spec, settings, FILES), {})
    return record.id


@pytest.fixture
def url(http: httpx.Client, job_id: str) -> str:
    """Where the overlay is, as the list says."""
    items = http.get(f"/videos/{job_id}/results").json()["items"]
    return next(str(item["url"]) for item in items if item["name"] == OVERLAY)


def test_the_list(http: httpx.Client, job_id: str, settings: Settings) -> None:
    answer = http.get(f"/videos/{job_id}/results").json()
    assert answer["uri"] == f"{settings.results_root}/match%20%231/{job_id}/"
    assert {item["name"]: item["bytes"] for item in answer["items"]} == {
        name: len(content) for name, content in FILES.items()
    }
    for item in answer["items"]:
        response = http.get(item["url"])
        assert response.content == FILES[item["name"]]
        assert response.headers["Content-Type"] == item["content_type"]


def test_there_are_none_before_success(http: httpx.Client, client: Client, video: Path) -> None:
    record = client.submit(video.as_uri(), ["person"])
    assert http.get(f"/videos/{record.id}/results").json()["items"] == []


def test_a_whole_file(http: httpx.Client, url: str) -> None:
    response = http.get(url)
    assert response.status_code == 200
    assert response.content == CONTENT
    assert response.headers["Content-Type"] == "video/mp4"
    assert response.headers["Content-Length"] == str(len(CONTENT))
    assert response.headers["Accept-Ranges"] == "bytes"
    assert "Content-Range" not in response.headers


@pytest.mark.parametrize(
    ("wanted", "first", "last"),
    [
        ("bytes=0-99", 0, 99),
        ("bytes=1048570-1048590", 1048570, 1048590),
        ("bytes=5000000-", 5_000_000, len(CONTENT) - 1),
        ("bytes=-300", len(CONTENT) - 300, len(CONTENT) - 1),
        ("bytes=100-99999999999", 100, len(CONTENT) - 1),
    ],
)
def test_a_part(http: httpx.Client, url: str, wanted: str, first: int, last: int) -> None:
    response = http.get(url, headers={"Range": wanted})
    assert response.status_code == 206
    assert response.content == CONTENT[first : last + 1]
    assert response.headers["Content-Range"] == f"bytes {first}-{last}/{len(CONTENT)}"


def test_a_part_beyond_the_end(http: httpx.Client, url: str) -> None:
    response = http.get(url, headers={"Range": f"bytes={len(CONTENT)}-"})
    assert code_of(response) == (416, "range_not_satisfiable")
    assert response.headers["Content-Range"] == f"bytes */{len(CONTENT)}"


def test_head_tells_the_same_without_the_content(http: httpx.Client, url: str) -> None:
    whole, head = http.get(url), http.head(url)
    assert head.status_code == 200
    assert head.content == b""
    for name in ("Content-Length", "Content-Type", "ETag", "Accept-Ranges"):
        assert head.headers[name] == whole.headers[name]


def test_a_known_version_is_not_sent_again(http: httpx.Client, url: str) -> None:
    etag = http.get(url).headers["ETag"]
    known = http.get(url, headers={"If-None-Match": etag})
    assert (known.status_code, known.content) == (304, b"")
    assert http.get(url, headers={"If-None-Match": '"old"'}).status_code == 200


def test_a_part_of_another_version_is_not_mixed_in(http: httpx.Client, url: str) -> None:
    etag = http.get(url).headers["ETag"]
    part = {"Range": "bytes=0-9"}
    assert http.get(url, headers=part | {"If-Range": etag}).status_code == 206
    assert http.get(url, headers=part | {"If-Range": '"old"'}).status_code == 200


@pytest.mark.parametrize(
    "name", ["other.mp4", "..%2F..%2Fsecret", "%2e%2e", "match%20%231_segmented.mp4%00", "%2Fetc"]
)
def test_only_the_jobs_own_files_are_served(http: httpx.Client, job_id: str, name: str) -> None:
    response = http.get(f"/videos/{job_id}/results/{name}")
    assert code_of(response)[0] == 404


def test_a_deleted_file(http: httpx.Client, url: str, job_id: str, settings: Settings) -> None:
    (settings.data_dir / "results" / "match #1" / job_id / OVERLAY).unlink()
    assert code_of(http.get(url)) == (404, "result_not_found")


def test_a_browser_keeps_to_the_given_type(http: httpx.Client, url: str) -> None:
    headers = http.get(url).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Disposition"] == ("inline; filename*=UTF-8''match%20%231_segmented.mp4")
