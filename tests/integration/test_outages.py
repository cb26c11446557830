"""A Redis that is there and cannot serve: everyone waits, and says what for."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from pydantic import SecretStr
from redis import Redis

from api.app import create_app
from api.background.base import Background
from api.background.batch_runner import BatchRunnerThread
from api.background.reaper import ReaperThread
from api.background.reconcile import ReconcileThread
from api.background.webhook_sender import THREADS, WebhookSender
from api.webhook_client import Answer
from shoal.errors import ModelLoadFailed, ModelProcessDied, RedisUnavailable
from shoal.ingest.rules_file import RulesFile
from shoal.model.batch import BatchRequest, BatchState
from shoal.model.delivery import DeliveryState
from shoal.model.job import State
from shoal.queue.batches import Batches
from shoal.queue.connection import OUTAGES, connect
from shoal.queue.maintenance import Maintenance
from shoal.queue.queue import JobQueue, open_queue
from shoal.settings import Settings
from tests.integration.test_api_server import own_redis
from tests.integration.test_api_videos import code_of
from tests.integration.test_queue import spec
from tests.lossy import Losses, lossy
from tests.ports import free_port
from tests.running import Processes, eventually
from tests.serving import served, take, write_video
from worker import parent
from worker.protocol import Ready
from worker.rq_mirror import RQMirror

SECRET = SecretStr("whsec_" + "QUJDRA" * 6)

# --- the API --------------------------------------------------------------------------------------


def out_of_memory(own: own_redis, connection: Redis) -> None:
    connection.config_set("maxmemory", "1")


def disk_full(own: own_redis, connection: Redis) -> None:
    shutil.rmtree(own.folder)  # it cannot write there now
    connection.config_set("save", "1 1")
    connection.bgsave()
    with suppress(redis.ResponseError):
        while connection.set("x", "y"):
            time.sleep(0.05)


def replica(own: own_redis, connection: Redis) -> None:
    connection.replicaof("127.0.0.1", str(free_port()))


@pytest.mark.parametrize(
    ("code", "strike"), [("OOM", out_of_memory), ("MISCONF", disk_full), ("READONLY", replica)]
)
def test_every_change_is_refused_as_an_outage(
    code: str, strike: Callable[[own_redis, Redis], None], settings: Settings, tmp_path: Path
) -> None:
    folder = tmp_path / "redis"
    folder.mkdir()
    own = own_redis(folder)
    settings = settings.model_copy(
        update={"redis_url": own.url, "api_tokens": (SecretStr("t"),), "rate_limit": 1000}
    )
    headers = {"Authorization": "Bearer t"}
    with (
        own,
        served(settings) as url,
        httpx.Client(base_url=url, headers=headers) as http,
    ):
        video = write_video(settings).as_uri()
        body = {"uri": video, "prompts": ["person"]}
        job = f"/videos/{http.post('/videos', json=body).json()['id']}"
        connection = connect(settings)
        strike(own, connection)
        refused = [
            http.get("/health"),
            http.post("/videos", json=body | {"prompts": ["dog"]}),
            http.delete(job),
            http.post(f"{job}/priority", json={"priority": "front"}),
            http.post("/videos/bulk", json={"action": "cancel"}),
            http.post("/queue/pause"),
            http.post("/batches", json={"uris": [video], "prompts": ["cat"]}),
            http.post("/tokens", json={"name": "n", "scope": "read"}),
        ]
        for response in refused:
            assert code_of(response) == (503, "redis_unavailable"), response.request.url
            assert response.json()["hint"] == OUTAGES[code]
            assert int(response.headers["Retry-After"]) > 0
        for path in (job, "/videos", "/ui", "/healthz"):
            assert http.get(path).status_code == 200, path
        connection.close()


def test_workers_wait_for_memory(processes: Processes, submit_clip: Callable[[], str]) -> None:
    worker = processes.worker()
    eventually(processes.idle_workers, "the worker")
    processes.queue.redis.config_set("maxmemory", "1")
    try:
        eventually(lambda: "out of memory" in processes.logs().lower()
                   or "maxmemory" in processes.logs(), "the worker to notice")  # fmt: skip
        assert worker.poll() is None
    finally:
        processes.queue.redis.config_set("maxmemory", "0")
    processes.wait_state(submit_clip(), State.SUCCEEDED)
    assert worker.poll() is None


# --- background threads ---------------------------------------------------------------------------


class Receiver:
    """Takes every webhook."""

    def post(self, *_: object) -> Answer:
        return Answer(200, 0.0)


Make = Callable[[JobQueue, Settings], Background]
THREADS_OF_API: dict[str, Make] = {
    "reaper": lambda queue, _: ReaperThread(queue, Maintenance(queue, 30)),
    "batch runner": lambda queue, s: BatchRunnerThread(queue, RulesFile(s), s),
    "reconcile": lambda queue, s: ReconcileThread(queue, RulesFile(s), s),
    "webhook sender": lambda queue, s: WebhookSender(
        queue.callbacks,
        (SECRET,),
        Receiver(),  # type: ignore[arg-type]
    ),
}
OUTAGE = {
    "gone": redis.ConnectionError("Connection closed by server."),
    "hangs": redis.TimeoutError("Timeout reading from socket"),
    "full": redis.exceptions.OutOfMemoryError("command not allowed when used memory > 'maxmemory'"),
    "disk": redis.ResponseError("MISCONF Valkey is configured to save RDB snapshots"),
}


@pytest.fixture
def losses() -> Iterator[Losses]:
    found = Losses()
    yield found
    found.disarm()


@pytest.fixture
def work(queue: JobQueue, settings: Settings) -> dict[str, str]:
    """Something to do for each thread: a lapsed lease, a batch, a video of a rule, a webhook."""
    rules = settings.data_dir / "rules.toml"
    video = write_video(settings, "in/a.mp4").as_uri()
    folder = video.rpartition("/")[0]
    rules.write_text(
        f'[[rule]]\nbucket = "{folder}"\nprompts = ["dog"]\nresults = "{folder}-out"\n'
    )
    batch = Batches(queue).create(BatchRequest(uris=[video], prompts=["cat"]))
    done = queue.submit(spec("done.mp4"), callback="https://example.com/")[0].id
    take(queue).succeed({}, {})
    lost = queue.submit(spec("lost.mp4"))[0].id
    take(queue)
    queue.redis.zadd(queue.leases_key, {lost: 1.0})
    return {"batch": batch.id, "done": done, "lost": lost, "rules": str(rules)}


def is_done(name: str, queue: JobQueue, work: dict[str, str]) -> bool:
    match name:
        case "reaper":
            return queue.records.get(work["lost"]).state == State.QUEUED
        case "batch runner":
            status = Batches(queue).status(Batches(queue).get(work["batch"]))
            assert status.error is None
            return status.state == BatchState.RUNNING and status.videos == 1
        case "reconcile":
            return any(record.spec.prompts == ("dog",) for record in queue.records.page()[0])
    return all(d.state == DeliveryState.DELIVERED for d in deliveries(queue))


def deliveries(queue: JobQueue) -> list[Any]:
    return queue.callbacks.page(state=None, job="", limit=10, cursor="")[0]


@pytest.mark.parametrize("outage", OUTAGE)
@pytest.mark.parametrize("name", THREADS_OF_API)
def test_every_thread_waits_an_outage_out(
    name: str,
    outage: str,
    queue: JobQueue,
    settings: Settings,
    work: dict[str, str],
    losses: Losses,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whichever of its first commands it meets."""
    monkeypatch.setattr("api.background.reconcile.SETTLED_S", 0.0)
    monkeypatch.setattr("shoal.queue.webhooks.CLAIM_S", 0.0)
    caplog.set_level(logging.INFO)
    settings = settings.model_copy(update={"rules": Path(work["rules"]), "lease_s": 0.2})
    connection = lossy(settings.redis_url, losses)
    thread = THREADS_OF_API[name](open_queue(settings, connection), settings)
    losses.error = OUTAGE[outage]
    met = 0
    for number in range(8):
        losses.arm(number)
        wait_s = thread._round()
        if losses.replies > number and thread._away_s:  # it was met in this thread
            assert 0 < wait_s <= 10
            met += 1
    losses.disarm()
    thread._round()

    def is_done_by_now() -> bool:
        thread._round()
        return is_done(name, queue, work)

    eventually(is_done_by_now, "its work to be done", 120)  # a silent host rests for a while
    assert met
    assert f"{name}: waiting for Redis" in caplog.text
    assert f"{name}: Redis is available again" in caplog.text
    assert f"{name} failed" not in caplog.text
    thread.stop()
    connection.close()


