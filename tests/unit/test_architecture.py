"""The arrows of the architecture: api -> shoal <- worker, no circles, and a light base."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]

# The autoscaler is an environment of its own: SkyPilot does not go with the others' libraries.
DEPLOY = {"autoscaler", "sky"}

FORBIDDEN = {
    "shoal": {"api", "worker", "fastapi", "starlette", "uvicorn", "torch", "cv2", "av"} | DEPLOY,
    "api": {"worker", "torch", "cv2", "av", "numpy"} | DEPLOY,
    "worker": {"api", "fastapi", "starlette", "uvicorn"} | DEPLOY,
}

# What the base install has no part of, or what a client has no use for.
HEAVY = {"redis", "rq", "fastapi", "starlette", "uvicorn", "torch", "cv2", "av", "numpy", "pyarrow"}

# All that the base install may bring: a client's HTTP, its models, and the command line.
LIGHT = {
    *("httpx", "httpcore", "h11", "anyio", "sniffio", "certifi", "idna"),
    *("pydantic", "pydantic-core", "pydantic-settings", "annotated-types", "typing-inspection"),
    *("typing-extensions", "python-dotenv"),
    *("typer", "click", "rich", "shellingham", "markdown-it-py", "mdurl", "pygments"),
    "annotated-doc",
}

# The process that holds the queue's side of a worker: native code that may crash stays out of it.
NATIVE = {"torch", "cv2", "av", "onnxruntime", "pyarrow"}


def imported(path: Path) -> set[str]:
    """The packages that a file imports anywhere, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


@cache
def loaded_by(module: str) -> set[str]:
    """The top-level modules that importing one brings in, in a fresh process."""
    code = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    run = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'deploy' / 'autoscaler'}"},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(run.stdout.split())


def files() -> Iterator[tuple[str, Path]]:
    for package in FORBIDDEN:
        found = sorted((ROOT / package).rglob("*.py"))
        assert found, f"{package} is empty"
        for path in found:
            yield package, path


@pytest.mark.parametrize(
    ("package", "path"),
    [pytest.param(package, path, id=str(path.relative_to(ROOT))) for package, path in files()],
)
def test_no_import_goes_against_an_arrow(package: str, path: Path) -> None:
    assert imported(path) & FORBIDDEN[package] == set()


def test_an_import_in_a_function_is_seen(tmp_path: Path) -> None:
    """The check above would be worth nothing if it overlooked one."""
    path = tmp_path / "a.py"
    path.write_text("def f():\n    from worker.parent import Parent\n    import cv2.dnn\n")
    assert imported(path) == {"worker", "cv2"}


@pytest.mark.parametrize(
    "module", ["shoal.cli", "shoal.cli.watching", "shoal.client.client", "shoal.client.schemas"]
)
def test_clients_load_nothing_heavy(module: str) -> None:
    loaded = loaded_by(module)
    assert "shoal" in loaded
    assert loaded & (HEAVY | {"api", "worker"}) == set()


def test_who_only_submits_installs_little() -> None:
    """'pip install .', without extras: httpx, pydantic and typer, with what these need."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found: set[str] = set()
    waiting = [Requirement(line) for line in project["dependencies"]]
    while waiting:
        name = canonicalize_name(waiting.pop().name)
        if name not in found:
            found.add(name)
            needed = map(Requirement, requires(name) or ())
            waiting += [r for r in needed if not r.marker or r.marker.evaluate({"extra": ""})]
    assert {"httpx", "pydantic", "typer", "h11"} <= found
    assert found <= LIGHT


def test_the_command_line_starts_without_http() -> None:
    assert "httpx" not in loaded_by("shoal.cli")


def test_the_api_loads_nothing_of_the_worker() -> None:
    assert loaded_by("api.server") & (NATIVE | {"worker"}) == set()


def test_the_parent_loads_nothing_native() -> None:
    assert loaded_by("worker.parent") & (NATIVE | {"api", "fastapi"}) == set()


def test_a_model_process_starts_without_what_few_jobs_need() -> None:
    assert loaded_by("worker.model_process") & {"onnxruntime", "scipy", "torch"} == set()


def test_the_controller_needs_no_skypilot() -> None:
    """So that the local launcher, and most tests, run without it."""
    assert loaded_by("autoscaler.cli") & {"sky", "api", "worker", "fastapi"} == set()


def module_of(path: Path, root: Path = ROOT) -> str:
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def dependencies(paths: dict[str, Path]) -> dict[str, set[str]]:
    """Which of these modules each imports at its top level, for types as well."""
    found: dict[str, set[str]] = {}
    for module, path in paths.items():
        found[module] = set()
        tree = ast.parse(path.read_text())
        top = [node for node in tree.body if not isinstance(node, (ast.FunctionDef, ast.ClassDef))]
        for node in (each for statement in top for each in ast.walk(statement)):
            if isinstance(node, ast.Import):
                found[module] |= {alias.name for alias in node.names} & paths.keys()
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = {f"{node.module}.{alias.name}" for alias in node.names}
                inner = names & paths.keys()
                found[module] |= inner
                if len(inner) < len(names):
                    found[module] |= {node.module} & paths.keys()
    return found


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = dependencies({module_of(path): path for _, path in files()})
    assert any(graph.values())
    TopologicalSorter(graph).prepare()


def test_a_circle_is_seen_also_between_imports_for_types(tmp_path: Path) -> None:
    a, b = tmp_path / "a.py", tmp_path / "b.py"
    a.write_text("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from b import B\n")
    b.write_text("import a\n")
    with pytest.raises(CycleError):
        TopologicalSorter(dependencies({"a": a, "b": b})).prepare()


def test_a_class_name_stands_once() -> None:
    places = defaultdict(list)
    for _, path in files():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                places[node.name].append(module_of(path))
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


@pytest.mark.parametrize(
    "path", sorted((ROOT / "shoal" / "model").rglob("*.py")), ids=lambda path: path.stem
)
def test_models_know_no_redis_and_no_store(path: Path) -> None:
    assert imported(path) & {"redis", "rq"} == set()
    below = {".".join(name.split(".")[:2]) for name in imported_modules(path)}
    assert below & {"shoal.queue", "shoal.ingest", "shoal.storage", "shoal.client"} == set()


def imported_modules(path: Path) -> set[str]:
    """The modules that a file imports from anywhere, with their packages."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    froms = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    return plain | {f"{node.module}.{alias.name}" for node in froms for alias in node.names}


def test_files_that_the_architecture_names_exist() -> None:
    pages = [(ROOT / name).read_text() for name in ("ARCHITECTURE.md", "docs/internals.md")]
    named = set(re.findall(r"`([\w./-]+\.(?:py|toml|md))`", "".join(pages)))
    known = {f"/{path.relative_to(ROOT)}" for path in ROOT.glob("*.*")}
    for room in ("shoal", "api", "worker", "deploy", "tests", "benchmarks", "docs"):
        known |= {f"/{path.relative_to(ROOT)}" for path in (ROOT / room).rglob("*.*")}
    assert len(named) > 50
    missing = {name for name in named if not any(path.endswith(f"/{name}") for path in known)}
    assert not missing
