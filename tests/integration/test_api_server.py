"""The API as a service: who may use it, what it does without Redis, how it starts and stops."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from redis import Redis

from api import examples
from api.app import create_app
from api.background.base import Background
from api.server import listen
from shoal.client.schemas import (
    Deliveries,
    NewToken,
    Page,
    QueueStatus,
    ResultFiles,
    Timeline,
    Tokens,
    Upload,
)
from shoal.errors import PortBusy, StackError, UnsafeBind
from shoal.exits import Exit
from shoal.local.valkey import find_server
from shoal.model.batch import BatchPage, BatchRequest, BatchSkips
from shoal.model.job import State
from shoal.model.preview import Preview, PreviewRequest
from shoal.model.prompts import clean_objects
from shoal.model.record import Record
from shoal.model.submission import Submission
from shoal.queue.connection import connect
from shoal.queue.queue import JobQueue, open_queue
from shoal.settings import Settings
from tests.hanging_api import LIMIT_S
from tests.integration.test_api_videos import code_of, submit
from tests.ports import free_port
from tests.serving import served, take, wait_for

ROOT = Path(__file__).parents[2]


# --- who may use it ----------------------------------------------------------------------------


@pytest.fixture
def guarded(settings: Settings, queue: JobQueue) -> Iterator[httpx.Client]:
    """An API with two tokens; the client carries none."""
    tokens = (SecretStr("first"), SecretStr("secönd"))
    with (
        served(settings.model_copy(update={"api_tokens": tokens})) as url,
        httpx.Client(base_url=url) as http,
    ):
        yield http


PATHS = ["/", "/videos", "/queue", "/docs", "/openapi.json", "/nowhere"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("header", [None, "Bearer", "Bearer wrong", "Basic first", "first"])
def test_without_a_token_there_is_nothing(
    guarded: httpx.Client, path: str, header: str | None
) -> None:
    response = guarded.get(path, headers={"Authorization": header} if header else {})
    assert code_of(response) == (401, "unauthorized")
    assert response.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("token", ["first", "secönd"])
def test_each_token_opens(guarded: httpx.Client, token: str) -> None:
    headers = httpx.Headers({"Authorization": f"Bearer {token}"}, encoding="utf-8")
    assert guarded.get("/videos", headers=headers).status_code == 200
    anywhere = httpx.Headers(headers)
    anywhere["Host"] = "shoal.example.com"
    assert guarded.get("/videos", headers=anywhere).status_code == 200


def test_probes_need_no_token(guarded: httpx.Client) -> None:
    assert guarded.get("/healthz").status_code == 200
    assert guarded.get("/readyz").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": ""},
        {"Host": "127.0.0.1.evil.example"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ],
)
def test_foreign_pages_cannot_use_a_local_api(http: httpx.Client, headers: dict[str, str]) -> None:
    assert code_of(http.get("/videos", headers=headers)) == (401, "unauthorized")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:99", "[::1]:99", "shoal.localhost"])
def test_local_names_are_served(http: httpx.Client, host: str) -> None:
    headers = {"Host": host, "Origin": f"http://{host}"}
    assert http.get("/videos", headers=headers).status_code == 200


# --- errors ------------------------------------------------------------------------------------


def test_no_such_address_or_method(http: httpx.Client) -> None:
    assert code_of(http.get("/nowhere")) == (404, "not_found")
    response = http.put("/videos")
    assert code_of(response) == (405, "method_not_allowed")
    assert response.headers["Allow"]


def test_a_fault_of_ours_tells_nothing_of_the_inside(
    http: httpx.Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    def broken(*_: object) -> None:
        raise RuntimeError("the password is 1234")

    monkeypatch.setattr("api.routes.queue.list_workers", broken)
    response = http.get("/queue")
    assert code_of(response) == (500, "internal_error")
    assert "1234" not in response.text
    wait_for(lambda: "local: GET /queue: 500, " in caplog.text)


def test_without_redis(
    settings: Settings, tmp_path: Path, video: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = own_redis(tmp_path)
    settings = settings.model_copy(update={"redis_url": own.url, "lease_s": 2.0})
    with own, served(settings) as url, httpx.Client(base_url=url) as http:
        assert http.get("/readyz").json() == {"status": "ready"}
        own.stop()
        for response in (
            http.get("/readyz"),
            http.get("/videos"),
            http.get("/queue"),
            http.get(f"/videos/{'0' * 24}"),
            submit(http, video),
        ):
            assert code_of(response) == (503, "redis_unavailable")
            assert int(response.headers["Retry-After"]) > 0
        assert http.get("/healthz").status_code == 200
        wait_for(lambda: re.search("reaper:? wait", caplog.text) is not None)
        own.start()
        job_id = submit(http, video).json()["id"]
        abandon(settings, job_id)
        wait_for(lambda: http.get(f"/videos/{job_id}").json()["state"] == "queued")
    assert len(re.findall("reaper:? wait", caplog.text)) == 1


def test_jobs_of_vanished_workers_come_back(
    video: Path, queue: JobQueue, settings: Settings
) -> None:
    settings = settings.model_copy(update={"lease_s": 2.0})  # so often the API looks for them
    with served(settings) as url, httpx.Client(base_url=url) as http:
        job_id = submit(http, video).json()["id"]
        abandon(settings, job_id)
        wait_for(lambda: queue.records.get(job_id).state == State.QUEUED)
    assert "lost" in [event.event for event in queue.records.timeline(job_id)]


# --- the documentation -------------------------------------------------------------------------


def test_the_examples_are_true() -> None:
    Submission.model_validate(examples.SUBMISSION)
    BatchRequest.model_validate(examples.BATCH_REQUEST)
    PreviewRequest.model_validate(examples.PREVIEW_REQUEST)
    clean_objects(Submission.model_validate(examples.POINTING).objects)
    models: list[tuple[Any, dict[str, Any]]] = [
        (Record, examples.QUEUED),
        (Record, examples.SUCCEEDED),
        (Page, examples.PAGE),
        (Timeline, examples.TIMELINE),
        (ResultFiles, examples.RESULT_FILES),
        (QueueStatus, examples.QUEUE),
        (Deliveries, examples.DELIVERIES),
        (BatchPage, examples.BATCH_PAGE),
        (BatchSkips, examples.BATCH_SKIPS),
        (Upload, examples.UPLOAD),
        (Preview, examples.PREVIEW_WAITS),
        (Preview, examples.PREVIEW),
        (NewToken, examples.NEW_TOKEN),
        (Tokens, examples.TOKENS),
    ]
    for model, example in models:
        assert model.model_validate(example).model_dump(mode="json") == example


def test_every_route_documents_an_example_and_its_problems(settings: Settings) -> None:
    paths = create_app(settings).openapi()["paths"]
    plain = {"/", "/health", "/healthz", "/readyz", "/metrics", "/reconcile", "/tokens/{name}"}
    plain |= {"/videos/{job_id}/results/{name}", "/videos/{job_id}/parts/{number}"}
    plain |= {"/videos/{job_id}/source"}
    plain |= {"/uploads/resumable"}  # of tus, which answers in headers
    for path, methods in paths.items():
        for method, operation in methods.items():
            where = f"{method} {path}"
            answers = operation["responses"]
            success = next(answers[status] for status in answers if status.startswith("2"))
            if path not in plain and method not in ("options", "head") and "content" in success:
                assert success["content"]["application/json"]["example"], where
            for status, answer in answers.items():
                if status >= "400" and "content" in answer:
                    assert list(answer["content"]) == ["application/problem+json"], where
            if "{job_id}" in path:
                assert "404" in answers, where


def test_the_first_page_leads_on(http: httpx.Client) -> None:
    about = http.get("/").json()
    assert about["name"] == "shoal"
    for name in ("videos", "queue", "openapi", "documentation"):
        assert http.get(about["links"][name]).status_code == 200


# --- start and stop ----------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_it_is_not_open_to_the_network_without_a_token(settings: Settings, host: str) -> None:
    with pytest.raises(UnsafeBind):
        listen(settings.model_copy(update={"api_host": host}))


def test_with_a_token_it_may_be(settings: Settings) -> None:
    update = {"api_host": "0.0.0.0", "api_port": 0, "api_tokens": (SecretStr("t"),)}
    listen(settings.model_copy(update=update)).close()


def test_a_busy_port(settings: Settings) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        update = {"api_port": other.getsockname()[1]}
        with pytest.raises(PortBusy):
            listen(settings.model_copy(update=update))


def test_an_address_of_another_machine(settings: Settings) -> None:
    update = {"api_host": "192.0.2.1", "api_port": 0, "api_tokens": (SecretStr("t"),)}
    with pytest.raises(StackError):
        listen(settings.model_copy(update=update))


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_within_seconds_although_connections_are_open(
    settings: Settings, queue: JobQueue, sig: signal.Signals, tmp_path: Path
) -> None:
    api = start_api(settings, tmp_path)
    try:
        port = api_port(api, tmp_path)
        with socket.create_connection(("127.0.0.1", port)) as uploading:
            head = (
                f"PUT /uploads/a HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 99\r\n\r\n"
            )
            uploading.sendall(head.encode() + b"half")
            while not list(settings.uploads_dir.rglob(".partial/*")):
                time.sleep(0.02)
            api.send_signal(sig)
            assert api.wait(60) == Exit.OK  # the upload would go on for ever
    finally:
        api.kill()
        api.wait()
    assert not list(settings.uploads_dir.rglob(".partial/*"))


@pytest.mark.parametrize("hangs", ["the start", "a request", "the end"])
def test_it_stops_whatever_hangs(
    settings: Settings, queue: JobQueue, hangs: str, tmp_path: Path
) -> None:
    """A call that hangs lasts for a quarter of an hour here."""
    api = start_api(settings, tmp_path, "tests.hanging_api", SHOAL_HANGS=hangs)
    log = tmp_path / "api.log"
    try:
        if hangs == "a request":
            port = api_port(api, tmp_path)
            with pytest.raises(httpx.ReadTimeout):
                httpx.post(f"http://127.0.0.1:{port}/workers/a/drain", timeout=0.5)
        elif hangs == "the end":
            api_port(api, tmp_path)
        if hangs != "the end":
            wait_for(lambda: "hangs now" in log.read_text())
        api.terminate()
        assert api.wait(60) == 128 + signal.SIGTERM
    finally:
        api.kill()
        api.wait()
    assert f"not stopped within {LIMIT_S:.0f} s" in log.read_text()


def test_all_of_its_threads_are_stopped_together(
    settings: Settings, queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A round here lasts until all were asked: stopped in turn, the first would wait in vain."""
    together: list[bool] = []

    class Waiting(Background):
        def round(self) -> bool:
            together.append(all(thread.stop_asked.wait(60) for thread in threads))
            return False

    threads = [Waiting(str(number), pause_s=0) for number in range(3)]
    monkeypatch.setattr("api.app._background", lambda *_: threads)
    monkeypatch.setattr("api.background.base.STOP_WAIT_S", 60)
    with served(settings):
        pass
    for thread in threads:
        thread.join()
    assert together == [True] * len(threads)


