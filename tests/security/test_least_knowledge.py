"""Each process of Shoal knows what it needs: above all the one that opens hostile files."""

from __future__ import annotations

import ast
import json
import os
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings as effort, strategies as st

from shoal.errors import InvalidSetting
from shoal.local.environment import (
    API_ONLY,
    HUB_TOKENS,
    MODEL_SETTINGS,
    for_api,
    for_model,
    for_server,
    for_worker,
)
from shoal.local.fleet import LocalFleet
from shoal.local.service import Service
from shoal.local.stack import Stack
from shoal.settings import SECRETS, Settings, get_settings
from tests import conftest
from tests.conftest import SubmitClip
from tests.ports import free_port
from tests.running import Processes, eventually
from tests.security.spy import PIDS

# An empty queue for each test and short leases, in place of what this folder shares by module.
settings, redis, queue = conftest.settings, conftest.redis, conftest.queue

ROOT = Path(__file__).parents[2]
MARK = "planted0secret0marker"
PLANTED = {
    "SHOAL_API_TOKENS": f"{MARK}-api-token-of-an-operator",
    "SHOAL_API_TOKEN": f"{MARK}-cli",
    "SHOAL_CALLBACK_SECRET": "whsec_" + "cGxhbnRlZDBzZWNyZXQwbWFya2Vy" + "QUJDREVG",
    "SHOAL_EVENT_TOKENS": f"{MARK}-events",
    "HF_TOKEN": f"hf_{MARK}",
    "HUGGING_FACE_HUB_TOKEN": f"hf_{MARK}",
    "OTEL_EXPORTER_OTLP_HEADERS": f"authorization={MARK}",
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS": f"authorization={MARK}",
    "DATABASE_URL": f"postgres://u:{MARK}@db/x",
    "GITHUB_TOKEN": MARK,
}
MARKS = (MARK, "cGxhbnRlZDBzZWNyZXQwbWFya2Vy")

linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux's /proc and prctl")


@linux
def test_code_in_the_model_process_finds_no_secret(
    processes: Processes, submit_clip: SubmitClip
) -> None:
    processes.env["SHOAL_REDIS_URL"] += f"?client_name={MARK}"
    processes.env |= PLANTED | {"SHOAL_API_TOKENS": f"{MARK}-api-token-of-an-operator"}
    api = processes.start("api")
    eventually(lambda: "waiting for Redis" in processes.logs(), "the API to run")
    worker = processes.worker(
        "tests.security.spy:Spy", SHOAL_MODEL_ENV=PIDS, **{PIDS: str(api.pid)}
    )
    record = processes.wait_state(submit_clip(), "succeeded", "failed")
    assert record.error is None
    seen = json.loads((processes.settings.data_dir / "spied.json").read_text())

    flat = {"own": seen["own"], "parent": seen["parent"], **seen["others"]}
    told = [(whose, what) for whose in flat for what, text in flat[whose].items() if tells(text)]
    assert told == []
    assert seen["had_token"]  # while the model was loading
    for of_process in (seen["parent"], *seen["others"].values()):
        for name in ("environ", "memory", "files", "ptrace"):
            assert of_process[name].startswith("refused"), name
    files = [line.split()[1] for line in seen["own"]["files"].splitlines()]
    assert sum(file.startswith("socket:") for file in files) == 1, files  # the pipe to the parent
    assert seen["own"]["oom"].strip() == "1000"
    assert Path(f"/proc/{worker.pid}/oom_score_adj").read_text().strip() != "1000"
    assert "NoNewPrivs:\t1" in seen["own"]["status"]
    core = next(line for line in seen["own"]["limits"].splitlines() if "core file" in line)
    assert core.split()[4:6] == ["0", "0"]
    assert processes.settings.redis_url not in json.dumps(seen)


def tells(text: str) -> bool:
    return any(mark in text for mark in MARKS)


def reads(path: Path) -> set[str]:
    """The settings that a file of code asks for."""
    return {
        node.attr
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and (
            (isinstance(node.value, ast.Name) and node.value.id == "settings")
            or (isinstance(node.value, ast.Attribute) and node.value.attr == "settings")
            or (
                isinstance(node.value, ast.Call)
                and isinstance(node.value.func, ast.Name)
                and node.value.func.id == "get_settings"
            )
        )
    }


def test_the_model_process_gets_the_settings_that_its_code_reads_and_no_other() -> None:
    folders = ["worker/pipeline", "worker/engines", "worker/outputs", "worker/video"]
    folders += ["shoal/storage", "shoal/results"]
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    found = set[str]().union(*map(reads, [*paths, ROOT / "worker" / "model_process.py"]))
    # What is made of other settings, and what is read before there are settings.
    made_of = {"results_root": {"results", "data_dir"}, "is_upload": {"data_dir"}}
    made_of |= {"readable_roots": {"file_roots", "data_dir"}}
    needed = {"log_format"}
    for name in found:
        needed |= made_of.get(name, {name})
    assert needed == set(MODEL_SETTINGS)
    assert not {f"SHOAL_{name.upper()}" for name in MODEL_SETTINGS} & SECRETS


