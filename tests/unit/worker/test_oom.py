"""Who ended the model process: the kernel, for want of memory, or somebody else."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from shoal.errors import ModelProcessDied, OutOfMemory
from shoal.model.failure import Failure
from shoal.queue.poison import DEADLY
from tests.running import eventually
from worker.model_handle import ModelProcess
from worker.oom import oom_kills
from worker.protocol import Ready

V1 = "12:pids:/a\n4:memory:/docker/ab\n0::/ignored\n"
V2 = "0::/user.slice/shoal.service\n"


def counter(tmp_path: Path, membership: str, *files: tuple[str, str]) -> int | None:
    (tmp_path / "membership").write_text(membership)
    for name, content in files:
        path = tmp_path / "cgroups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return oom_kills(tmp_path / "membership", tmp_path / "cgroups")


EVENTS = "low 0\nhigh 0\nmax 7\noom 4\noom_kill 3\noom_group_kill 1\n"
CONTROL = "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n"


@pytest.mark.parametrize(
    ("membership", "name", "content", "kills"),
    [
        (V2, "user.slice/shoal.service/memory.events", EVENTS, 3),
        (V2, "memory.events", EVENTS, 3),  # a container with the host's path
        ("0::/\n", "memory.events", EVENTS, 3),
        (V1, "memory/docker/ab/memory.oom_control", CONTROL, 5),
        (V1, "memory/memory.oom_control", CONTROL, 5),
        (V1, "memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\n", None),  # before 4.13
        (V2, "elsewhere/memory.events", EVENTS, None),
        ("", "memory.events", EVENTS, None),
    ],
)
def test_the_counter_is_found(
    tmp_path: Path, membership: str, name: str, content: str, kills: int | None
) -> None:
    assert counter(tmp_path, membership, (name, content)) == kills


def test_a_system_without_cgroups(tmp_path: Path) -> None:
    assert oom_kills(tmp_path / "membership", tmp_path) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("counts", "sig", "error"),
    [
        ([2, 3], signal.SIGKILL, OutOfMemory),
        ([2, 2], signal.SIGKILL, ModelProcessDied),  # by somebody else
        ([None, None], signal.SIGKILL, ModelProcessDied),  # nobody knows
        ([2, 3], signal.SIGTERM, None),  # not heeded
        ([2, 3], signal.SIGSEGV, ModelProcessDied),  # another process of the cgroup ran out
    ],
)
def test_a_killed_model_process_is_named(
    counts: list[int | None],
    sig: signal.Signals,
    error: type[ModelProcessDied] | None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("SHOAL_ENGINE", "tests.fakes:Fake")
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    told = iter(counts)
    model = ModelProcess(lambda: next(told))
    try:
        model.start()
        assert isinstance(model.wait(60), Ready)
        assert model._process is not None
        os.kill(model._process.pid, sig)
        if error is None:
            assert model.wait(1) is None
            return
        with pytest.raises(ModelProcessDied) as raised:
            model.wait(60)
    finally:
        model.kill()
    assert type(raised.value) is error
    failure = Failure.of(raised.value)
    assert failure.transient
    assert failure.code in DEADLY
    expected = "out of memory" if error is OutOfMemory else f"ended by {sig.name}"
    assert expected in failure.message


def test_one_that_speaks_without_a_job_is_not_given_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else what it said would be taken for the end of that job."""
    monkeypatch.setenv("SHOAL_ENGINE", "tests.fakes:Chatty")
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    model = ModelProcess()
    try:
        model.start()
        assert isinstance(model.wait(60), Ready)
        assert model.alive
        eventually(lambda: not model.alive, "it to be ended")
    finally:
        model.kill()