def test_it_names_why_it_cannot_start(settings: Settings, tmp_path: Path) -> None:
    api = start_api(settings, tmp_path, SHOAL_API_HOST="0.0.0.0")
    assert api.wait(60) == Exit.FAILED
    log = (tmp_path / "api.log").read_text()
    assert UnsafeBind.code in log
    assert UnsafeBind.default_hint in log
    assert "Traceback" not in log


def abandon(settings: Settings, job_id: str) -> None:
    """Start the job as a worker that is never heard of again."""
    queue = open_queue(settings, connect(settings))
    assert take(queue).record.id == job_id
    queue.redis.zadd(queue.leases_key, {job_id: 1})  # its lease ended long ago
    queue.redis.close()


class own_redis:  # noqa: N801 - used as a context manager
    """A Valkey that a test may stop and start."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.folder = folder
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def __enter__(self) -> None:
        self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        command = [str(find_server()), "--port", str(self.port), "--bind", "127.0.0.1"]
        self.server = subprocess.Popen(
            [*command, "--save", "", "--dir", str(self.folder)], stdout=subprocess.DEVNULL
        )
        connection: Redis = connect(Settings(redis_url=self.url), attempts_s=60)
        connection.close()

    def stop(self) -> None:
        self.server.kill()
        self.server.wait()


def start_api(
    settings: Settings, folder: Path, module: str = "api", **env: str
) -> subprocess.Popen[bytes]:
    """``python -m api`` on a free port, its log in ``folder``."""
    env = {
        "PYTHONPATH": str(ROOT),
        "SHOAL_REDIS_URL": settings.redis_url,
        "SHOAL_DATA_DIR": str(settings.data_dir),
        "SHOAL_API_PORT": "0",
    } | env
    with (folder / "api.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", module], env=os.environ | env, stdout=log, stderr=log
        )


def api_port(api: subprocess.Popen[bytes], folder: Path) -> int:
    """The port that an API says in its log, once it answers there."""
    while "serving on" not in (log := (folder / "api.log").read_text()):
        assert api.poll() is None, log
        time.sleep(0.05)
    port = int(log.partition("serving on http://127.0.0.1:")[2].split()[0])
    while True:  # the socket takes connections before the application has started
        try:
            httpx.get(f"http://127.0.0.1:{port}/readyz")
        except httpx.TransportError:
            assert api.poll() is None
            continue
        return port
