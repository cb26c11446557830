"""``/engines``: the engines, and whether they support given prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query

from api import examples
from api.deps import QueueDep
from api.examples import shown
from shoal import engines
from shoal.client.schemas import Engines, EngineStatus
from shoal.errors import RequestError
from shoal.ingest.submissions import ValidatedRequest, check_connected
from shoal.model.job import Options
from shoal.model.prompts import clean_prompts
from shoal.model.worker import WorkerInfo
from shoal.queue.workers import list_workers

router = APIRouter(tags=["engines"])


@router.get("/engines", responses=shown(200, "The engines.", examples.ENGINES))
def list_engines(
    queue: QueueDep,
    prompt: Annotated[tuple[str, ...], Query(description="A prompt to check; repeatable.")] = (),
) -> Engines:
    """List the engines, the number of their workers, and whether they support the prompts."""
    workers = list_workers(queue.redis, queue.name)
    running = [worker.engine for worker in workers if worker.engine]
    items = []
    for name in (engines.AUTO, *engines.names()):
        refusal = _refusal(name, prompt, workers)
        items.append(
            EngineStatus(
                name=name,
                workers=len(running) if name == engines.AUTO else running.count(name),
                code=refusal.code if refusal else "",
                reason=str(refusal) if refusal else "",
                hint=refusal.hint if refusal else "",
                cannot=engines.limits(name, running),
                hourly_price=max(
                    (w.hourly_price for w in workers if name in (engines.AUTO, w.engine)),
                    default=0.0,
                ),
            )
        )
    return Engines(items=items)


def _refusal(
    engine: str, prompts: Sequence[str], workers: Sequence[WorkerInfo]
) -> RequestError | None:
    """What a submission would be refused with."""
    try:
        cleaned = clean_prompts(tuple(prompts), may_lack=True)
        engines.check(engine, cleaned)
        check_connected(ValidatedRequest(cleaned, (), (), Options(engine=engine)), workers)
    except RequestError as error:
        return error
    return None