def test_no_permit_of_the_webhook_sender_is_lost(
    queue: JobQueue, settings: Settings, work: dict[str, str], losses: Losses
) -> None:
    """Whichever command fails on the way, and however often."""
    sender = WebhookSender(open_queue(settings, lossy(settings.redis_url, losses)).callbacks,
                           (SECRET,), Receiver())  # type: ignore[arg-type]  # fmt: skip

    def fail_often() -> None:
        for number in range(3 * THREADS):
            (waiting,) = deliveries(queue)
            queue.callbacks.replay(waiting.id)
            losses.arm(number % 8)
            sender._round()
            losses.disarm()

    thread = threading.Thread(target=fail_often, daemon=True)
    thread.start()
    thread.join(120)
    assert not thread.is_alive(), "it waits for a permit that nobody gives back"
    # Those that are still under way put the host to rest.
    eventually(lambda: sender._free._value == THREADS, "all permits to be back")
    (waiting,) = deliveries(queue)
    queue.redis.zadd(queue.callbacks.due_key, {waiting.id: 0})
    sender._hosts._silent.clear()
    sender._round()
    eventually(lambda: deliveries(queue)[0].state == DeliveryState.DELIVERED, "the delivery")
    eventually(lambda: sender._free._value == THREADS, "its permit to be back")
    sender.stop()


