"""``shoal up``: start, use, stop, start again."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from shoal.client import Client
from tests import media
from tests.conftest import SHOAL
from tests.ports import free_port
from tests.running import ROOT, eventually, is_over


def environment(engine: str) -> dict[str, str]:
    """A worker imports its engine from here; leases are short enough for a test."""
    lease = {"SHOAL_BEAT_S": "0.5", "SHOAL_LEASE_S": "4"}
    return {**os.environ, **lease, "PYTHONPATH": str(ROOT), "SHOAL_ENGINE": engine}


START_S = 180  # of all that 'shoal up' starts, on a busy machine


class Up:
    """A ``shoal up`` and the command line beside it."""

    def __init__(self, folder: Path, port: int, engine: str = "tests.fakes:Slow") -> None:
        self.folder = folder
        self.url = f"http://127.0.0.1:{port}"
        self.client = Client(self.url)
        self.log = folder.parent / f"up-{port}.log"
        env = environment(engine) | {"SHOAL_WORK_DIR": str(folder.parent / "work")}
        command = [*SHOAL, "up", "--port", str(port), "--data-dir", str(folder)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, env=env, stdout=log, stderr=log)

    def ready(self) -> Up:
        eventually(lambda: "running at" in self.log.read_text(), "shoal up to be ready", START_S)
        return self

    def cli(self, *arguments: str) -> Any:
        """Run a command with --json; returns the document."""
        command = [*SHOAL, "--url", self.url, *arguments, "--json"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    def state(self, job_id: str) -> str:
        return self.client.get(job_id).state

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def child(self, name: str) -> psutil.Process:
        (found,) = [c for c in self.children() if any(name in part for part in c.cmdline())]
        return found

    def end(self) -> None:
        """``kill -9``, after which its children must end by themselves."""
        children = self._kill()
        eventually(lambda: all(map(is_over, children)), f"all to end: {children}")

    def stop(self) -> None:
        """End it and its children, however it is."""
        for child in (children := self._kill()):
            with suppress(psutil.NoSuchProcess):
                child.kill()
        eventually(lambda: all(map(is_over, children)), "all to end")

    def _kill(self) -> list[psutil.Process]:
        self.client.close()
        if self.process.poll() is not None:
            return []
        children = self.children()
        self.process.kill()
        self.process.wait()
        return children


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """20 s of work for ``tests.fakes:Slow``: a test breaks into it, however late it is."""
    path = tmp_path / "clip.mp4"
    media.write_video(path, frames=400, fps=25)
    return path


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    running = Up(tmp_path / "data", free_port())
    try:
        yield running.ready()
    finally:
        running.stop()


def submit(up: Up, clip: Path) -> str:
    document = up.cli("submit", str(clip), "--prompt", "person", "--sample-fps", "0")
    return str(document["items"][0]["id"])


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_video_continues_at_the_next_start(
    up: Up, clip: Path, sig: signal.Signals
) -> None:
    job_id = submit(up, clip)
    eventually(lambda: up.client.get(job_id).progress.frames > 3, "the first frames")
    children = up.children()
    up.process.send_signal(sig)
    assert up.process.wait(timeout=120) == 0
    assert not psutil.wait_procs(children, timeout=20)[1]
    again = Up(up.folder, free_port(), "tests.fakes:Fake")
    try:
        again.ready()
        eventually(lambda: again.state(job_id) == "succeeded", "the video to be done", 120)
        events = [event["event"] for event in again.cli("show", job_id)["timeline"]]
        assert "preempted" in events
        assert again.cli("show", job_id)["preemptions"] == 1
    finally:
        again.stop()


def test_nothing_outlives_a_killed_stack_and_its_video_continues(up: Up, clip: Path) -> None:
    job_id = submit(up, clip)
    eventually(lambda: up.client.get(job_id).progress.frames > 3, "the first frames")
    up.end()  # kill -9; looks that all its children are gone
    again = Up(up.folder, free_port(), "tests.fakes:Fake")
    try:
        again.ready()
        eventually(lambda: again.state(job_id) == "succeeded", "the video to be done", 120)
    finally:
        again.stop()


def test_a_second_stack_on_the_same_data_is_refused(up: Up) -> None:
    other = Up(up.folder, free_port())
    assert other.process.wait(timeout=120) == 1
    assert "another 'shoal up' uses" in other.log.read_text()
    assert up.cli("queue")["queued"] == 0  # the first one lives


def test_a_busy_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        up = Up(tmp_path / "data", port)
        assert up.process.wait(timeout=120) == 1
    assert f"port {port} on 127.0.0.1 is in use" in up.log.read_text()


def test_a_dead_valkey_ends_it_with_a_clear_error(up: Up, clip: Path) -> None:
    submit(up, clip)
    children = up.children()
    up.child("valkey-server").kill()
    assert up.process.wait(timeout=120) == 1
    assert "valkey exited with code" in up.log.read_text()
    assert not psutil.wait_procs(children, timeout=60)[1]


def test_a_dead_worker_is_replaced(up: Up, tmp_path: Path) -> None:
    workers: list[dict[str, Any]] = []

    def is_there() -> bool:  # one that stood still is missing until its next beat
        workers[:] = up.cli("queue")["workers"]
        return bool(workers)

    eventually(is_there, "the worker")
    psutil.Process(workers[0]["pid"]).kill()
    clip = tmp_path / "short.mp4"
    media.write_video(clip, frames=20, fps=25)
    job_id = submit(up, clip)
    eventually(lambda: up.state(job_id) == "succeeded", "the video to be done", START_S)


def test_it_works_on_a_redis_that_is_there_already(tmp_path: Path, valkey_url: str) -> None:
    env = environment("tests.fakes:Fake") | {"SHOAL_QUEUE": "elsewhere"}
    port = free_port()
    log = tmp_path / "up.log"
    command = [*SHOAL, "up", "--port", str(port), "--data-dir", str(tmp_path / "data")]
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*command, "--redis-url", valkey_url], env=env, stdout=file, stderr=file
        )
    try:
        eventually(lambda: "running at" in log.read_text(), "shoal up to be ready", START_S)
        names = [child.name() for child in psutil.Process(process.pid).children(recursive=True)]
        assert not any("valkey" in name for name in names)
        process.terminate()
        assert process.wait(timeout=120) == 0
    finally:
        process.kill()
        process.wait()
