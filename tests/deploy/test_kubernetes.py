"""deploy/kubernetes: Kubernetes' own schemas, and what ties the manifests together."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from shoal.model.record import Depth
from shoal.settings import Settings
from tests.deploy.conftest import Tool
from tests.running import ROOT

FOLDER = ROOT / "deploy/kubernetes"


def kustomization() -> dict[str, Any]:
    return dict(yaml.safe_load((FOLDER / "kustomization.yaml").read_text()))


def manifests() -> dict[tuple[str, str], dict[str, Any]]:
    """All objects, by kind and name."""
    return {
        (each["kind"], each["metadata"]["name"]): each
        for name in kustomization()["resources"]
        for each in yaml.safe_load_all((FOLDER / name).read_text())
    }


def pod(kind: str, name: str) -> dict[str, Any]:
    return dict(manifests()[kind, name]["spec"]["template"]["spec"])


def size_of(quantity: str) -> int:
    number, unit = quantity[:-2], quantity[-2:]
    return int(number) << {"Mi": 20, "Gi": 30}[unit]


PODS = [("StatefulSet", "valkey"), ("Deployment", "shoal-api"), ("Deployment", "shoal-worker")]


def test_every_file_is_applied() -> None:
    files = {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml"}
    assert set(kustomization()["resources"]) == files


def test_schemas(tool: Tool) -> None:
    said = tool(
        "kubernetes-validate", "--strict",
        *(str(FOLDER / name) for name in kustomization()["resources"]),
    )  # fmt: skip
    unknown = {line.split(" for kind ")[1].split()[0] for line in said.splitlines()
               if "find schema" in line}  # fmt: skip
    assert unknown <= {"ScaledObject", "TriggerAuthentication"}, "only KEDA's are not Kubernetes'"
    assert "deployment/shoal-worker" in said


def test_a_worker_has_its_grace_and_a_gpu() -> None:
    spec = pod("Deployment", "shoal-worker")
    grace = dict(each.split("=") for each in kustomization()["configMapGenerator"][0]["literals"])
    assert float(grace["SHOAL_GRACE_S"]) == Settings.model_fields["grace_s"].default
    assert spec["terminationGracePeriodSeconds"] > float(grace["SHOAL_GRACE_S"])
    assert spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"


@pytest.mark.parametrize(("kind", "name"), PODS)
def test_pods_meet_the_restricted_standard(kind: str, name: str) -> None:
    spec = pod(kind, name)
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in spec["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


@pytest.mark.parametrize(("kind", "name"), PODS)
def test_labels_and_secrets_agree(kind: str, name: str) -> None:
    found = manifests()
    template = found[kind, name]["spec"]["template"]
    labels = template["metadata"]["labels"]
    assert found[kind, name]["spec"]["selector"]["matchLabels"] == labels
    for other in found.values():
        if other["kind"] == "PodDisruptionBudget" and other["metadata"]["name"] == name:
            assert other["spec"]["selector"]["matchLabels"] == labels
        if other["kind"] == "Service" and other["metadata"]["name"] == name:
            assert other["spec"]["selector"] == labels
    for variable in template["spec"]["containers"][0].get("env", ()):
        if reference := variable.get("valueFrom"):
            assert reference["secretKeyRef"]["name"] == "shoal"


@pytest.mark.parametrize(("kind", "name"), PODS)
def test_pods_can_neither_fill_a_node_nor_ask_the_cluster(kind: str, name: str) -> None:
    spec = pod(kind, name)
    assert spec["automountServiceAccountToken"] is False
    (container,) = spec["containers"]
    limits = container["resources"]["limits"]
    assert {"memory", "ephemeral-storage"} <= set(limits)
    assert {"cpu", "memory", "ephemeral-storage"} <= set(container["resources"]["requests"])
    volumes = [volume["emptyDir"] for volume in spec.get("volumes", ()) if "emptyDir" in volume]
    on_disk = [size_of(each["sizeLimit"]) for each in volumes if each.get("medium") != "Memory"]
    assert sum(on_disk) < size_of(limits["ephemeral-storage"]), "it would be evicted before"


def test_no_service_account_is_mounted() -> None:
    accounts = [each for (kind, _), each in manifests().items() if kind == "ServiceAccount"]
    assert accounts
    assert all(each["automountServiceAccountToken"] is False for each in accounts)


def test_uploads_go_to_a_bucket() -> None:
    """API and workers share no disk, and that of the API is small."""
    (config,) = kustomization()["configMapGenerator"]
    found = dict(entry.split("=", 1) for entry in config["literals"])
    assert Settings(results=found["SHOAL_RESULTS"]).uploads_bucket.startswith("gs://")


def test_scaled_by_queued_and_running() -> None:
    found = manifests()
    scaled = found["ScaledObject", "shoal-worker"]["spec"]
    assert scaled["scaleTargetRef"]["name"] == "shoal-worker"
    assert "replicas" not in found["Deployment", "shoal-worker"]["spec"], "KEDA sets them"
    formula = scaled["advanced"]["scalingModifiers"]["formula"]
    assert [trigger["name"] for trigger in scaled["triggers"]] == formula.split(" + ")
    for trigger in scaled["triggers"]:
        assert trigger["metadata"]["valueLocation"] in Depth.model_fields
        assert trigger["metadata"]["valueLocation"] != "queued", "none starts in a paused queue"
        assert trigger["metadata"]["url"] == "http://shoal-api.shoal.svc/queue"
        name = trigger["authenticationRef"]["name"]
        assert ("TriggerAuthentication", name) in found
