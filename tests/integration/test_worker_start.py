"""A worker that cannot start says why in two lines; one that waits for Redis says so at once."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from shoal.errors import InvalidRules, RedisUnavailable
from shoal.ingest.rules_file import load
from shoal.queue.connection import connect
from shoal.settings import Settings
from tests.ports import free_port
from tests.running import ROOT


@pytest.mark.parametrize("module", ["worker", "api", "worker.doctor"])
def test_a_bad_setting_is_no_traceback(module: str, tmp_path: Path) -> None:
    env = os.environ | {"PYTHONPATH": str(ROOT), "SHOAL_PART_S": "abc"}
    run = subprocess.run(
        [sys.executable, "-m", module], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert run.returncode in (1, 2)
    assert "SHOAL_PART_S" in run.stderr
    assert "Traceback" not in run.stderr


def test_waiting_for_redis_is_said_once_and_at_once(caplog: pytest.LogCaptureFixture) -> None:
    settings = Settings(redis_url=f"redis://127.0.0.1:{free_port()}/0")
    with caplog.at_level(logging.INFO, "shoal.queue.connection"), pytest.raises(RedisUnavailable):
        connect(settings, attempts_s=0.3)
    (message,) = caplog.messages
    assert message.startswith("waiting up to")


def test_a_rule_outside_the_roots_names_the_setting(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text('[[rule]]\nbucket = "file:///srv/elsewhere"\nprompts = ["person"]\n')
    with pytest.raises(InvalidRules) as caught:
        load(path, settings)
    assert "rules.toml:2" in str(caught.value)
    assert "SHOAL_FILE_ROOTS" in str(caught.value)
