"""deploy/kubernetes: who reaches whom, judged by the rules of NetworkPolicy."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.conftest import Tool
from tests.deploy.test_kubernetes import FOLDER, PODS, manifests, pod

OURS = {"shoal-api", "shoal-worker", "shoal-autoscaler"}
KUBE_DNS = {"k8s-app": "kube-dns"}
METADATA = ("169.254.169.254", "fd00:ec2::254", "169.254.170.2", "100.100.100.200")
IDENTITIES = sorted(path.parent for path in FOLDER.glob("identity/*/kustomization.yaml"))

Peer = dict[str, str] | str  # a pod by its labels, or an address
Policies = list[dict[str, Any]]


def policies() -> Policies:
    return [each["spec"] for (kind, _), each in manifests().items() if kind == "NetworkPolicy"]


def identity(folder: Path) -> Policies:
    names = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
    return [
        each["spec"] for name in names for each in yaml.safe_load_all((folder / name).read_text())
    ]


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    wanted = selector.get("matchLabels", {}).items() <= labels.items()
    expressions = selector.get("matchExpressions", ())
    assert all(each["operator"] == "In" for each in expressions)
    return wanted and all(labels.get(each["key"]) in each["values"] for each in expressions)


def matches(entry: dict[str, Any], peer: Peer) -> bool:
    if isinstance(peer, str):
        if "ipBlock" not in entry:
            return False
        address, block = ipaddress.ip_address(peer), entry["ipBlock"]
        within = [ipaddress.ip_network(cidr) for cidr in block.get("except", ())]
        return address in ipaddress.ip_network(block["cidr"]) and not any(
            address in network for network in within
        )
    if "podSelector" not in entry:
        return False
    if "k8s-app" in peer:  # of another namespace
        assert entry.get("namespaceSelector", {}) or "k8s-app" not in str(entry["podSelector"])
        return "namespaceSelector" in entry and selects(entry["podSelector"], peer)
    return "namespaceSelector" not in entry and selects(entry["podSelector"], peer)


def allows(found: Policies, way: str, labels: dict[str, str], peer: Peer, port: int) -> bool:
    """Whether policies let a pod send to (Egress) or hear from (Ingress) a peer."""
    side = {"Egress": "to", "Ingress": "from"}[way]
    bound = [
        each
        for each in found
        if way in each["policyTypes"] and selects(each["podSelector"], labels)
    ]
    return not bound or any(
        any(each["port"] == port for each in rule["ports"])
        and (side not in rule or any(matches(entry, peer) for entry in rule[side]))
        for policy in bound
        for rule in policy.get(way.lower(), ())
    )


def app(name: str) -> dict[str, str]:
    return {"app": name}


def connects(source: str, target: str, port: int) -> bool:
    found = policies()
    return allows(found, "Egress", app(source), app(target), port) and allows(
        found, "Ingress", app(target), app(source), port
    )


def port_of(kind: str, name: str) -> int:
    return int(pod(kind, name)["containers"][0]["ports"][0]["containerPort"])


@pytest.mark.parametrize("way", ["Egress", "Ingress"])
@pytest.mark.parametrize("name", [*(name for _, name in PODS), "a-pod-of-tomorrow"])
def test_nothing_is_allowed_by_itself(name: str, way: str) -> None:
    assert not allows(policies(), way, app(name), app("anything"), 9999)
    assert not allows(policies(), way, app(name), "10.0.0.7", 9999)


def test_redis_is_for_those_who_need_it() -> None:
    port = port_of("StatefulSet", "valkey")
    for name in (*OURS, "another", "valkey"):
        assert connects(name, "valkey", port) == (name in OURS)
    for port in (22, 80, 16379):
        assert not any(connects(name, "valkey", port) for name in OURS)


def test_the_api_is_reached_on_its_port_alone_and_workers_not_at_all() -> None:
    port = port_of("Deployment", "shoal-api")
    for source in ("10.1.2.3", app("anything")):
        assert allows(policies(), "Ingress", app("shoal-api"), source, port)
        assert not allows(policies(), "Ingress", app("shoal-api"), source, port + 1)
        assert not allows(policies(), "Ingress", app("shoal-worker"), source, port)


@pytest.mark.parametrize("name", sorted(OURS))
def test_ours_reach_buckets_and_names(name: str) -> None:
    assert allows(policies(), "Egress", app(name), KUBE_DNS, 53)
    assert allows(policies(), "Egress", app(name), "142.250.1.207", 443)
    assert allows(policies(), "Egress", app(name), "2a00:1450:4001::1", 443)
    assert not allows(policies(), "Egress", app(name), "142.250.1.207", 80)
    for private in ("10.0.0.1", "172.20.0.1", "192.168.1.1", "fd12::1", "fe80::1"):
        assert not allows(policies(), "Egress", app(name), private, 443)


def test_valkey_reaches_nothing() -> None:
    for peer, port in (("142.250.1.207", 443), (KUBE_DNS, 53), (app("shoal-api"), 8000)):
        assert not allows(policies(), "Egress", app("valkey"), peer, port)


@pytest.mark.parametrize("address", METADATA)
@pytest.mark.parametrize("name", [*sorted(OURS), "valkey", "another"])
def test_no_pod_reaches_the_metadata_service(name: str, address: str) -> None:
    for port in (53, 80, 443, 988, 8080):
        assert not allows(policies(), "Egress", app(name), address, port)


@pytest.mark.parametrize("folder", IDENTITIES, ids=lambda folder: folder.name)
def test_identities_are_for_who_reads_buckets(folder: Path, tool: Tool) -> None:
    tool("kubernetes-validate", "--strict", str(folder / "network.yaml"))
    found = policies() + identity(folder)
    address = {"gke": "169.254.169.254", "eks": "169.254.170.23"}[folder.name]
    for name in (*OURS, "valkey"):
        allowed = allows(found, "Egress", app(name), address, 80)
        assert allowed == (name in {"shoal-api", "shoal-worker"})
    if folder.name != "gke":
        assert not allows(found, "Egress", app("shoal-worker"), "169.254.169.254", 80)
