"""What SkyPilot's own library says of the files, without a cloud account."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from autoscaler.deployment import Offer
from autoscaler.sdk import Sdk, refused
from shoal import logging as logs
from shoal.errors import DeploymentError, StackError

CLOUDS = {"gcp": "gcp", "aws": "aws", "azure": "azure"}  # those with a price list


def check_pool(sdk: Sdk, config: dict[str, Any], secrets: Mapping[str, str]) -> list[Offer]:
    """Whether SkyPilot would take it as a pool; the offers for its machines, cheapest first.

    Raises:
        DeploymentError: it would not, a region does not have the GPU, or it is a part of one.
    """
    from sky.serve import serve_utils

    task = sdk.task(config, secrets)
    try:
        serve_utils.validate_service_task(task, pool=True)
    except Exception as error:  # SkyPilot's own classes share no base
        raise refused(config, error) from error
    return sorted(
        find_offers(config["resources"]),
        key=lambda offer: float("inf") if offer.price is None else offer.price,
    )


def find_offers(resources: dict[str, Any]) -> Iterator[Offer]:
    """What SkyPilot's price lists have for each alternative.

    Raises:
        DeploymentError: nothing for one of them.
    """
    common = {key: value for key, value in resources.items() if key != "any_of"}
    for alternative in resources.get("any_of") or [{}]:
        chosen = common | alternative
        cloud, _, region = str(chosen.get("infra", "")).partition("/")
        for accelerator, count in _gpus(chosen):
            if cloud not in CLOUDS:
                yield Offer(cloud or "any", accelerator, "", None)
                continue
            yield _cheapest(cloud, region, accelerator, count, chosen)


def _gpus(resources: dict[str, Any]) -> list[tuple[str, float]]:
    """The GPUs of which a machine has one kind: ``L4``, ``L4:1`` or ``{L4: 1, A10G: 1}``.

    Raises:
        DeploymentError: none, or a part of one.
    """
    given = resources.get("accelerators") or {}
    if isinstance(given, str):
        kind, _, number = given.partition(":")
        given = {kind: number or 1}
    found = [(str(name), float(count)) for name, count in given.items()]
    if not found:
        raise DeploymentError(
            f"{resources.get('infra', 'a place')} names no GPU",
            hint="Add 'accelerators', to 'instance_type' too: consumers ask for a machine by its "
            "GPU.",
        )
    for name, count in found:
        if count != int(count):
            raise DeploymentError(
                f"{name}:{count:g} is a part of a GPU, and pools have whole ones",
                hint="To share a GPU, run several workers in each consumer: 'shoal worker --gpus "
                "all --per-gpu 2' in worker.yaml.",
            )
    return found


def _cheapest(
    cloud: str, region: str, accelerator: str, count: float, chosen: dict[str, Any]
) -> Offer:
    from sky import catalog

    use_spot, wanted = bool(chosen.get("use_spot")), chosen.get("instance_type")
    found = catalog.list_accelerators(
        gpus_only=False,
        name_filter=f"^{re.escape(accelerator)}$",
        region_filter=f"^{re.escape(region)}$" if region else None,
        clouds=CLOUDS[cloud],
        all_regions=True,
    )
    priced = [
        (info.spot_price if use_spot else info.price, info.instance_type, info.region)
        for infos in found.values()
        for info in infos
        if info.accelerator_count == count and wanted in (None, info.instance_type)
    ]
    priced = [offer for offer in priced if offer[0] == offer[0]]  # NaN: not sold so
    if not priced:
        kind = "spot " if use_spot else ""
        machine = f" in a {wanted}" if wanted else ""
        raise DeploymentError(
            f"{cloud}/{region or 'any region'} has no {kind}{accelerator}:{count:g}{machine}",
            hint=f"'sky gpus list {accelerator} --all-regions' lists where it is to be had.",
        )
    price, instance, where = min(priced)
    return Offer(f"{cloud}/{where}", accelerator, instance, price)


def load_sdk() -> Sdk:
    """
    Raises:
        StackError: SkyPilot is not in this environment.
    """
    # Before SkyPilot is loaded, which adds a handler of its own where there is none.
    logs.setup()
    os.environ.setdefault("SKYPILOT_DISABLE_USAGE_COLLECTION", "1")
    try:
        import sky
    except ImportError as error:
        raise StackError(
            f"SkyPilot is not installed here: {error.name} is missing",
            hint="In an environment of its own: pip install 'shoal-autoscaler[sky]'",
        ) from error
    return Sdk(sky)
