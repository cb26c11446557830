"""Batches over HTTP: what is refused, lists, cancelling and retrying."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from shoal.client import Client
from shoal.errors import ApiError, BatchNotFound, SourceNotFound
from shoal.model.batch import BatchState
from shoal.settings import Settings


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"globs": ["gs://*/x"]}, "invalid_request"),
        ({"globs": ["ftp://x/**"]}, "unsupported_location"),
        ({"globs": ["file:///etc/*"]}, "location_forbidden"),
        ({"uris": ["x"] * 10_001}, "invalid_request"),
        ({"uris": ["x" * 4000] * 400}, "upload_too_large"),
        ({}, "invalid_request"),
        ({"uris": ["file:///x"], "engine": "none"}, "unknown_engine"),
        (
            {"uris": ["file:///x"], "objects": [{"object_id": 3, "frame": 0, "box": [1, 2, 3, 4]}]},
            "invalid_visual_prompt",
        ),
        ({"uris": ["file:///x"], "callback": "https://example.com"}, "callbacks_off"),
    ],
)
def test_a_wrong_batch_is_refused_at_once(
    client: Client, fields: dict[str, object], code: str
) -> None:
    with pytest.raises(ApiError) as caught:
        client.batches.submit("person", **fields)  # type: ignore[arg-type]
    assert caught.value.remote_code == code
    assert list(client.batches.list()) == []


def test_a_folder_that_is_not_there_is_told_at_once(client: Client, settings: Settings) -> None:
    with pytest.raises(ApiError) as caught:
        client.batches.submit("person", globs=[settings.data_dir.as_uri() + "/no/*.mp4"])
    assert caught.value.remote_code == SourceNotFound.code


def test_batches_are_listed_in_pages(client: Client) -> None:
    made = [client.batches.submit("person", uris=[f"file:///{n}"]).id for n in range(23)]
    assert [batch.id for batch in client.batches.list()] == made[::-1]
    assert len(list(client.batches.list(limit=5))) == 5


def test_there_is_no_such_batch(client: Client) -> None:
    calls: list[Callable[[str], object]] = [
        client.batches.get,
        client.batches.cancel,
        client.batches.retry,
        client.batches.skipped,
        lambda batch_id: list(client.batches.videos(batch_id)),
    ]
    for call in calls:
        with pytest.raises(ApiError) as caught:
            call("nothing")
        assert caught.value.remote_code == BatchNotFound.code


def test_a_cancelled_batch_is_not_retried(client: Client, video: Path) -> None:
    batch = client.batches.submit("person", uris=[video.as_uri()])
    client.batches.cancel(batch.id)
    *_, last = client.batches.watch(batch.id, poll_s=0.05)
    assert last.state == BatchState.CANCELLED
    with pytest.raises(ApiError) as caught:
        client.batches.retry(batch.id)
    assert caught.value.remote_code == "state_conflict"
