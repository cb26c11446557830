"""``POST /reconcile``: a sweep at once, told line by line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from api.deps import ADMIN, QueueDep, RulesDep, SettingsDep
from api.reconcile import reconcile
from shoal.errors import ShoalError
from shoal.queue import JobQueue
from shoal.rules import Rules
from shoal.settings import Settings
from shoal.wire import SweepPage

NDJSON = "application/x-ndjson"

router = APIRouter(tags=["events"])


@router.post(
    "/reconcile",
    dependencies=[ADMIN],
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "One SweepPage per line, as it goes; the last one is 'complete'.",
            "content": {NDJSON: {"schema": SweepPage.model_json_schema()}},
        }
    },
)
def sweep_now(
    queue: QueueDep,
    rules: RulesDep,
    settings: SettingsDep,
    dry_run: Annotated[bool, Query(description="Only tell what would be queued.")] = False,
) -> StreamingResponse:
    """Queue the videos under the rules that have neither results nor a job."""
    queue.redis.ping()  # an answer that has begun can no longer fail
    lines = _lines(queue, rules.current(), settings, dry_run)
    return StreamingResponse(lines, media_type=NDJSON)


def _lines(queue: JobQueue, rules: Rules, settings: Settings, dry_run: bool) -> Iterator[str]:
    page = SweepPage()
    try:
        for page in reconcile(queue, rules, settings, dry_run=dry_run):
            yield page.model_dump_json() + "\n"
    except ShoalError as error:
        yield page.model_copy(update={"queued": [], "error": str(error)}).model_dump_json() + "\n"