def test_every_secret_of_the_settings_is_known_as_one() -> None:
    assert {
        "SHOAL_REDIS_URL",
        "SHOAL_API_TOKEN",
        "SHOAL_API_TOKENS",
        "SHOAL_CALLBACK_SECRET",
        "SHOAL_EVENT_TOKENS",
    } == SECRETS


KEPT = {
    "PATH": "/bin",
    "HF_HOME": "/cache",
    "AWS_SECRET_ACCESS_KEY": "for reading videos",
    "GOOGLE_APPLICATION_CREDENTIALS": "/key.json",
    "STORAGE_EMULATOR_HOST": "http://127.0.0.1:1",
    "CUDA_VISIBLE_DEVICES": "0",
    "OMP_NUM_THREADS": "2",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318",
    "SHOAL_DATA_DIR": "/data",
    "PYTHONPATH": "/src",
    "LC_ALL": "C.UTF-8",
}


@effort(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ_", min_size=1), st.text(), max_size=5))
def test_variables_that_nobody_listed_are_not_passed_on(others: dict[str, str]) -> None:
    unknown = {f"X_{name}": value for name, value in others.items()}
    assert for_model(KEPT | PLANTED | unknown) == KEPT
    assert for_model(KEPT | unknown, [*unknown]) == KEPT | unknown


def test_a_password_in_a_collectors_address_stays_with_the_parent() -> None:
    secret = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"https://u:{MARK}@collector"}
    assert for_model(secret) == {}


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_no_setting_hands_a_secret_to_the_model_process(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOAL_MODEL_ENV", f"FOO, {name}")
    get_settings.cache_clear()
    try:
        with pytest.raises(InvalidSetting, match=f"SHOAL_MODEL_ENV.*{name}"):
            get_settings()
    finally:
        get_settings.cache_clear()


def test_each_service_gets_its_own_secrets_only() -> None:
    everything = KEPT | PLANTED | {"SHOAL_REDIS_URL": "redis://:secret@h"}
    assert not for_worker(everything).keys() & API_ONLY
    assert for_worker(everything).keys() >= {"SHOAL_REDIS_URL", "HF_TOKEN", *KEPT}
    assert not for_api(everything).keys() & set(HUB_TOKENS)
    assert for_api(everything).keys() >= {"SHOAL_API_TOKENS", "SHOAL_REDIS_URL"}
    assert for_server(everything) == {name: KEPT[name] for name in ("PATH", "PYTHONPATH", "LC_ALL")}


def test_a_fleet_gives_its_workers_no_secret_of_the_api(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(Service, "start", lambda self: None)
    fleet = LocalFleet(lambda name, line: None, size=4)
    fleet.start("one", {"SHOAL_REDIS_URL": "redis://h"})
    (worker,) = fleet.workers
    assert not worker.env.keys() & API_ONLY
    assert worker.env["SHOAL_REDIS_URL"] == "redis://h"
    alone = LocalFleet(lambda name, line: None, size=1)
    alone.start("one", {})
    shares = [int(each.workers[0].env["SHOAL_MAX_MEMORY"]) for each in (fleet, alone)]
    assert shares[0] == shares[1] // 4 > 0


@linux
def test_what_shoal_up_starts_knows_no_more_than_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (PLANTED | {"SHOAL_CALLBACK_SECRET": ""}).items():
        monkeypatch.setenv(name, value)
    settings = Settings(data_dir=tmp_path / "data", api_port=free_port())
    stack = Stack(settings, workers=0, redis_url=None, log_line=lambda name, line: None)
    try:
        stack.start()
        assert stack._valkey is not None
        assert stack._valkey.process is not None
        environ = Path(f"/proc/{stack._valkey.process.pid}/environ").read_bytes().decode()
        assert MARK not in environ
        folder = settings.data_dir / "valkey"
        password = (stack.redis_url or "").split(":")[2].partition("@")[0].encode()
        for path in settings.data_dir.rglob("*"):
            with suppress(FileNotFoundError):  # one that the server has renamed meanwhile
                assert not path.is_file() or password not in path.read_bytes(), path
        assert folder.stat().st_mode & 0o077 == 0
        assert settings.data_dir.stat().st_mode & 0o077 == 0
        assert stack._api is not None
        assert "HF_TOKEN" not in stack._api.env
    finally:
        stack.stop()
    assert os.environ["SHOAL_API_TOKEN"] == PLANTED["SHOAL_API_TOKEN"]
