"""A model process is ended with all that it started."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from worker.model_handle import kill_group

# The child ignores that its parent ends, as a process that waits in a collective does.
PROGRAM = "sleep 600 & echo $!; wait"


def is_running(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("leader_first", [True, False])
def test_processes_of_further_gpus_do_not_outlive_it(leader_first: bool) -> None:
    leader = subprocess.Popen(["sh", "-c", PROGRAM], stdout=subprocess.PIPE, start_new_session=True)
    assert leader.stdout is not None
    child = int(leader.stdout.readline())
    assert is_running(child)
    if leader_first:
        leader.kill()
        leader.wait()
        assert is_running(child), "it is left behind"
    kill_group(leader)
    leader.wait()
    leader.stdout.close()
    deadline = time.monotonic() + 10
    while is_running(child) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_running(child)
    kill_group(leader)  # there is nothing left to end
