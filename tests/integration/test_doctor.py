"""``shoal doctor``, run as a user does."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from shoal.exits import Exit
from shoal.settings import Settings
from tests.conftest import SHOAL
from tests.running import ROOT


class Doctor:
    """Runs it in a folder of its own, with no setting but those that are given."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("SHOAL_", "HF_"))}

    def run(self, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*SHOAL, "doctor", *args],
            cwd=self.folder,
            env={**self.env, "PYTHONPATH": f"{ROOT / 'tests/sam3/site'}:{ROOT}", **env},
            capture_output=True,
            text=True,
            check=False,
        )

    def findings(self, **env: str) -> tuple[int, dict[str, dict[str, Any]]]:
        """The exit code, and what was found by name."""
        done = self.run("--json", **env)
        items = json.loads(done.stdout)["items"]
        return done.returncode, {item["name"]: item for item in items}


@pytest.fixture
def doctor(tmp_path: Path) -> Doctor:
    return Doctor(tmp_path)


def test_a_machine_that_can_work(doctor: Doctor, settings: Settings) -> None:
    code, found = doctor.findings(
        SHOAL_ENGINE="cpu",
        SHOAL_REDIS_URL=settings.redis_url,
        SHOAL_SAM3_WEIGHTS=str(doctor.folder / "nowhere"),
    )
    assert code == Exit.OK
    assert "broken" not in {each["health"] for each in found.values()}
    assert found["one frame"]["detail"].startswith("cpu on cpu: loaded in")
    assert found["sam3 weights"]["health"] == "note"  # another engine's
    assert "append" in found["queue"]["detail"]  # the tests' own keeps nothing
    assert "appendonly" in found["queue"]["hint"]
    assert "av " in found["libraries"]["detail"]
    assert list(doctor.folder.iterdir()) == []


def test_a_redis_that_was_asked_for_must_answer(doctor: Doctor) -> None:
    url = "redis://:a-secret@127.0.0.1:1/0"
    done = doctor.run(SHOAL_ENGINE="cpu", SHOAL_REDIS_URL=url)
    assert done.returncode == Exit.FAILED
    assert "SHOAL_REDIS_URL" in done.stdout
    assert "queue" in done.stderr
    assert "a-secret" not in done.stdout + done.stderr


def test_a_setting_that_cannot_be_understood(doctor: Doctor) -> None:
    done = doctor.run(SHOAL_BEAT_S="often")
    assert done.returncode == Exit.USAGE
    assert "SHOAL_BEAT_S" in done.stderr


def test_an_unknown_engine(doctor: Doctor) -> None:
    code, found = doctor.findings(SHOAL_ENGINE="oracle")
    assert code == Exit.FAILED
    assert "'oracle'" in found["one frame"]["detail"]
    assert "sam3" in found["one frame"]["hint"]


def test_missing_weights_are_named(doctor: Doctor) -> None:
    pytest.importorskip("torch")
    missing = str(doctor.folder / "nowhere")
    code, found = doctor.findings(SHOAL_ENGINE="sam3", SHOAL_SAM3_WEIGHTS=missing)
    assert code == Exit.FAILED
    assert "one frame" not in found
    assert "no weights at" in found["sam3 weights"]["detail"]
    assert "SHOAL_SAM3_WEIGHTS" in found["sam3 weights"]["hint"]
    assert "Not needed for 'shoal up'" in found["queue"]["hint"]  # none was asked for


def test_without_weights_or_token_the_licence_is_named(doctor: Doctor) -> None:
    pytest.importorskip("torch")
    done = doctor.run(SHOAL_ENGINE="sam3", HF_HOME=str(doctor.folder))
    assert done.returncode == Exit.FAILED
    assert "sam3 weights" in done.stderr
    for way in ("broken", "licence", "HF_TOKEN", "SHOAL_SAM3_WEIGHTS"):
        assert way in done.stdout


def test_one_frame_goes_through_sam3(
    doctor: Doctor, tmp_path_factory: pytest.TempPathFactory
) -> None:
    pytest.importorskip("torch")
    from tests.sam3 import tiny

    checkpoint = tiny.save_checkpoint(tmp_path_factory.mktemp("sam3"))
    code, found = doctor.findings(SHOAL_ENGINE="sam3", SHOAL_SAM3_WEIGHTS=str(checkpoint))
    assert code == Exit.OK
    assert found["sam3 weights"]["detail"] == str(checkpoint)
    assert found["one frame"]["detail"].startswith("sam3 on ")
