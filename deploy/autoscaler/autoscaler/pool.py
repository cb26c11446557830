"""``shoal pool``: manages a pool of machines with SkyPilot."""

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
from shoal import formatting
from shoal.cli import output
from shoal.cli.session import Json
from shoal.errors import DeploymentError, StateConflict
from shoal.queue import scaling
from shoal.queue.connection import connect, redis_errors
from shoal.queue.queue import open_queue
from shoal.settings import get_settings

app = typer.Typer(help="Manage a pool of cloud GPUs with SkyPilot.", no_args_is_help=True)

Files = Annotated[
    Path | None, typer.Option(help="Directory with pool.yaml and worker.yaml.", metavar="DIR")
]
Image = Annotated[
    str,
    typer.Option(
        help="Container image of the workers.", envvar="SHOAL_WORKER_IMAGE", metavar="IMAGE"
    ),
]
MaxWorkers = Annotated[
    int | None, typer.Option(min=1, help="Maximum number of machines. [default: as in pool.yaml]")
]


@app.command()
def render(files: Files = None, image: Image = "", max_workers: MaxWorkers = None) -> None:
    """Print what **up** would apply, with prices. Needs neither an account nor secrets."""
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
        bool, typer.Option("--apply-only", help="Do not run the controller.")
    ] = False,
) -> None:
    """Start the pool, and run the controller that scales it until Ctrl-C.

    All that can be checked is checked before anything starts.
    """
    deployment = _deployment(files, image, max_workers)
    scale = get_scale_settings()
    check_values(deployment)
    secrets = read_secrets(deployment)
    sdk, machines = load_sdk(), deployment.machines()
    offers = check_pool(sdk, machines, secrets)
    sdk.task(deployment.consumer(), secrets)
    redis = _redis()
    output.err.print(_table(offers))
    if deployment.pool_name:
        _apply(sdk, deployment, machines, secrets)
        output.suggest(
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
    """Show machines, consumers and the last decision of the controller."""
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
        "failed": "\n".join(f"{name}: {why}" for name, why in fleet.failures.items()) or "none",
        "controller": "none runs",
    }
    if seen.status:
        facts["controller"] = (
            f"{seen.status.action}, {formatting.ago(seen.status.at)}: {seen.status.reason}"
        )
    output.out.print(output.facts(dict(facts)))


@app.command()
def scale(
    cap: Annotated[
        int, typer.Argument(min=0, help="Maximum number of machines; 0 = scale to zero.")
    ],
) -> None:
    """Change the maximum number of machines. Surplus workers exit when their video is finished;
    videos that are queued wait. The pool is not resized.

    It cannot go beyond what the pool was started with: for that, 'up' again with --max-workers
    when no consumer is running.
    """
    queue = open_queue(get_settings(), _redis())
    with redis_errors():
        scaling.set_cap(queue.redis, queue.name, cap)
    output.suggest(
        f"at most {cap} machines from the controller's next look on; consumers beyond end after "
        "their video, and idle machines some minutes later"
    )


@app.command()
def down(
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Delete the pool while consumers are running; their videos are requeued.",
        ),
    ] = False,
) -> None:
    """Delete the pool with all its machines.

    Raises:
        StateConflict: consumers are running.
    """
    deployment = _deployment(None, "", None)
    if deployment.pool_name is None:
        raise DeploymentError("there is no pool", hint="'shoal pool scale 0' ends the consumers.")
    sdk = load_sdk()
    _refuse_if_busy(_launcher(sdk, deployment).observe(), force)
    sdk.ask("jobs.pool_down", [deployment.pool_name])
    output.suggest(f"the pool {deployment.pool_name} is going down")


def _apply(
    sdk: Sdk, deployment: Deployment, machines: dict[str, Any], secrets: dict[str, str]
) -> None:
    """
    Raises:
        StateConflict: it exists and is busy. Applying it again may terminate busy machines.
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
            f"the pool is busy: {formatting.counted(len(started), 'consumer')}",
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
        "failures": dict(fleet.failures),
    }
