"""What SkyPilot refuses, and where its own checks would have let it through."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import sky
from conftest import FILES
from sky.serve import serve_utils

from autoscaler.deployment import Deployment, check_values, read_secrets, read_yaml
from autoscaler.preflight import check_pool
from autoscaler.sdk import Sdk
from shoal.errors import DeploymentError

POOL = read_yaml(FILES / "pool.yaml")
SECRETS = {"SHOAL_REDIS_URL": "rediss://r", "HF_TOKEN": "hf_x"}
PLACES = POOL["resources"]["any_of"]
L4 = {"infra": "gcp/europe-west4", "accelerators": "L4:1"}


def pool(resources: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """``pool.yaml`` with changes, to its top level and to its resources."""
    config = deepcopy(POOL) | changes
    config["resources"] |= resources or {}
    return config


def scaling(**changes: Any) -> dict[str, Any]:
    return {"pool": changes}


WITHOUT_SPOT = {key: value for key, value in POOL["resources"].items() if key != "use_spot"}


@pytest.mark.parametrize(
    ("config", "match"),
    [
        (pool(**scaling(min_workers=0, max_workers=6, queue_length_threshold=0)), "threshold"),
        (pool(**scaling(workers=1, target_queue_length=3)), "target_queue_length|[Ii]nvalid"),
        (pool(**scaling(min_workers=1)), "max_workers"),
        (pool(**scaling(workers=1, upscale_delay_seconds=5)), "delay"),
        (pool() | {"resources": {"use_spot": True, "ordered": PLACES}}, "[Oo]rdered"),
        (
            pool() | {"resources": WITHOUT_SPOT | {"any_of": [L4 | {"use_spot": True}, L4]}},
            "all use spot",
        ),
        (pool({"ports": 8080}), "ports"),
        (pool({"job_recovery": "EAGER_NEXT_REGION"}), "job_recovery"),
        (pool({"any_of": [L4 | {"infra": "gcp/europe-west99"}]}), "europe-west99"),
        (pool(service={"readiness_probe": "/"}), "service"),
    ],
    ids=[
        "threshold of 0",
        "unknown key",
        "no upper bound",
        "delay of a fixed pool",
        "ordered places",
        "spot and on-demand",
        "ports",
        "job_recovery",
        "no such region",
        "a service and a pool",
    ],
)
def test_skypilot_refuses(sdk: Sdk, config: dict[str, Any], match: str) -> None:
    with pytest.raises(DeploymentError, match=match):
        check_pool(sdk, config, SECRETS)


def test_run_in_a_pool_is_ignored_by_skypilot(sdk: Sdk) -> None:
    """Hence consumers are jobs of their own."""
    task = sdk.task(pool(run="echo hi"), SECRETS)
    serve_utils.validate_service_task(task, pool=True)


@pytest.mark.parametrize(
    ("place", "match"),
    [
        (
            {"infra": "gcp/europe-west4", "accelerators": "L40S:1"},
            "gcp/europe-west4 has no spot L40S",
        ),
        ({"infra": "gcp/europe-west4", "accelerators": "L4:3"}, "no spot L4:3"),
    ],
)
def test_a_gpu_that_a_region_lacks_is_said_before_anything_starts(
    sdk: Sdk, place: dict[str, str], match: str
) -> None:
    config = pool({"any_of": [L4, place]})
    task = sdk.task(config, SECRETS)
    serve_utils.validate_service_task(task, pool=True)  # SkyPilot's own checks see nothing
    with pytest.raises(DeploymentError, match=match):
        check_pool(sdk, config, SECRETS)


def test_an_unknown_gpu(sdk: Sdk) -> None:
    with pytest.raises(DeploymentError, match="L5"):
        check_pool(sdk, pool({"any_of": [L4 | {"accelerators": "L5:1"}]}), SECRETS)


@pytest.mark.parametrize(
    ("environment", "match"),
    [
        ({}, "SHOAL_REDIS_URL and HF_TOKEN must be set"),
        ({"SHOAL_REDIS_URL": "rediss://r"}, "HF_TOKEN must be set"),
        ({"SHOAL_REDIS_URL": "redis://r", "HF_TOKEN": "x"}, "begin with rediss://"),
        ({"SHOAL_REDIS_URL": "rediss://127.0.0.1", "HF_TOKEN": "x"}, "each worker's own machine"),
    ],
)
def test_secrets(environment: dict[str, str], match: str) -> None:
    with pytest.raises(DeploymentError, match=match):
        read_secrets(environment)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"image": ""}, "no image"),
        ({"results": ""}, "must be a bucket"),
        ({"results": "file:///tmp"}, "must be a bucket"),
    ],
)
def test_values(changes: dict[str, str], match: str) -> None:
    given = {"results": "gs://b/r", "queue": "shoal", "pool": "shoal", "image": "a/b:1"} | changes
    with pytest.raises(DeploymentError, match=match):
        check_values(Deployment(files=FILES, **given))


def test_a_forgotten_secret_is_not_noticed_by_skypilot(sdk: Sdk) -> None:
    """It takes it for one that its server keeps. Hence ``read_secrets``."""
    assert sky.Task.from_yaml_config(deepcopy(POOL)).secrets == {}
    assert sdk.task(POOL, SECRETS).secrets.keys() == {"HF_TOKEN"}
