"""``POST /reconcile``: run reconciliation now, with progress line by line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from api.background.reconcile import reconcile
from api.deps import ADMIN, QueueDep, RulesDep, SettingsDep
from shoal.client.schemas import SweepPage
from shoal.errors import ShoalError

NDJSON = "application/x-ndjson"

router = APIRouter(tags=["events"])


@router.post(
    "/reconcile",
    dependencies=[ADMIN],
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "One SweepPage per line; the last one is 'complete'.",
            "content": {NDJSON: {"schema": SweepPage.model_json_schema()}},
        }
    },
)
def sweep_now(
    queue: QueueDep,
    rules: RulesDep,
    settings: SettingsDep,
    dry_run: Annotated[
        bool, Query(description="List missing videos without queueing them.")
    ] = False,
    again: Annotated[
        bool,
        Query(
            description="Also queue videos that were queued before the prompts or options of "
            "their rule were changed."
        ),
    ] = False,
) -> StreamingResponse:
    """Queue all videos that match a rule and have neither a job nor results."""
    queue.redis.ping()  # fail before the response starts
    pages = reconcile(queue, rules.current(), settings, dry_run=dry_run, again=again)
    lines = _lines(pages)
    return StreamingResponse(lines, media_type=NDJSON)


def _lines(pages: Iterator[SweepPage]) -> Iterator[str]:
    page = SweepPage()
    try:
        for page in pages:
            yield page.model_dump_json() + "\n"
    except ShoalError as error:
        yield page.model_copy(update={"queued": [], "error": str(error)}).model_dump_json() + "\n"
