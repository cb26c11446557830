"""What images are made of: bases by digest, packages by hash, and the programs that renew both."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.deploy.conftest import Tool
from tests.deploy.test_cloud_scripts import program
from tests.running import ROOT

CONSTRAINTS = ROOT / "deploy/constraints"
SCRIPT = "deploy/pin_images.py"
OURS = re.compile(r"shoal-(api|worker)\b|ghcr\.io/your-org/")
# Whatever in our files is an image to be pulled: in a Dockerfile, in YAML, in a shell.
IMAGE = re.compile(
    r"^# syntax=(\S+)|^FROM (\S+)|^(?:ARG |\s*)(?:BASE|PYTHON|image)[:=] ?(\S+)|^#.* BASE=(\S+)"
    r"|docker (?:pull|run)\b.*?([\w./-]+/[\w.-]+:\d\S*)",
    re.MULTILINE,
)
# Of each list: the extras that an image has, as docs and Makefile say.
LISTS = {
    "api": ("pyproject.toml", ["api", "gcs", "s3", "azure"]),
    "worker": ("pyproject.toml", ["worker", "sam3", "gcs", "s3", "azure"]),
    "worker-cpu": ("pyproject.toml", ["worker", "gcs", "s3", "azure"]),
    "autoscaler": ("deploy/autoscaler/pyproject.toml", ["sky"]),
}
FILES = [
    *ROOT.glob("Dockerfile.*"),
    ROOT / "docker-compose.yml",
    ROOT / "deploy/autoscaler/Dockerfile",
    *(ROOT / "deploy/kubernetes").glob("*.yaml"),
    *(ROOT / "deploy/skypilot").iterdir(),
]


def images(path: Path) -> Iterator[str]:
    text = path.read_text()
    stages = set(re.findall(r"^FROM .* AS (\S+)", text, re.MULTILINE))
    for found in IMAGE.finditer(text):
        name = next(group for group in found.groups() if group).strip("'\"")
        if not OURS.match(name) and "${" not in name and name not in stages:
            yield name


def pinned(text: str) -> dict[str, str]:
    """The package and version of each entry of a list, and its hashes."""
    entries = re.findall(r"^(\S+==\S+) ((?:\\\n +--hash=sha256:[0-9a-f]{64} ?)+)$", text, re.M)
    assert len(entries) == len(re.findall(r"^[^\s#]", text, re.M)), "an entry without hashes"
    return dict(entry.split("==") for entry, _ in entries)


def wanted(file: str, extras: list[str]) -> Iterator[Requirement]:
    project = tomllib.loads((ROOT / file).read_text())["project"]
    lines = list(project["dependencies"])
    for extra in extras:
        lines += project["optional-dependencies"][extra]
    for requirement in map(Requirement, lines):
        if requirement.name == "shoal":
            yield from wanted("pyproject.toml", sorted(requirement.extras))
        else:
            yield requirement


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_images_are_named_by_tag_and_digest(path: Path) -> None:
    for name in images(path):
        assert re.fullmatch(r"[\w./-]+:[\w.-]*\d[\w.-]*@sha256:[0-9a-f]{64}", name), name


def test_the_search_finds_them() -> None:
    found = {name.partition(":")[0] for path in FILES for name in images(path)}
    assert found == {
        "docker/dockerfile", "python", "ubuntu", "nvidia/cuda", "valkey/valkey", "prom/prometheus",
        "grafana/grafana",
    }  # fmt: skip


def test_a_tag_has_one_digest() -> None:
    found = {name for path in FILES for name in images(path)}
    assert len({name.partition("@")[0] for name in found}) == len(found)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The files that have digests, and the script that renews them."""
    root = tmp_path / "repository"
    for path in [*FILES, ROOT / SCRIPT]:
        target = root / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return root


def renew(root: Path, *docker: str) -> subprocess.CompletedProcess[str]:
    env = program(root / "bin", "docker", *docker)
    command = [sys.executable, str(root / SCRIPT)]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def test_digests_are_renewed_everywhere(copy: Path) -> None:
    asked = copy / "asked"
    done = renew(
        copy,
        '[ "$*" = "buildx imagetools inspect $4 --format {{.Manifest.Digest}}" ] || exit 9',
        f'echo "$4" >> {asked}',
        'printf \'sha256:%s\\n\' "$(printf %s "$4" | sha256sum | cut -c-64)"',
    )
    assert done.returncode == 0, done.stderr
    names = {name for path in FILES for name in images(path)}
    assert sorted(asked.read_text().split()) == sorted(name.partition("@")[0] for name in names)
    for path in FILES:
        renewed = copy / path.relative_to(ROOT)
        before, after = list(images(path)), list(images(renewed))
        assert [name.partition("@")[0] for name in after] == [
            name.partition("@")[0] for name in before
        ]
        assert not set(before) & set(after), f"{path.name} is not among the files of {SCRIPT}"


@pytest.mark.parametrize("answer", ["exit 1", "echo unknown", "echo sha256:12"])
def test_without_an_answer_nothing_is_changed(copy: Path, answer: str) -> None:
    # The first tag has an answer, a later one has none.
    done = renew(copy, f'case "$4" in grafana*) {answer};; esac', f"echo sha256:{'0' * 64}")
    assert done.returncode != 0
    assert "grafana/grafana:" in done.stderr
    for path in FILES:
        assert (copy / path.relative_to(ROOT)).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("name", [*LISTS, "build"])
def test_a_list_has_names_versions_and_hashes_only(name: str) -> None:
    text = (CONSTRAINTS / f"{name}.txt").read_text()
    assert pinned(text)
    assert not re.search(r"://|index|find-links|file:|trusted-host", text)


@pytest.mark.parametrize("name", LISTS)
def test_a_list_has_what_the_project_asks_for(name: str) -> None:
    versions = {
        canonicalize_name(package.partition("[")[0]): version
        for package, version in pinned((CONSTRAINTS / f"{name}.txt").read_text()).items()
    }
    linux = {"sys_platform": "linux", "platform_machine": "x86_64", "python_version": "3.12"}
    for requirement in wanted(*LISTS[name]):
        if requirement.marker is None or requirement.marker.evaluate(linux):
            version = versions.get(canonicalize_name(requirement.name))
            assert version, f"{requirement} is not in it: 'make constraints'"
            assert requirement.specifier.contains(version), f"{requirement}: {version}"
    assert "shoal" not in versions, "ours is never fetched"


def test_every_list_is_an_image_s() -> None:
    assert {path.stem for path in CONSTRAINTS.glob("*.txt")} == {*LISTS, "build"}
    used = {
        name
        for path in FILES
        for name in re.findall(r"(?:CONSTRAINTS[=:] ?|constraints/)([\w-]+)", path.read_text())
    }
    assert used >= {*LISTS, "build"}


def test_the_script_of_the_lists_is_sound(tool: Tool) -> None:
    script = (CONSTRAINTS / "update.sh").read_text()
    tool("shellcheck", str(CONSTRAINTS / "update.sh"))
    for name, (file, extras) in LISTS.items():
        if file == "pyproject.toml":
            asked = " ".join(f"--extra {extra}" for extra in extras)
            assert f'compile {name} {file} {asked} "$@"\n' in script
