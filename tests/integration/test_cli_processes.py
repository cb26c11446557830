"""Commands that last: on a terminal, until Ctrl-C, and the services that they become."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from shoal.client import Client
from shoal.exits import Exit
from shoal.model.job import State
from shoal.queue.queue import JobQueue
from shoal.settings import Settings
from tests.integration.test_cli import ROOT, SHOAL, environment
from tests.serving import take


def take_interrupts() -> None:
    """In a new process: a shell that starts the tests in the background has it ignore them."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def press_ctrl_c(process: subprocess.Popen[str]) -> int:
    """Its exit code. As a person would, press again if nothing happens: Python drops an interrupt
    that comes within a destructor."""
    for _ in range(3):
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(20)
    process.kill()
    raise AssertionError("Ctrl-C has no effect")


def test_ctrl_c_leaves_the_job_running(api_url: str, client: Client, video: Path) -> None:
    job_id = client.submit(video.as_uri(), ["person"]).id
    watching = subprocess.Popen(
        [*SHOAL, "watch", job_id],
        env=environment(api_url),
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=take_interrupts,
    )
    assert watching.stderr is not None
    assert job_id[:12] in watching.stderr.readline()
    assert press_ctrl_c(watching) == Exit.INTERRUPTED
    assert "Traceback" not in watching.stderr.read()
    watching.stderr.close()
    assert client.get(job_id).state == State.QUEUED


def test_on_a_terminal_progress_is_drawn(
    api_url: str, client: Client, queue: JobQueue, video: Path
) -> None:
    job_id = client.submit(video.as_uri(), ["person"]).id
    take(queue).succeed({}, {"objects_detected": 1, "frames_processed": 10})
    ours, theirs = pty.openpty()
    watching = subprocess.Popen(
        [*SHOAL, "watch", job_id, "--json"],
        env=environment(api_url, TERM="xterm-256color"),
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    drawn = bytearray()

    def look() -> None:
        with contextlib.suppress(OSError):  # how Linux tells that the other end is closed
            while chunk := os.read(ours, 4096):
                drawn.extend(chunk)

    looking = threading.Thread(target=look)
    looking.start()  # from the start: a terminal that nobody reads fills up, and all stands still
    assert watching.stdout is not None
    assert json.loads(watching.stdout.read())["items"][0]["id"] == job_id
    watching.stdout.close()
    assert watching.wait() == Exit.OK
    looking.join()
    os.close(ours)
    assert "━".encode() in drawn


@pytest.mark.parametrize("service", ["api", "worker"])
def test_services_say_what_they_need(service: str, tmp_path: Path) -> None:
    """A base install has no server libraries; a file of the same name here is not run."""
    (tmp_path / f"{service}.py").write_text("print('not this one')")
    needs = {"api": "uvicorn", "worker": "av"}[service]
    hide = f"import sys; sys.modules['{needs}'] = None; from shoal.cli import app; app()"
    run = subprocess.run(
        [sys.executable, "-c", hide, service],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == Exit.FAILED
    assert f"pip install '.[{service}]'" in run.stderr


def test_the_api_is_served_until_it_is_stopped(
    settings: Settings, queue: JobQueue, tmp_path: Path
) -> None:
    command = ["api", "--port", "0", "--data-dir", str(settings.data_dir)]
    (tmp_path / "api.py").write_text("raise SystemExit('a file of the same name was run')")
    api = subprocess.Popen(
        [*SHOAL, *command, "--redis-url", settings.redis_url],
        env=environment(""),
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert api.stderr is not None
    try:
        said = ""
        while "serving on" not in said:
            line = api.stderr.readline()
            assert line, said
            said += line
        with Client(said.rpartition("serving on ")[2].strip()) as client:
            assert client.queue().queued == 0
    finally:
        api.terminate()
        assert api.wait(60) == Exit.OK
        api.stderr.close()
