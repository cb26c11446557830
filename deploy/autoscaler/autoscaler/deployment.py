"""The SkyPilot files of ``deploy/skypilot``, filled in, and checked before anything starts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

import shoal
from autoscaler.settings import ScaleSettings
from shoal.errors import DeploymentError
from shoal.settings import Settings

NO_POOL = "none"
SECRETS = ("SHOAL_REDIS_URL", "HF_TOKEN")
LOOPBACK = {"127.0.0.1", "localhost", "::1"}


@dataclass(frozen=True)
class Deployment:
    """What machines and consumers are to be like."""

    files: Path
    results: str
    queue: str
    pool: str
    image: str = ""
    max_workers: int | None = None
    idle_exit_s: float = 300
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
        """``pool.yaml`` with image, size and bucket: what 'pool up' applies."""
        config = read_yaml(self.files / "pool.yaml")
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


def read_secrets(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What consumers must know and no file holds.

    Raises:
        DeploymentError: one is missing, or could not work from another machine.
    """
    secrets = {name: environment.get(name, "") for name in SECRETS}
    if missing := [name for name, value in secrets.items() if not value]:
        raise DeploymentError(
            f"{' and '.join(missing)} must be set",
            hint="export SHOAL_REDIS_URL='rediss://...' and HF_TOKEN='hf_...', the token of an "
            "account that may read facebook/sam3.",
        )
    address = urlsplit(secrets["SHOAL_REDIS_URL"])
    if address.scheme != "rediss":
        raise DeploymentError(
            "SHOAL_REDIS_URL must begin with rediss://",
            hint="Workers come from other networks: without TLS, password and jobs are readable.",
        )
    if address.hostname in LOOPBACK:
        raise DeploymentError(
            f"SHOAL_REDIS_URL points to {address.hostname}, which is each worker's own machine",
            hint="Use an address that workers in the cloud can reach.",
        )
    return secrets


def check_values(deployment: Deployment) -> None:
    """
    Raises:
        DeploymentError: image or bucket are not filled in.
    """
    config = deployment.machines()
    image = str(config["resources"].get("image_id", ""))
    if not image or "your-org" in image:
        raise DeploymentError(
            "there is no image for the workers yet",
            hint="Build it (Dockerfile.worker), push it, and name it by --image.",
        )
    if not deployment.results.startswith(("gs://", "s3://")):
        raise DeploymentError(
            "SHOAL_RESULTS must be a bucket", hint="export SHOAL_RESULTS=gs://bucket/results"
        )
