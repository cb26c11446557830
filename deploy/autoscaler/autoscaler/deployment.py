"""The SkyPilot files of ``deploy/skypilot``, filled in, and checked before anything starts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

import shoal
from autoscaler.settings import ScaleSettings
from shoal.errors import DeploymentError
from shoal.settings import Settings

NO_POOL = "none"
QUEUE_ADDRESS = "SHOAL_REDIS_URL"


@dataclass(frozen=True)
class Deployment:
    """What machines and consumers are to be like."""

    files: Path
    results: str
    queue: str
    pool: str
    image: str = ""
    max_workers: int | None = None
    idle_exit_s: float = 120
    price_per_hour: float = 0

    @classmethod
    def of(
        cls,
        settings: Settings,
        scale: ScaleSettings,
        *,
        files: Path | None = None,
        image: str = "",
        max_workers: int | None = None,
    ) -> Deployment:
        return cls(
            files=files or scale.files or default_files(),
            results=settings.results,
            queue=settings.queue,
            pool=scale.pool,
            image=image,
            max_workers=max_workers,
            idle_exit_s=scale.idle_exit_s,
            price_per_hour=scale.price_per_hour,
        )

    @property
    def pool_name(self) -> str | None:
        return None if self.pool == NO_POOL else self.pool

    def machines(self) -> dict[str, Any]:
        """``pool.yaml`` with image, size and bucket: what 'pool up' applies.

        Its setup opens the bucket as consumers do: it has their secrets, but the queue's address.
        """
        config = read_yaml(self.files / "pool.yaml")
        of_consumers = read_yaml(self.files / "worker.yaml").get("secrets") or {}
        config["secrets"] = {
            name: value for name, value in of_consumers.items() if name != QUEUE_ADDRESS
        } | (config.get("secrets") or {})
        config["name"] = self.pool
        if self.image:
            config["resources"]["image_id"] = f"docker:{self.image.removeprefix('docker:')}"
        if self.max_workers is not None:
            config["pool"]["max_workers"] = self.max_workers
        config["envs"]["SHOAL_RESULTS"] = self.results
        return config

    def consumer(self) -> dict[str, Any]:
        """``worker.yaml`` with its settings; without a pool, with the machine it brings along."""
        config = read_yaml(self.files / "worker.yaml")
        config["name"] = self.job_name
        config["envs"] |= {
            "SHOAL_QUEUE": self.queue,
            "SHOAL_RESULTS": self.results,
            "SHOAL_HOURLY_PRICE": f"{self.price_per_hour:g}",
            "IDLE_EXIT_S": f"{self.idle_exit_s:g}",
        }
        if self.pool_name is None:
            machines = self.machines()
            config |= {name: machines[name] for name in ("resources", "config", "setup")}
        return config

    @property
    def job_name(self) -> str:
        return f"shoal-worker-{self.queue.lower().replace('_', '-')}"


@dataclass(frozen=True)
class Offer:
    """One place a machine may come from. Prices per hour; ``None``: not in the catalog."""

    infra: str
    accelerator: str
    instance: str
    price: float | None


def default_files() -> Path:
    """
    Raises:
        DeploymentError: Shoal was not installed from a checkout.
    """
    found = Path(shoal.__file__).parents[1] / "deploy" / "skypilot"
    if not found.is_dir():
        raise DeploymentError(
            "the SkyPilot files are not beside this installation",
            hint="Set SHOAL_SCALE_FILES to the folder with pool.yaml and worker.yaml.",
        )
    return found


def read_yaml(path: Path) -> dict[str, Any]:
    """
    Raises:
        DeploymentError: it is not there, or no YAML.
    """
    try:
        config = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise DeploymentError(f"cannot read {path}: {error}") from error
    if not isinstance(config, dict):
        raise DeploymentError(f"{path} does not hold a SkyPilot task")
    return config


def as_yaml(config: dict[str, Any]) -> str:
    """As one would write it: scripts as blocks, keys in their order."""
    return yaml.dump(config, Dumper=_Blocks, sort_keys=False)


class _Blocks(yaml.SafeDumper):
    """Text of several lines as a block."""


_Blocks.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
    ),
)


def read_secrets(
    deployment: Deployment, environment: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """The secrets that the files name without a value: no file holds them.

    Raises:
        DeploymentError: one is missing (SkyPilot would refuse each start), or could not work from
            another machine.
    """
    named = (deployment.consumer().get("secrets") or {}) | deployment.machines()["secrets"]
    secrets = {name: environment.get(name, "") for name, value in named.items() if value is None}
    if missing := [name for name, value in secrets.items() if not value]:
        raise DeploymentError(
            f"{' and '.join(missing)} must be set: secrets of {deployment.files}",
            hint="Export each of them, or take those that you do not need out of pool.yaml and "
            "worker.yaml. SHOAL_REDIS_URL begins with rediss://; HF_TOKEN is the token of an "
            "account that may read facebook/sam3.",
        )
    if QUEUE_ADDRESS in secrets:
        _check_address(secrets[QUEUE_ADDRESS])
    return secrets


def _check_address(url: str) -> None:
    address = urlsplit(url)
    if address.scheme != "rediss":
        raise DeploymentError(
            "SHOAL_REDIS_URL must begin with rediss://",
            hint="Workers come from other networks: without TLS, password and jobs are readable.",
        )
    if _is_here(address.hostname or ""):
        raise DeploymentError(
            f"SHOAL_REDIS_URL points to {address.hostname}, which is each worker's own machine",
            hint="Use an address that workers in the cloud can reach.",
        )


def _is_here(host: str) -> bool:
    """Whether a host is the machine itself, wherever it is looked up."""
    host = host.rstrip(".")
    try:
        ip = ip_address(host)
    except ValueError:
        return host in ("", "localhost") or host.endswith(".localhost")
    ip = getattr(ip, "ipv4_mapped", None) or ip
    return ip.is_loopback or ip.is_unspecified


def check_values(deployment: Deployment) -> None:
    """
    Raises:
        DeploymentError: image or bucket are not filled in. A pool.yaml without an image is for
            machines that come with Shoal.
    """
    config = deployment.machines()
    image = str(config["resources"].get("image_id", ""))
    if "your-org" in image:
        raise DeploymentError(
            "there is no image for the workers yet",
            hint="Build it (Dockerfile.worker), push it, and name it by --image.",
        )
    if not deployment.results.startswith(("gs://", "s3://")):
        raise DeploymentError(
            "SHOAL_RESULTS must be a bucket", hint="export SHOAL_RESULTS=gs://bucket/results"
        )