# --- starting and stopping ------------------------------------------------------------------------


def test_an_api_waits_for_a_redis_that_comes_and_goes(settings: Settings, tmp_path: Path) -> None:
    own = own_redis(tmp_path)
    later = threading.Timer(0.5, own.start)
    later.start()
    with served(settings.model_copy(update={"redis_url": own.url})) as url:
        assert httpx.get(f"{url}/readyz").status_code == 200
    later.join()
    own.stop()


def test_an_api_waits_for_a_redis_that_takes_no_changes(settings: Settings, redis: Redis) -> None:
    redis.config_set("maxmemory", "1")
    later = threading.Timer(0.5, redis.config_set, ("maxmemory", "0"))
    later.start()
    with served(settings) as url:
        assert httpx.get(f"{url}/readyz").status_code == 200
    later.join()
    assert settings.data_dir.is_dir()


def test_an_api_that_waits_in_vain_says_for_what(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from api.server import listen, make_server

    monkeypatch.setattr("api.app.START_WAIT_S", 0.3)
    away = settings.model_copy(
        update={"redis_url": f"redis://127.0.0.1:{free_port()}/0", "api_port": 0}
    )
    with listen(away) as listener, pytest.raises(RedisUnavailable):
        make_server(away).run(sockets=[listener])
    create_app(away)  # the application itself needs none


def test_a_request_that_waits_when_the_api_stops_is_told_to_come_again(
    settings: Settings, queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, over = threading.Event(), threading.Event()

    def slow(*_: object) -> list[Any]:
        begun.set()
        over.wait(60)
        return []

    monkeypatch.setattr("api.server.STOP_WAIT_S", 1)
    monkeypatch.setattr("api.routes.queue.list_workers", slow)
    answers: list[httpx.Response] = []

    def ask() -> None:
        try:
            answers.append(httpx.get(f"{url}/queue", timeout=90))
        finally:
            over.set()  # not before there is an answer: the request waits when the API stops

    with served(settings) as url:
        asking = threading.Thread(target=ask)
        asking.start()
        assert begun.wait(60)
    asking.join()
    assert code_of(answers[0]) == (503, "shutting_down")
    assert int(answers[0].headers["Retry-After"]) > 0
    assert answers[0].headers["X-Request-ID"]


class Model:
    """A model process that dies so often while it loads."""

    def __init__(self, deaths: int) -> None:
        self.deaths = deaths
        self.loads = 0
        self.age_s = 0.0

    def start(self) -> None:
        self.loads += 1

    def sleep(self, seconds: float) -> None:
        pass

    def wait(self, timeout_s: float) -> Ready:
        if self.loads <= self.deaths:
            raise ModelProcessDied("the model process was ended by SIGKILL")
        return Ready(engine="fake", device="cpu")


@pytest.fixture
def worker(settings: Settings, queue: JobQueue) -> Iterator[parent.Parent]:
    found = parent.Parent(settings, queue)
    yield found
    found.work_dir.close()


@pytest.mark.parametrize("deaths", [0, 1, parent.LOADS - 1])
def test_a_model_that_is_killed_while_it_loads_is_loaded_again(
    deaths: int, worker: parent.Parent
) -> None:
    worker.model = Model(deaths)  # type: ignore[assignment]
    worker._load_model()
    assert worker.info.model_loads == deaths + 1
    assert worker.info.state == "idle"


def test_a_model_that_is_always_killed_ends_the_worker_with_a_name(worker: parent.Parent) -> None:
    worker.model = Model(99)  # type: ignore[assignment]
    with pytest.raises(ModelLoadFailed, match=f"{parent.LOADS} times in a row.*SIGKILL"):
        worker._load_model()


def test_a_worker_may_appear_twice(queue: JobQueue) -> None:
    """The answer to the first time was lost."""
    mirror = RQMirror(queue, "w", beat_s=1)
    mirror.appear()
    mirror.appear()
    assert queue.redis.scard("rq:workers") == 1
