"""``shoal pool``: the machines, from the cloud account to none."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from redis import Redis

from autoscaler.deployment import Deployment, Offer, as_yaml, check_values, read_secrets
from autoscaler.launchers.base import ConsumerState, Fleet
from autoscaler.launchers.skypilot import SkyLauncher, find_pool
from autoscaler.preflight import check_pool, load_sdk
from autoscaler.sdk import Sdk
from autoscaler.service import serve
from autoscaler.settings import get_scale_settings
from shoal import scaling
from shoal.cli import output
from shoal.cli.session import Json
from shoal.errors import DeploymentError, StateConflict
from shoal.queue import connect, redis_errors
from shoal.settings import get_settings

app = typer.Typer(
    help="Machines in the cloud for Shoal's workers, by SkyPilot.", no_args_is_help=True
)

Files = Annotated[
    Path | None, typer.Option(help="Folder with pool.yaml and worker.yaml.", metavar="DIR")
]
Image = Annotated[
    str,
    typer.Option(
        help="The workers' container image.", envvar="SHOAL_WORKER_IMAGE", metavar="IMAGE"
    ),
]
MaxWorkers = Annotated[
    int | None, typer.Option(min=1, help="Machines, at most. [default: as in pool.yaml]")
]


@app.command()
def render(files: Files = None, image: Image = "", max_workers: MaxWorkers = None) -> None:
    """Print what **up** would apply, and the offers for it. Needs no account and no secrets."""
    deployment = _deployment(files, image, max_workers)
    machines = deployment.machines()
    offers = check_pool(load_sdk(), machines, dict.fromkeys(machines["secrets"], "unset"))
    print(as_yaml(machines), end="")  # noqa: T201 - to be piped
    output.err.print(_table(offers))


@app.command()
def up(
    files: Files = None,
    image: Image = "",
    max_workers: MaxWorkers = None,
    apply_only: Annotated[
        bool, typer.Option("--apply-only", help="The controller runs elsewhere.")
    ] = False,
) -> None:
    """Start the pool, and the controller that fills and empties it, until Ctrl-C.

    All that can be checked is checked before anything starts.
    """
    deployment = _deployment(files, image, max_workers)
    scale = get_scale_settings()
    check_values(deployment)
    secrets = read_secrets()
    sdk, machines = load_sdk(), deployment.machines()
    offers = check_pool(sdk, machines, secrets)
    sdk.task(deployment.consumer(), secrets)
    redis = _redis()
    output.err.print(_table(offers))
    if deployment.pool_name:
        _apply(sdk, deployment, machines, secrets)
        output.advise(
            f"the pool {deployment.pool_name} is up; it has no machine until there is work"
        )
    with redis_errors():
        scaling.set_cap(redis, deployment.queue, None)  # 'scale' was for the last one
    if not apply_only:
        price = scale.price_per_hour or max((offer.price or 0 for offer in offers), default=0)
        cap = (
            min(scale.cap, machines["pool"]["max_workers"]) if max_workers is None else max_workers
        )
        serve(scale.model_copy(update={"price_per_hour": price, "cap": cap}), deployment)


@app.command()
def status(json: Json = False) -> None:
    """What there is, and what the controller makes of it."""
    deployment = _deployment(None, "", None)
    fleet = _launcher(load_sdk(), deployment).observe()
    with redis_errors():
        seen = scaling.read(_redis(), deployment.queue, limit=5)
    if json:
        output.print_json(
            {"fleet": _plain(fleet), "controller": seen.status, "decisions": seen.decisions}
        )
        return
    waiting = sum(consumer.state == ConsumerState.PENDING for consumer in fleet.consumers)
    facts = {
        "pool": deployment.pool,
        "machines": f"{fleet.machines}, {fleet.ready} of them ready",
        "consumers": f"{len(fleet.consumers) - waiting} on a machine, {waiting} pending",
        "failed": ", ".join(sorted(fleet.failures)) or "none",
        "controller": "none runs",
    }
    if seen.status:
        facts["controller"] = (
            f"{seen.status.action}, {output.ago(seen.status.at)}: {seen.status.reason}"
        )
    output.out.print(output.facts(dict(facts)))


@app.command()
def scale(
    cap: Annotated[int, typer.Argument(min=0, help="Machines, at most; 0: no new ones.")],
) -> None:
    """Change the most machines there may be. Busy ones work on; the pool itself is not touched.

    It cannot go beyond what the pool was started with: for that, 'up' again with --max-workers
    when no consumer is at work.
    """
    with redis_errors():
        scaling.set_cap(_redis(), get_settings().queue, cap)
    output.advise(f"at most {cap} machines from the controller's next look on")


@app.command()
def down(
    force: Annotated[
        bool, typer.Option("--force", help="Even though consumers are at work: others continue.")
    ] = False,
) -> None:
    """End the pool with all its machines.

    Raises:
        StateConflict: consumers are at work.
    """
    deployment = _deployment(None, "", None)
    if deployment.pool_name is None:
        raise DeploymentError("there is no pool", hint="'shoal pool scale 0' ends the consumers.")
    sdk = load_sdk()
    _refuse_if_busy(_launcher(sdk, deployment).observe(), force)
    sdk.ask("jobs.pool_down", [deployment.pool_name])
    output.advise(f"the pool {deployment.pool_name} is going down")


def _apply(
    sdk: Sdk, deployment: Deployment, machines: dict[str, Any], secrets: dict[str, str]
) -> None:
    """
    Raises:
        StateConflict: it exists and is at work. To apply then may end busy machines.
    """
    if find_pool(sdk, deployment.pool):
        _refuse_if_busy(_launcher(sdk, deployment).observe(), force=False)
    from sky.serve import serve_utils

    mode = serve_utils.UpdateMode.ROLLING
    sdk.ask("jobs.pool_apply", sdk.task(machines, secrets), deployment.pool_name, mode=mode)


def _refuse_if_busy(fleet: Fleet, force: bool) -> None:
    started = [c.id for c in fleet.consumers if c.state != ConsumerState.PENDING]
    if started and not force:
        raise StateConflict(
            f"the pool is at work: {output.counted(len(started), 'consumer')}",
            hint="'shoal pool scale 0' lets them finish; 'shoal pool status' tells when.",
        )


def _deployment(files: Path | None, image: str, max_workers: int | None) -> Deployment:
    return Deployment.of(
        get_settings(), get_scale_settings(), files=files, image=image, max_workers=max_workers
    )


def _launcher(sdk: Sdk, deployment: Deployment) -> SkyLauncher:
    return SkyLauncher({}, {}, pool=deployment.pool_name, job_name=deployment.job_name, sdk=sdk)


def _redis() -> Redis:
    return connect(get_settings())


def _table(offers: list[Offer]) -> Any:
    table = output.table("place", "GPU", "machine", "price per hour", right=("price per hour",))
    for offer in offers:
        price = "" if offer.price is None else f"{offer.price:.2f} $"
        table.add_row(offer.infra, offer.accelerator, offer.instance, price)
    return table


def _plain(fleet: Fleet) -> dict[str, Any]:
    return {
        "machines": fleet.machines,
        "ready": fleet.ready,
        "target": fleet.target,
        "consumers": [{"id": c.id, "state": c.state} for c in fleet.consumers],
        "failures": sorted(fleet.failures),
    }
