"""The Python client against a served API."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from pydantic import SecretStr

from shoal.client import Client
from shoal.errors import (
    ApiError,
    ApiUnreachable,
    AudioOnly,
    NoFrames,
    SourceNotFound,
    StorageNotWritable,
)
from shoal.model.failure import Failure
from shoal.model.job import State
from shoal.model.record import Progress
from shoal.queue.queue import JobQueue
from shoal.settings import Settings
from tests.ports import free_port
from tests.serving import publish, served, take, write_video


def test_from_upload_to_download(
    client: Client, queue: JobQueue, settings: Settings, tmp_path: Path
) -> None:
    local = tmp_path / "my clip.mp4"
    local.write_bytes(b"v" * 2_500_000)
    told: list[tuple[int, int]] = []
    upload = client.upload(local, lambda done, size: told.append((done, size)))
    assert upload.bytes == 2_500_000
    assert told[-1] == (2_500_000, 2_500_000)
    assert [done for done, _ in told] == sorted(done for done, _ in told)

    record = client.submit(upload.uri, ["person"], sample_fps=2, allow_truncated=True)
    assert record.spec.options.sample_fps == 2
    assert record.spec.options.allow_truncated
    files = {"my clip_metadata.json": b"{}", "my clip_segmented.mp4": b"o" * 3_000_000}
    take(queue).succeed(publish(record.spec, settings, files), {"objects_detected": 1})

    assert client.wait(record.id).state == State.SUCCEEDED
    assert {file.name: file.bytes for file in client.results(record.id)} == {
        name: len(content) for name, content in files.items()
    }
    for name, content in files.items():
        saved = client.download(record.id, name, tmp_path / "out")
        assert saved == tmp_path / "out" / name
        assert saved.read_bytes() == content
    assert len(list((tmp_path / "out").iterdir())) == 2
    events = [event.event for event in client.timeline(record.id)]
    assert events == ["queued", "started", "succeeded"]


def test_one_prompt_needs_no_list(client: Client, video: Path) -> None:
    assert client.submit(video.as_uri(), "soccer ball").spec.prompts == ("soccer ball",)


def test_the_same_folder_of_frames_is_the_same_job(client: Client, tmp_path: Path) -> None:
    ids = set()
    for parent in ("one", "two"):
        folder = tmp_path / parent / "frames"
        folder.mkdir(parents=True)
        for name in ("b.jpg", "a.jpg"):
            (folder / name).write_bytes(name.encode() * 1000)
        upload = client.upload(folder)
        assert upload.uri.endswith("/frames.tar")
        ids.add(client.submit(upload.uri, ["person"]).id)
    assert len(ids) == 1


def test_what_cannot_be_uploaded(client: Client, tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound):
        client.upload(tmp_path / "missing.mp4")
    with pytest.raises(NoFrames):
        client.upload(tmp_path)


def test_what_cannot_be_saved(
    client: Client, queue: JobQueue, settings: Settings, video: Path, tmp_path: Path
) -> None:
    record = client.submit(video.as_uri(), ["person"])
    take(queue).succeed(publish(record.spec, settings, {"a.json": b"{}"}), {})
    (tmp_path / "file").touch()
    with pytest.raises(StorageNotWritable):
        client.download(record.id, "a.json", tmp_path / "file")
    with pytest.raises(ApiError) as refusal:
        client.download(record.id, "b.json", tmp_path / "out")
    assert refusal.value.remote_code == "result_not_found"
    assert list((tmp_path / "out").iterdir()) == []


def test_lists_go_over_pages(
    client: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shoal.client.client.PAGE", 3)
    names = [f"{i}.mp4" for i in range(8)]
    ids = [client.submit(write_video(settings, n).as_uri(), ["person"]).id for n in names]
    assert [record.id for record in client.list()] == ids[::-1]
    assert [record.id for record in client.list(limit=4)] == ids[:3:-1]
    client.cancel(ids[2])
    assert [record.id for record in client.list(state="cancelled")] == [ids[2]]
    assert [record.id for record in client.list(text="5.mp4")] == [ids[5]]
    assert client.retry(ids[2]).state == State.QUEUED
    assert client.queue().queued == 8


def test_watching_yields_every_change_until_the_end(
    client: Client, queue: JobQueue, settings: Settings
) -> None:
    first = client.submit(write_video(settings, "a.mp4").as_uri(), ["person"])
    second = client.submit(write_video(settings, "b.mp4").as_uri(), ["person"])
    changes = client.watch(first.id, second.id, poll_s=0.01)
    assert [next(changes).id, next(changes).id] == [first.id, second.id]
    lease = take(queue)
    assert next(changes).state == State.RUNNING
    lease.heartbeat(Progress(frames=5))
    assert next(changes).progress.frames == 5
    lease.succeed({}, {})
    assert next(changes).state == State.SUCCEEDED
    take(queue).fail(Failure.of(AudioOnly("no picture")))
    last = list(changes)[-1]
    assert (last.id, last.state) == (second.id, State.FAILED)


def test_watching_outlives_a_restart_of_the_api(
    settings: Settings, queue: JobQueue, video: Path
) -> None:
    port = free_port()
    with served(settings, port) as url, Client(url) as client:
        record = client.submit(video.as_uri(), ["person"])
    watcher = Client(url)
    states: list[State] = []
    thread = threading.Thread(
        target=lambda: states.extend(r.state for r in watcher.watch(record.id, poll_s=0.01))
    )
    thread.start()  # while nobody answers
    take(queue).succeed({}, {})
    with served(settings, port):
        thread.join()
    assert states == [State.SUCCEEDED]
    watcher.close()


def test_a_refusal_carries_code_and_hint(client: Client) -> None:
    with pytest.raises(ApiError) as refusal:
        client.get("0" * 24)
    assert refusal.value.status == 404
    assert refusal.value.remote_code == "job_not_found"
    assert "shoal list" in refusal.value.hint


def test_ids_cannot_lead_elsewhere(client: Client) -> None:
    for job_id in ("../queue", "a/b", "?state=x", ""):
        with pytest.raises((ApiError, ValueError)):
            client.get(job_id)


def test_the_token_is_sent(settings: Settings, queue: JobQueue) -> None:
    guarded = settings.model_copy(update={"api_tokens": (SecretStr("right"),)})
    with served(guarded) as url:
        with Client(url, "right") as client:
            assert client.queue().queued == 0
        with Client(url, "wrong") as client, pytest.raises(ApiError) as refusal:
            client.queue()
    assert refusal.value.remote_code == "unauthorized"


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "localhost:8000", "http://", "http://[", ""])
def test_an_api_that_does_not_answer(url: str) -> None:
    with pytest.raises(ApiUnreachable):
        Client(url).queue()


@pytest.fixture
def stranger() -> Iterator[str]:
    """Some other web server."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path == "/queue"
            self.send_response(200 if found else 502)
            self.end_headers()
            self.wfile.write(b"<html>Welcome</html>")

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_what_is_not_a_shoal_api_is_named(stranger: str) -> None:
    with Client(stranger) as client:
        with pytest.raises(ApiError) as refusal:
            client.get("0" * 24)
        assert refusal.value.status == 502
        assert "Shoal API" in refusal.value.hint
        with pytest.raises(ApiError) as refusal:
            client.queue()
        assert "Shoal API" in refusal.value.hint
