"""The Dockerfiles: linted, and their lists and commands held against the package."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from shoal.queue import JobQueue
from shoal.settings import Settings
from tests.deploy.conftest import Tool
from tests.processes import ROOT, Processes, eventually

API, WORKER = ROOT / "Dockerfile.api", ROOT / "Dockerfile.worker"


def project() -> dict[str, dict[str, list[str]]]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def argument(dockerfile: Path, name: str) -> str:
    (value,) = re.findall(rf"^ARG {name}=(.+)$", dockerfile.read_text(), re.MULTILINE)
    return value


def health_check(dockerfile: Path) -> list[str]:
    found = re.search(r"^HEALTHCHECK[^\[]*CMD (\[.*\])$", dockerfile.read_text(), re.MULTILINE)
    assert found
    command = json.loads(found[1])
    assert command[0] == "python"
    return [sys.executable, *command[1:]]


@pytest.mark.parametrize("dockerfile", [API, WORKER], ids=lambda path: path.name)
def test_linted(dockerfile: Path, tool: Tool) -> None:
    tool("hadolint", str(dockerfile))


def test_images_install_the_extras() -> None:
    """No list of packages of their own: what pyproject.toml names, and all that a service needs."""
    assert argument(API, "EXTRAS").split(",") == ["api", "gcs", "s3"]
    assert argument(WORKER, "EXTRAS").split(",") == ["worker", "sam3", "gcs", "s3"]
    extras = project()["optional-dependencies"]
    for dockerfile in (API, WORKER):
        text = dockerfile.read_text()
        assert set(argument(dockerfile, "EXTRAS").split(",")) <= set(extras)
        installed = re.findall(r"pip (?:install|wheel) [^&\n]*", text.replace("\\\n", " "))
        assert len(installed) == 4
        for line in installed:
            words = [word for word in shlex.split(line)[2:] if not word.startswith("-")]
            assert words, line
            assert set(words) <= {".[${EXTRAS}]", ".", "/wheels", "/shoal", "/wheels/*.whl",
                                  "/shoal/*.whl"}, line  # fmt: skip


def test_images_hold_every_package() -> None:
    """What setuptools packs is what the build sees: .dockerignore leaves all else out."""
    packed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    packages = {name.rstrip("*") for name in packed["packages"]["find"]["include"]}
    seen = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line.startswith("!")
    }
    assert seen == packages | {"pyproject.toml", "README.md"}


def test_dependencies_are_built_from_the_list_alone(tmp_path: Path) -> None:
    """The first stage has pyproject.toml and README.md only, and packs an empty distribution."""
    for name in ("pyproject.toml", "README.md"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
    wheels = tmp_path / "wheels"
    subprocess.run([*command, "--no-deps", "--wheel-dir", wheels, tmp_path], check=True)
    assert [path.name.split("-")[0] for path in wheels.iterdir()] == ["shoal"]


@pytest.mark.parametrize("dockerfile", [API, WORKER], ids=lambda path: path.name)
def test_runs_as_nobody_special_from_pinned_images(dockerfile: Path) -> None:
    lines = dockerfile.read_text().splitlines()
    assert [line for line in lines if line.startswith("USER ")] == ["USER 10001:10001"]
    last_stage = max(number for number, line in enumerate(lines) if line.startswith("FROM "))
    assert lines.index("USER 10001:10001") > last_stage
    named = [line.split()[1] for line in lines if line.startswith("FROM ")]
    bases = [name for name in named if "/" in name or ":" in name]
    if dockerfile == WORKER:
        bases.append(argument(WORKER, "BASE"))
    for base in bases:
        tag = base.partition(":")[2]
        assert re.search(r"\d+\.\d+", tag), f"{base} is not pinned"


def test_health_check_of_the_api(settings: Settings, processes: Processes) -> None:
    command = [part.replace(":8000/", f":{settings.api_port}/") for part in health_check(API)]
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0
    processes.api()
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_health_check_of_a_worker(
    settings: Settings, queue: JobQueue, processes: Processes
) -> None:
    def check() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            health_check(WORKER), env=processes.env, capture_output=True, text=True, check=False
        )

    assert check().returncode == 1, "no worker is there"
    worker = processes.worker()
    eventually(processes.idle_workers, "a worker")
    assert check().returncode == 0
    worker.kill()
    eventually(lambda: check().returncode == 1, "the death to be noticed")


def test_health_check_blames_no_worker_for_redis(processes: Processes) -> None:
    env = {**processes.env, "SHOAL_REDIS_URL": "redis://127.0.0.1:1/0"}
    done = subprocess.run(health_check(WORKER), env=env, capture_output=True, check=False)
    assert done.returncode == 0
    assert b"not known" in done.stdout
