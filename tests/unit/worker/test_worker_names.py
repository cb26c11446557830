"""What workers are called."""

from __future__ import annotations

import os
import socket

from shoal.queue.workers import unique_name


def test_no_name_is_given_twice() -> None:
    names = {unique_name({}) for _ in range(100)}
    assert len(names) == 100
    assert all(name.startswith(f"{socket.gethostname()}-{os.getpid()}-") for name in names)


def test_a_managed_job_of_skypilot_is_in_the_name() -> None:
    name = unique_name({"SKYPILOT_MANAGED_JOB_ID": "42"})
    assert name.startswith(f"sky42-{socket.gethostname()}-")


def test_what_is_no_id_stays_out() -> None:
    for odd in ("", "../..", "a b", "x" * 50):
        name = unique_name({"SKYPILOT_MANAGED_JOB_ID": odd})
        assert name.startswith(socket.gethostname()), odd
