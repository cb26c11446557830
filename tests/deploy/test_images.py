"""The Dockerfiles: linted, and their lists and commands held against the package."""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from shoal.queue.queue import JobQueue
from shoal.settings import Settings
from tests.deploy.conftest import Tool
from tests.running import ROOT, Processes, eventually

API, WORKER = ROOT / "Dockerfile.api", ROOT / "Dockerfile.worker"
IMAGES = [Path("Dockerfile.api"), Path("Dockerfile.worker"), Path("deploy/autoscaler/Dockerfile")]


def health_check(dockerfile: Path) -> list[str]:
    found = re.search(r"^HEALTHCHECK[^\[]*CMD (\[.*\])$", dockerfile.read_text(), re.MULTILINE)
    assert found
    command = json.loads(found[1])
    assert command[0] == "python"
    return [sys.executable, *command[1:]]


@pytest.mark.parametrize("dockerfile", IMAGES, ids=str)
def test_linted(dockerfile: Path, tool: Tool) -> None:
    tool("hadolint", str(dockerfile))


def test_a_worker_can_compile_the_model_and_keeps_what_it_compiled() -> None:
    """Triton needs a C compiler, libc's headers and Python's; /tmp may be small and noexec."""
    text = WORKER.read_text()
    for package in ("gcc", "libc6-dev", "python3-dev"):
        assert re.search(rf"[ \t]{package}[ ;\n]", text), package
    for cache in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "HF_HOME"):
        assert re.search(rf"\b{cache}=/models/", text), cache


@pytest.mark.parametrize("dockerfile", IMAGES, ids=str)
def test_images_take_packages_by_their_hash_alone(dockerfile: Path) -> None:
    """No list of packages of their own, and nothing from an index but by deploy/constraints."""
    text = (ROOT / dockerfile).read_text().replace("\\\n", " ")
    commands = re.findall(r"pip (?:install|wheel|download)[^&\n]*", text)
    assert len(commands) == 5
    for command in commands:
        words = shlex.split(command)[2:]
        assert "--no-deps" in words, command
        if "-r" in words:
            assert "--require-hashes" in words, command
            assert words.pop(words.index("-r") + 1).startswith("constraints/")
        else:
            assert {"--no-index", "--no-build-isolation"} & set(words), command
        plain = [word for word in words if not word.startswith("-")]
        assert set(plain) <= {"/wheels", "/shoal", "/wheels/*.whl", "/shoal/*.whl", ".",
                              "./deploy/autoscaler"}, command  # fmt: skip
    assert not re.search(r"\b(uv|easy_install|poetry|conda|curl|wget)\b", text)


def test_the_image_for_v100_has_the_versions_of_the_worker_s(tool: Tool) -> None:
    path = ROOT / "deploy/Dockerfile.v100"
    tool("hadolint", str(path))
    worker = (ROOT / "deploy/constraints/worker.txt").read_text()
    installed = re.findall(r"(torch(?:vision)?)==([\d.]+)\+cu126", path.read_text())
    assert [name for name, _ in installed] == ["torch", "torchvision"]
    assert all(f"\n{name}=={version} " in worker for name, version in installed)


def test_images_hold_every_package() -> None:
    """What setuptools packs is what the build sees: .dockerignore leaves all else out."""
    packed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    packages = {name.rstrip("*") for name in packed["packages"]["find"]["include"]}
    seen = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line.startswith("!")
    }
    assert seen == packages | {
        "pyproject.toml",
        "README.md",
        "deploy/constraints",
        "deploy/slim.sh",
    }


@pytest.mark.parametrize("dockerfile", [API, WORKER], ids=lambda path: path.name)
def test_runs_as_nobody_special(dockerfile: Path) -> None:
    lines = dockerfile.read_text().splitlines()
    assert [line for line in lines if line.startswith("USER ")] == ["USER 10001:10001"]
    last_stage = max(number for number, line in enumerate(lines) if line.startswith("FROM "))
    assert lines.index("USER 10001:10001") > last_stage


def test_the_api_image_has_neither_weights_nor_pip() -> None:
    """Taken out in the layer that would hold them."""
    _, _, rest = API.read_text().partition("source=/shoal,")
    layer, _, _ = rest.partition("\n\n")
    assert "engines/cpu/weights" in layer
    assert "pip uninstall --yes pip" in layer
    assert (ROOT / "worker" / "engines" / "cpu" / "weights").is_dir()


def test_images_hold_all_that_is_loaded(tmp_path: Path) -> None:
    """Without what slim.sh takes out, and what the API's image lacks besides."""
    removed = re.search(r"pip uninstall --yes ((?!pip)[\w -]+)", API.read_text())
    assert removed
    for name in ("botocore", "numpy", "scipy", "pyarrow", "onnxruntime"):
        folder = Path(importlib.import_module(name).__path__[0])
        shutil.copytree(folder, tmp_path / name, copy_function=os.symlink)
        (tmp_path / f"{name}.libs").symlink_to(folder.with_name(f"{name}.libs"))
    subprocess.run([ROOT / "deploy" / "slim.sh", tmp_path], check=True)
    code = f"""
import sys
for name in {removed[1].replace("-", "_").split()}:
    sys.modules[name] = None
import pathlib, boto3, botocore, numpy, scipy.optimize, scipy.ndimage, onnxruntime, pyarrow.parquet
for package in (botocore, numpy, scipy, onnxruntime, pyarrow):
    assert package.__path__[0].startswith({str(tmp_path)!r}), package
onnxruntime.InferenceSession(next(pathlib.Path("worker/engines/cpu/weights").glob("*.onnx")))
from shoal.engines import clip
assert clip.encode("person")
for service in ("s3", "sts", "sso", "sso-oidc", "signin"):
    boto3.client(service, region_name="us-east-1")
try:
    boto3.client("ec2", region_name="us-east-1")
except botocore.exceptions.UnknownServiceError:
    print("slim")
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "slim\n"


def test_health_check_of_the_api(settings: Settings, processes: Processes) -> None:
    command = [part.replace(":8000/", f":{settings.api_port}/") for part in health_check(API)]
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0
    processes.api()
    eventually(
        lambda: subprocess.run(command, capture_output=True, check=False).returncode == 0,
        "an answer within the time limit of the check",
    )


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
    eventually(lambda: check().returncode == 0, "a beat that is not old")
    worker.kill()
    eventually(lambda: check().returncode == 1, "the death to be noticed")


def test_health_check_blames_no_worker_for_redis(processes: Processes) -> None:
    env = {**processes.env, "SHOAL_REDIS_URL": "redis://127.0.0.1:1/0"}
    done = subprocess.run(health_check(WORKER), env=env, capture_output=True, check=False)
    assert done.returncode == 0
    assert b"unknown" in done.stdout
