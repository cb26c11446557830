"""docker-compose.yml: the published schema, and that what it promises is in it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from shoal.settings import Settings
from tests.deploy.conftest import Tool
from tests.running import ROOT

FILE = ROOT / "docker-compose.yml"


def services() -> dict[str, Any]:
    return dict(yaml.safe_load(FILE.read_text())["services"])


def example() -> dict[str, str]:
    lines = (ROOT / ".env.example").read_text().splitlines()
    pairs = [line.partition("=") for line in lines if line and not line.startswith("#")]
    return {name: value for name, _, value in pairs}


def test_schema(tool: Tool) -> None:
    tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(FILE))


def test_up_without_more_is_the_cpu_stack() -> None:
    profiles = example()["COMPOSE_PROFILES"].split(",")
    started = {
        name for name, each in services().items()
        if not each.get("profiles") or set(each["profiles"]) & set(profiles)
    }  # fmt: skip
    assert started == {"valkey", "api", "worker-cpu"}


def test_everything_waits_for_what_it_needs() -> None:
    found = services()
    for name, needs in {
        "api": {"valkey"},
        "worker-cpu": {"valkey", "api"},
        "worker-gpu": {"valkey", "api"},
        "prometheus": {"api"},
        "grafana": {"prometheus"},
    }.items():
        waits = found[name]["depends_on"]
        assert set(waits) == needs
        for other in needs:
            assert waits[other] == {"condition": "service_healthy"}
            dockerfile = found[other].get("build", {}).get("dockerfile")
            image = (ROOT / dockerfile).read_text() if dockerfile else ""
            assert "healthcheck" in found[other] or "HEALTHCHECK" in image


def test_secrets_have_no_default() -> None:
    text = FILE.read_text()
    for name in ("VALKEY_PASSWORD", "SHOAL_API_TOKENS"):
        uses = re.findall(rf"(?<!\$)\$\{{{name}[^}}]*\}}", text)
        assert uses
        assert all(use.startswith(f"${{{name}:?") for use in uses)
        assert example()[name] == ""


def test_example_names_what_the_file_reads() -> None:
    read = set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", FILE.read_text()))
    assert set(example()) - read == {"COMPOSE_PROFILES", "HF_TOKEN", "SHOAL_API_TOKEN"}


def test_ports_are_this_machines_alone() -> None:
    ports = [port for each in services().values() for port in each.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


@pytest.mark.parametrize("name", services())
def test_every_container_is_locked_and_limited(name: str) -> None:
    service = services()[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.fullmatch(r"(\$\{SHOAL_WORKER_MEMORY:-)?\d+g}?", service["mem_limit"])
    assert 0 < service["pids_limit"] <= 4096
    assert all("size=" in mount for mount in service["tmpfs"])
    assert {"max-size", "max-file"} <= set(service["logging"]["options"])


def test_uploads_have_the_default_quota() -> None:
    value = services()["api"]["environment"]["SHOAL_MAX_UPLOADS_BYTES"]
    default = Settings.model_fields["max_uploads_bytes"].default
    assert value == f"${{SHOAL_MAX_UPLOADS_BYTES:-{default}}}"


def test_workers_stop_in_time() -> None:
    found = services()
    grace_s = Settings.model_fields["grace_s"].default
    for name in ("worker-cpu", "worker-gpu"):
        assert int(found[name]["stop_grace_period"].rstrip("s")) > grace_s


def test_bind_mounts_are_of_the_monitoring() -> None:
    mounts = [
        mount.split(":")[0]
        for each in services().values()
        for mount in each.get("volumes", ())
        if mount.startswith(".")
    ]
    assert mounts
    assert {Path(mount).parent for mount in mounts} == {Path("deploy/monitoring")}
