"""``/engines``: which engines there are, and which of them can answer some prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query

from api import examples
from api.deps import QueueDep
from api.examples import shown
from shoal import engines
from shoal.errors import RequestError
from shoal.prompts import clean_prompts
from shoal.wire import Engines, EngineStatus
from shoal.workers import list_workers

router = APIRouter(tags=["engines"])


@router.get("/engines", responses=shown(200, "The engines.", examples.ENGINES))
def list_engines(
    queue: QueueDep,
    prompt: Annotated[
        tuple[str, ...], Query(description="What it is to find; may be repeated.")
    ] = (),
) -> Engines:
    """The engines, the workers that run each, and whether it can answer the prompts."""
    workers = list_workers(queue.redis, queue.name)
    running = [worker.engine for worker in workers if worker.engine]
    devices = [worker.device for worker in workers]
    items = []
    for name in (engines.AUTO, *engines.names()):
        refusal = _refusal(name, prompt, devices)
        items.append(
            EngineStatus(
                name=name,
                workers=len(running) if name == engines.AUTO else running.count(name),
                code=refusal.code if refusal else "",
                reason=str(refusal) if refusal else "",
                hint=refusal.hint if refusal else "",
            )
        )
    return Engines(items=items)


def _refusal(engine: str, prompts: Sequence[str], devices: Sequence[str]) -> RequestError | None:
    try:
        if prompts:
            engines.check(engine, clean_prompts(tuple(prompts)))
        if engines.needs_device(engine):
            engines.check_devices(engine, devices)
    except RequestError as error:
        return error
    return None
