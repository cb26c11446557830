"""Every file of deploy/skypilot, through SkyPilot's parser, checks and optimizer."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import sky
from conftest import FILES
from sky import optimizer
from sky.serve import serve_utils
from sky.utils import common

from autoscaler.deployment import Deployment, as_yaml, read_yaml
from autoscaler.preflight import check_pool
from autoscaler.sdk import Sdk

SECRETS = {"SHOAL_REDIS_URL": "rediss://r", "HF_TOKEN": "hf_x", "SHOAL_API_TOKENS": "t"}
NAMES = sorted(path.name for path in FILES.glob("*.yaml"))


def deployment(**changes: Any) -> Deployment:
    given = {"results": "gs://b/results", "queue": "shoal", "pool": "shoal", "image": "a/b:1"}
    return Deployment(files=FILES, **(given | changes))


def best(task: sky.Task) -> Any:
    """What SkyPilot's optimizer takes."""
    with sky.Dag() as dag:
        dag.add(task)
    optimizer.Optimizer.optimize(dag, minimize=common.OptimizeTarget.COST, quiet=True)
    return task.best_resources


def test_these_are_the_files() -> None:
    assert NAMES == ["api.yaml", "pool.yaml", "single.yaml", "worker.yaml"]


@pytest.mark.parametrize("name", NAMES)
def test_skypilot_takes_it(sdk: Sdk, name: str) -> None:
    config = read_yaml(FILES / name)
    task = sdk.task(config, SECRETS)
    assert sorted(task.secrets) == sorted(config["secrets"])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("part", ["setup", "run"])
def test_the_scripts_are_scripts(name: str, part: str) -> None:
    script = read_yaml(FILES / name).get(part, "true")
    subprocess.run(["bash", "-n"], input=script.encode(), check=True)


@pytest.mark.parametrize("name", ["pool.yaml", "worker.yaml"])
def test_nothing_that_would_replace_busy_machines(name: str) -> None:
    assert not {"workdir", "file_mounts"} & read_yaml(FILES / name).keys()


def test_the_pool_scales_as_the_rule_expects(sdk: Sdk) -> None:
    task = sdk.task(deployment(max_workers=20).machines(), SECRETS)
    serve_utils.validate_service_task(task, pool=True)
    spec = task.service
    assert (spec.pool, spec.min_replicas, spec.max_replicas) == (True, 0, 20)
    assert (spec.queue_length_threshold, spec.upscale_delay_seconds) == (1, 0)
    assert task.run is None  # SkyPilot ignores it in a pool, with a warning


def test_the_image_runs_as_root_for_skypilot(sdk: Sdk) -> None:
    for resources in sdk.task(deployment().machines(), SECRETS).resources:
        overrides = resources.cluster_config_overrides
        assert overrides["docker"]["run_options"] == ["--user=root"]
        assert overrides["kubernetes"]["pod_config"]["spec"]["securityContext"] == {"runAsUser": 0}


def test_the_optimizer_takes_the_cheapest_machine(sdk: Sdk) -> None:
    config = deployment().machines()
    offers = check_pool(sdk, config, SECRETS)
    # Kubernetes has no prices and is none of the accounts here.
    config["resources"]["any_of"] = [
        place for place in config["resources"]["any_of"] if place["infra"] != "k8s"
    ]
    chosen = best(sdk.task(config, SECRETS))
    assert chosen.use_spot
    assert chosen.get_cost(3600) == pytest.approx(offers[0].price)
    assert (str(chosen.cloud), chosen.accelerators) == ("GCP", {"L4": 1})


def test_every_place_has_a_price_but_kubernetes(sdk: Sdk) -> None:
    offers = check_pool(sdk, deployment().machines(), SECRETS)
    assert {offer.infra: offer.price is None for offer in offers} == {
        "gcp/europe-west1": False,
        "gcp/europe-west2": False,
        "gcp/europe-west4": False,
        "aws/eu-north-1": False,
        "k8s": True,
    }


@pytest.mark.parametrize("name", ["single.yaml", "api.yaml"])
def test_a_machine_is_found_for_what_needs_no_pool(sdk: Sdk, name: str) -> None:
    task = sdk.task(read_yaml(FILES / name), SECRETS)
    assert best(task).get_cost(3600) > 0


def test_a_consumer_fits_every_machine_of_the_pool(sdk: Sdk) -> None:
    """All of the machine's GPU: pools have no fractions, and place a job where one request fits."""
    consumer = sdk.task(deployment().consumer(), SECRETS)
    requests = [resources.accelerators for resources in consumer.resources]
    for machine in sdk.task(deployment().machines(), SECRETS).resources:
        assert machine.accelerators in requests


def test_a_consumer_says_what_it_is_told(sdk: Sdk) -> None:
    given = deployment(queue="a_b", idle_exit_s=60, price_per_hour=0.3).consumer()
    task = sdk.task(given, SECRETS)
    assert task.name == "shoal-worker-a-b"
    assert task.envs["SHOAL_QUEUE"] == "a_b"
    assert (task.envs["IDLE_EXIT_S"], task.envs["SHOAL_HOURLY_PRICE"]) == ("60", "0.3")
    assert task.secrets["SHOAL_REDIS_URL"].get_secret_value() == "rediss://r"
    assert "rediss" not in as_yaml(given)


def test_without_a_pool_a_consumer_brings_its_machine(sdk: Sdk) -> None:
    given = deployment(pool="none").consumer()
    task = sdk.task(given, SECRETS)
    assert {str(resources.cloud) for resources in task.resources} == {"GCP", "AWS", "Kubernetes"}
    assert all(resources.use_spot for resources in task.resources)
    assert "shoal doctor" in task.setup
    given["resources"]["any_of"].pop()
    assert best(sdk.task(given, SECRETS)).get_cost(3600) > 0


def test_rendering_keeps_what_the_file_says(tmp_path: Path) -> None:
    rendered = as_yaml(deployment().machines())
    (tmp_path / "pool.yaml").write_text(rendered)
    again = read_yaml(tmp_path / "pool.yaml")
    assert again == deployment().machines()
    assert re.search(r"^setup: \|$", rendered, re.MULTILINE)
