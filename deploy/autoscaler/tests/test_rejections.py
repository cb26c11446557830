"""What SkyPilot refuses, and where its own checks would have let it through."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import sky
from conftest import FILES
from sky.serve import serve_utils

from autoscaler.deployment import Deployment, as_yaml, check_values, read_secrets, read_yaml
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


def deployment(files: Path = FILES, **changes: str) -> Deployment:
    given = {"results": "gs://b/r", "queue": "shoal", "pool": "shoal", "image": "a/b:1"} | changes
    return Deployment(files=files, **given)


@pytest.mark.parametrize(
    ("environment", "match"),
    [
        ({}, "HF_TOKEN must be set"),
        ({}, "SHOAL_REDIS_URL"),
        ({"SHOAL_REDIS_URL": "rediss://r"}, "HF_TOKEN must be set"),
        ({"SHOAL_REDIS_URL": "redis://r", "HF_TOKEN": "x"}, "begin with rediss://"),
        *(
            ({"SHOAL_REDIS_URL": f"rediss://:p@{host}:6380/0", "HF_TOKEN": "x"}, "own machine")
            for host in (
                *("127.0.0.1", "127.0.0.2", "127.255.255.254", "0.0.0.0", "localhost"),
                *(
                    "LOCALHOST",
                    "localhost.",
                    "queue.localhost",
                    "[::1]",
                    "[::]",
                    "[::ffff:127.0.0.1]",
                ),
            )
        ),
        ({"SHOAL_REDIS_URL": "rediss:///0", "HF_TOKEN": "x"}, "own machine"),
    ],
)
def test_secrets(environment: dict[str, str], match: str) -> None:
    with pytest.raises(DeploymentError, match=match):
        read_secrets(deployment(), environment)


def with_secrets(folder: Path, **secrets: str | None) -> Path:
    """The files, with further secrets in worker.yaml."""
    for name in ("pool.yaml", "worker.yaml"):
        config = read_yaml(FILES / name)
        if name == "worker.yaml":
            config["secrets"] |= secrets
        (folder / name).write_text(as_yaml(config))
    return folder


BUCKET = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "other"}


def test_every_secret_of_the_files_is_handed_on(sdk: Sdk, tmp_path: Path) -> None:
    """To consumers, and to the machines, whose 'shoal doctor' opens the bucket, too."""
    given = deployment(with_secrets(tmp_path, **dict.fromkeys(BUCKET)))
    environment = {"SHOAL_REDIS_URL": "rediss://r", "HF_TOKEN": "x"} | BUCKET
    secrets = read_secrets(given, environment)
    for config, names in (
        (given.consumer(), environment.keys()),
        (given.machines(), environment.keys() - {"SHOAL_REDIS_URL"}),
    ):
        told = sdk.task(config, secrets).secrets
        assert {name: value.get_secret_value() for name, value in told.items()} == {
            name: environment[name] for name in names
        }


def test_a_secret_without_a_value_is_refused_before_anything_starts(tmp_path: Path) -> None:
    """SkyPilot would refuse each start with it."""
    given = deployment(with_secrets(tmp_path, **dict.fromkeys(BUCKET)))
    with pytest.raises(DeploymentError, match="AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY must"):
        read_secrets(given, {"SHOAL_REDIS_URL": "rediss://r", "HF_TOKEN": "x"})


def test_a_secret_that_a_file_holds_is_not_asked_for(sdk: Sdk, tmp_path: Path) -> None:
    given = deployment(with_secrets(tmp_path, TEAM="blue"))
    secrets = read_secrets(given, {"SHOAL_REDIS_URL": "rediss://r", "HF_TOKEN": "x"})
    assert "TEAM" not in secrets
    assert sdk.task(given.consumer(), secrets).secrets["TEAM"].get_secret_value() == "blue"


def test_images_of_a_private_registry(sdk: Sdk, tmp_path: Path) -> None:
    """SkyPilot logs in with these three, all of them secrets of pool.yaml."""
    files = with_secrets(tmp_path)
    config = read_yaml(files / "pool.yaml")
    login = {
        "SKYPILOT_DOCKER_USERNAME": "me",
        "SKYPILOT_DOCKER_PASSWORD": "p",
        "SKYPILOT_DOCKER_SERVER": "ghcr.io",
    }
    config["secrets"] |= dict.fromkeys(login)
    (files / "pool.yaml").write_text(as_yaml(config))
    given = deployment(files, image="ghcr.io/me/worker:1")
    environment = {"SHOAL_REDIS_URL": "rediss://r", "HF_TOKEN": "x"} | login
    task = sdk.task(given.machines(), read_secrets(given, environment))
    for resources in task.resources:
        found = resources.docker_login_config
        assert (found.server, found.username, found.password) == ("ghcr.io", "me", "p")


def test_what_skypilot_does_not_support_is_a_refusal(sdk: Sdk) -> None:
    """Its exception for that is a plain ``Exception``."""

    def unsupported(*args: object, **kwargs: object) -> None:
        raise sky.exceptions.NotSupportedError("a cloud without this feature")

    with (
        mock.patch.object(sky.Task, "from_yaml_config", unsupported),
        pytest.raises(DeploymentError, match="a cloud without this feature"),
    ):
        sdk.task(POOL, SECRETS)


def test_a_machine_by_its_type(sdk: Sdk) -> None:
    """``instance_type`` in the place of a GPU's name."""
    place = {"infra": "gcp/europe-west4", "instance_type": "g2-standard-4", "accelerators": "L4:1"}
    (offer,) = check_pool(sdk, pool({"any_of": [place]}), SECRETS)
    assert (offer.instance, offer.accelerator) == ("g2-standard-4", "L4")
    with pytest.raises(DeploymentError, match="Invalid instance type"):
        check_pool(sdk, pool({"any_of": [place | {"instance_type": "g2-standard-96"}]}), SECRETS)
    with pytest.raises(DeploymentError, match="names no GPU"):
        check_pool(
            sdk,
            pool({"any_of": [{"infra": "gcp/europe-west4", "instance_type": "g2-standard-4"}]}),
            SECRETS,
        )


@pytest.mark.parametrize("given", ["L4", "L4:1", {"L4": 1}])
def test_ways_to_name_a_gpu(sdk: Sdk, given: Any) -> None:
    place = {"infra": "gcp/europe-west4", "accelerators": given}
    (offer,) = check_pool(sdk, pool({"any_of": [place]}), SECRETS)
    assert offer.accelerator == "L4"


def test_parts_of_a_gpu_are_refused(sdk: Sdk) -> None:
    """Such as {V100: 0.5}: to share a GPU, run several workers in a consumer."""
    config = pool({"any_of": [{"infra": "gcp/europe-west4", "accelerators": {"V100": 0.5}}]})
    with pytest.raises(DeploymentError, match=r"V100:0\.5 is a part of a GPU"):
        check_pool(sdk, config, SECRETS)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"image": ""}, "no image"),
        ({"results": ""}, "must be a bucket"),
        ({"results": "file:///tmp"}, "must be a bucket"),
    ],
)
def test_values(changes: dict[str, str], match: str) -> None:
    with pytest.raises(DeploymentError, match=match):
        check_values(deployment(**changes))


def test_a_forgotten_secret_is_not_noticed_by_skypilot(sdk: Sdk) -> None:
    """It takes it for one that its server keeps. Hence ``read_secrets``."""
    assert sky.Task.from_yaml_config(deepcopy(POOL)).secrets == {}
    assert sdk.task(POOL, SECRETS).secrets.keys() == {"HF_TOKEN"}
