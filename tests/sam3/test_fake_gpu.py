"""A whole session on a GPU that is not there: devices, waits of the host, and memory."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("query", ["words", "shown"])
def test_no_devices_are_mixed_waits_are_few_and_nothing_grows(query: str) -> None:
    command = [sys.executable, "-m", "tests.sam3.fake_session", query]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
