"""``shoal pool``, with the real library and a server that is made up."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sky
import yaml
from redis import Redis
from typer.testing import CliRunner, Result

from autoscaler import pool
from autoscaler.cli import app
from autoscaler.sdk import Sdk
from autoscaler.settings import get_scale_settings
from shoal.local.valkey import find_server
from shoal.model.worker import WorkerInfo
from shoal.queue import scaling
from shoal.queue.connection import connect
from shoal.queue.queue import JobQueue
from shoal.queue.workers import announce, list_workers
from shoal.settings import Settings, get_settings
from tests.fake_sky import FakeSky, Job, Machine
from tests.ports import free_port


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    folder = tmp_path_factory.mktemp("valkey")
    port = free_port()
    command = [str(find_server()), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    server = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    try:
        yield connect(Settings(redis_url=f"redis://127.0.0.1:{port}/0"), attempts_s=60)
    finally:
        server.kill()
        server.wait()


class Server(FakeSky):
    """Takes pools, too: these are commands of a person, not of the controller."""

    applied: list[tuple[Any, str]]
    down: list[str]

    def __post_init__(self) -> None:
        super().__post_init__()
        self.applied, self.down, self.exists = [], [], False
        self.Task = sky.Task
        self.jobs.pool_apply = self._apply
        self.jobs.pool_down = lambda names: lambda: self.down.extend(names)

    def _apply(self, task: Any, name: str, mode: Any) -> Any:
        assert mode.value == "rolling"
        return lambda: self.applied.append((task, name))


@pytest.fixture
def server(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    redis.flushall()
    made = Server(JobQueue(redis, "shoal", retries=3, lease_s=20))
    monkeypatch.setattr(pool, "load_sdk", lambda: Sdk(made))
    here = redis.connection_pool
    monkeypatch.setattr(pool, "connect", lambda settings: Redis(connection_pool=here))
    monkeypatch.setenv("SHOAL_REDIS_URL", "rediss://:pw@queue.example:6380/0")
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    monkeypatch.setenv("SHOAL_RESULTS", "gs://b/results")
    get_settings.cache_clear()
    get_scale_settings.cache_clear()
    yield made
    get_settings.cache_clear()


def shoal_pool(*args: str) -> Result:
    return CliRunner().invoke(app, ["pool", *args])


def test_render_is_what_up_applies(server: Server) -> None:
    rendered = shoal_pool("render", "--image", "a/b:1", "--max-workers", "7")
    assert rendered.exit_code == 0
    config = yaml.safe_load(rendered.stdout)
    assert config["pool"]["max_workers"] == 7
    assert "aws/eu-north-1    L40S  g6e.2xlarge            0.90 $" in rendered.stderr
    assert "hf_x" not in rendered.stdout
    assert shoal_pool("up", "--image", "a/b:1", "--max-workers", "7", "--apply-only").exit_code == 0
    ((task, name),) = server.applied
    assert name == "shoal"
    assert task.service.max_replicas == 7
    assert task.secrets["HF_TOKEN"].get_secret_value() == "hf_x"
    assert {r.image_id[r.region or None] for r in task.resources} == {"docker:a/b:1"}


@pytest.mark.parametrize(
    ("variable", "args", "message"),
    [
        ("HF_TOKEN", ("--image", "a/b:1"), "HF_TOKEN must be set"),
        ("SHOAL_RESULTS", ("--image", "a/b:1"), "SHOAL_RESULTS must be a bucket"),
        ("", (), "there is no image"),
    ],
)
def test_up_says_what_is_missing_before_anything_starts(
    server: Server, monkeypatch: pytest.MonkeyPatch, variable: str, args: tuple[str], message: str
) -> None:
    monkeypatch.delenv(variable, raising=False)
    refused = shoal_pool("up", *args)
    assert refused.exit_code != 0
    assert message in refused.stderr
    assert server.applied == []


def test_up_says_a_wrong_gpu_before_anything_starts(server: Server, tmp_path: Path) -> None:
    for name in ("pool.yaml", "worker.yaml"):
        text = (Path(__file__).parents[2] / "skypilot" / name).read_text()
        (tmp_path / name).write_text(text.replace("aws/eu-north-1", "gcp/europe-west4"))
    refused = shoal_pool("up", "--image", "a/b:1", "--files", str(tmp_path))
    assert "gcp/europe-west4 has no spot L40S:1" in refused.stderr
    assert "hint" in refused.stderr
    assert server.applied == []


def test_a_pool_at_work_is_not_applied_again(server: Server) -> None:
    server.exists = True
    server.all_jobs = [Job(1, "shoal-worker-shoal", "shoal", "RUNNING", waits=False)]
    server.machines = [Machine(1, 0, "READY")]
    refused = shoal_pool("up", "--image", "a/b:1", "--apply-only")
    assert refused.exit_code == 5
    assert "the pool is busy: 1 consumer" in refused.stderr
    assert server.applied == []
    assert shoal_pool("down").exit_code == 5
    assert server.down == []
    assert shoal_pool("down", "--force").exit_code == 0
    assert server.down == ["shoal"]


@pytest.mark.parametrize("status", ["PENDING", "STARTING", "RECOVERING", "CANCELLING"])
def test_a_pool_with_waiting_consumers_may_be_applied(server: Server, status: str) -> None:
    """Whatever they are called at the moment: none has a machine."""
    server.exists = True
    server.all_jobs = [Job(1, "shoal-worker-shoal", "shoal", status)]
    assert shoal_pool("up", "--image", "a/b:1", "--apply-only").exit_code == 0
    assert len(server.applied) == 1


def test_status(server: Server) -> None:
    server.exists = True
    server.machines = [Machine(1, 0, "READY"), Machine(2, 0, "FAILED")]
    shown = shoal_pool("status")
    assert "1, 1 of them ready" in shown.stdout
    assert "machine 2" in shown.stdout
    assert "none runs" in shown.stdout
    document = json.loads(shoal_pool("status", "--json").stdout)
    assert "sky jobs pool logs shoal 2" in document["fleet"]["failures"]["machine 2"]


def test_no_pool(server: Server) -> None:
    shown = shoal_pool("status")
    assert shown.exit_code == 4
    assert "there is no pool 'shoal'" in shown.stderr
    assert "shoal pool up" in shown.stderr


def test_scale_is_a_word_to_the_controller(server: Server, redis: Redis) -> None:
    assert shoal_pool("scale", "3").exit_code == 0
    assert scaling.read_cap(redis, "shoal") == 3
    assert server.applied == []
    assert shoal_pool("up", "--image", "a/b:1", "--apply-only").exit_code == 0
    assert scaling.read_cap(redis, "shoal") is None


def test_scaled_to_zero_the_consumers_drain_at_once(server: Server, redis: Redis) -> None:
    """And nobody else: a worker that someone runs by hand is not the pool's."""
    for name in ("sky7-machine-12-0a1b2c3d", "skyline-12-0a1b2c3d", "desk-12-0a1b2c3d"):
        info = WorkerInfo(name=name, host="machine", pid=12, started_at=0, state="busy")
        announce(redis, "shoal", info, 600)
    assert shoal_pool("scale", "1").exit_code == 0
    assert not any(worker.draining for worker in list_workers(redis, "shoal"))
    assert shoal_pool("scale", "0").exit_code == 0
    draining = [worker.name for worker in list_workers(redis, "shoal") if worker.draining]
    assert draining == ["sky7-machine-12-0a1b2c3d"]
    # One that was on its way meanwhile learns of it before it takes a video.
    late = WorkerInfo(name="sky8-machine-9-0a1b2c3d", host="machine", pid=9, started_at=0)
    assert announce(redis, "shoal", late, 600)
    assert shoal_pool("scale", "1").exit_code == 0
    assert not announce(redis, "shoal", late, 600)


def test_skypilot_does_not_take_over_the_log() -> None:
    """It adds a handler to the root logger when it is loaded: without times, and with secrets."""
    code = (
        "import logging; from autoscaler.preflight import load_sdk; load_sdk();"
        "logging.getLogger('autoscaler').warning('at rediss://:hunter2secret@queue:6380/0')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    (line,) = [line for line in done.stderr.splitlines() if "queue:6380" in line]
    assert re.match(r"\d\d:\d\d:\d\d WARNING autoscaler", line)
    assert "hunter2secret" not in line


def test_a_server_that_is_away(server: Server) -> None:
    server.away = True
    assert shoal_pool("up", "--image", "a/b:1").exit_code == 4
