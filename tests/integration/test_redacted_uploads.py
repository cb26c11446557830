"""The source of a redacted video is deleted with success, if it was uploaded; nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shoal.client import Client
from shoal.ingest.uploads import remove_redacted_upload
from shoal.model.failure import Failure
from shoal.model.record import Record
from shoal.queue.queue import JobQueue
from shoal.settings import Settings
from tests.serving import take, write_video

End = Callable[[Record], Record]


@pytest.fixture
def upload(client: Client, tmp_path: Path) -> str:
    (tmp_path / "street & square.mp4").write_bytes(b"faces")
    return client.upload(tmp_path / "street & square.mp4").uri


@pytest.fixture
def succeed(queue: JobQueue, settings: Settings) -> End:
    def end(record: Record) -> Record:
        take(queue).succeed({}, {})
        ended = queue.records.get(record.id)
        remove_redacted_upload(ended, queue, settings)
        return ended

    return end


def kept(settings: Settings) -> list[str]:
    return [path.name for path in settings.uploads_dir.rglob("*.mp4")]


@pytest.mark.parametrize(
    ("outputs", "remain"),
    [
        (["redact"], 0),
        (["redact", "csv"], 0),
        ([{"kind": "redact", "style": "solid", "strict": False}], 0),
        ([{"kind": "redact", "keep_upload": True}], 1),
        (["overlay"], 1),
        (["masks"], 1),
    ],
)
def test_the_upload_of_a_redaction_is_deleted(
    client: Client, settings: Settings, upload: str, succeed: End, outputs: Any, remain: int
) -> None:
    assert len(kept(settings)) == 1
    succeed(client.submit(upload, ["face"], outputs=outputs))
    assert len(kept(settings)) == remain
    folders = [path for path in settings.uploads_dir.iterdir() if not path.name.startswith(".")]
    assert len(folders) == remain


def test_it_stays_until_the_last_job_has_read_it(
    client: Client, settings: Settings, upload: str, succeed: End
) -> None:
    first, second = (client.submit(upload, [word], outputs="redact") for word in ("face", "person"))
    succeed(first)
    assert kept(settings)
    succeed(second)
    assert not kept(settings)


def test_a_job_that_can_be_retried_keeps_it(
    client: Client, queue: JobQueue, settings: Settings, upload: str
) -> None:
    record = client.submit(upload, ["face"], outputs="redact")
    take(queue).fail(Failure(code="not_a_video", message="", hint="", transient=False))
    remove_redacted_upload(queue.records.get(record.id), queue, settings)
    assert kept(settings)


def test_what_was_not_uploaded_is_not_touched(
    client: Client, settings: Settings, succeed: End
) -> None:
    path = write_video(settings, "in/street.mp4")
    succeed(client.submit(path.as_uri(), ["face"], outputs="redact"))
    assert path.exists()
