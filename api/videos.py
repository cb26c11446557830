"""``/videos``: submit, list, look at, cancel and retry jobs."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Body, Query, Response
from pydantic import Field

from api import examples
from api.deps import SUBMIT, DeskDep, QueueDep, SettingsDep
from api.examples import shown
from api.problems import documented
from shoal.errors import (
    CallbackForbidden,
    CallbacksOff,
    EngineUnavailable,
    InvalidCallback,
    InvalidOption,
    InvalidOutput,
    InvalidPrompt,
    InvalidVisualPrompt,
    JobNotFound,
    LocationForbidden,
    RedisUnavailable,
    SourceNotFound,
    StateConflict,
    StorageUnavailable,
    UnknownEngine,
    UnknownOutput,
    UnknownPrompt,
    UnsupportedByEngine,
    UnsupportedLocation,
    UploadTooLarge,
    VideoTooLarge,
)
from shoal.indexes import Filter
from shoal.jobs import State
from shoal.parts import remove_parts
from shoal.records import Record
from shoal.wire import Attempts, Bulk, BulkResult, Page, PriorityChange, Submission, Timeline

BULK = 200  # jobs that one call looks at
RETRIED = (State.FAILED, State.CANCELLED)
CANCELLED = (State.QUEUED, State.RUNNING)
CURSOR = r"^(\d+(\.\d+)?~[0-9a-f]{24})?$"

router = APIRouter(prefix="/videos", tags=["videos"])
# By itself: a token that may submit may read, and what is asked of the busiest route is asked once.
submitting = APIRouter(prefix="/videos", tags=["videos"])


class ListQuery(Filter):
    """``GET /videos``."""

    limit: int = Field(50, ge=1, le=200)
    cursor: str = Field("", pattern=CURSOR, description="'next_cursor' of a page.")


@submitting.post(
    "",
    status_code=202,
    response_model=Record,
    dependencies=[SUBMIT],
    responses=shown(202, "Queued. 'Location' is the job's address.", examples.QUEUED)
    | shown(200, "This very job was known: queued, running or done.", examples.SUCCEEDED)
    | documented(
        SourceNotFound,
        LocationForbidden,
        UploadTooLarge,
        InvalidPrompt,
        InvalidVisualPrompt,
        UnknownPrompt,
        UnknownEngine,
        UnsupportedByEngine,
        EngineUnavailable,
        InvalidOption,
        InvalidCallback,
        CallbackForbidden,
        CallbacksOff,
        UnknownOutput,
        InvalidOutput,
        UnsupportedLocation,
        VideoTooLarge,
        RedisUnavailable,
        StorageUnavailable,
    ),
)
async def submit(
    submission: Annotated[Submission, Body(examples=[examples.SUBMISSION, examples.POINTING])],
    desk: DeskDep,
) -> Response:
    """Queue a video.

    The same video, prompts and options are the same job: 202 if this request put it on the
    queue (also again, after it had failed or been cancelled), 200 if it was there already.
    """
    record, queued = await desk.take(submission)
    return Response(
        record.model_dump_json(),
        202 if queued else 200,
        {"Location": f"/videos/{record.id}"},
        "application/json",
    )


@router.get("", responses=shown(200, "One page.", examples.PAGE))
def list_videos(
    queue: QueueDep,
    wanted: Annotated[ListQuery, Query()],
) -> Page:
    """Jobs, newest first. What must hold of them may be given in any combination."""
    items, next_cursor = queue.records.page(wanted, limit=wanted.limit, cursor=wanted.cursor)
    return Page(items=items, next_cursor=next_cursor)


@router.post(
    "/bulk",
    dependencies=[SUBMIT],
    responses=shown(200, "What this call did.", examples.BULK_RESULT),
)
def bulk(
    request: Annotated[Bulk, Body(examples=[examples.BULK])],
    queue: QueueDep,
    settings: SettingsDep,
) -> BulkResult:
    """Retry or cancel all jobs that a filter lets through, 200 a call."""
    page, next_cursor = queue.records.page(request.filter, limit=BULK, cursor=request.cursor)
    able = RETRIED if request.action == "retry" else CANCELLED
    changed = 0
    for record in page:
        if record.state not in able or record.cancel_requested:
            continue
        with suppress(StateConflict):  # it went on in between
            if request.action == "retry":
                queue.retry(record.id)
            else:
                cancel(record.id, queue, settings)
            changed += 1
    return BulkResult(changed=changed, skipped=len(page) - changed, next_cursor=next_cursor)


@router.get(
    "/{job_id}",
    responses=shown(200, "The job.", examples.SUCCEEDED) | documented(JobNotFound),
)
def show(job_id: str, queue: QueueDep) -> Record:
    """All that is known about a job. Times are seconds since the epoch."""
    return queue.records.get(job_id)


@router.get(
    "/{job_id}/timeline",
    responses=shown(200, "The last 200 events.", examples.TIMELINE) | documented(JobNotFound),
)
def timeline(job_id: str, queue: QueueDep) -> Timeline:
    """What happened to a job, oldest first."""
    queue.records.get(job_id)
    return Timeline(items=queue.records.timeline(job_id))


@router.get(
    "/{job_id}/attempts",
    responses=shown(200, "The last 20 attempts.", examples.ATTEMPTS) | documented(JobNotFound),
)
def attempts(job_id: str, queue: QueueDep) -> Attempts:
    """How each attempt at a job went: worker, cause, traceback and the end of the log."""
    queue.records.get(job_id)
    return Attempts(items=queue.records.attempts(job_id))


@router.delete(
    "/{job_id}",
    dependencies=[SUBMIT],
    responses=shown(200, "The job as it is now.", examples.QUEUED | {"state": "cancelled"})
    | documented(JobNotFound, StateConflict),
)
def cancel(job_id: str, queue: QueueDep, settings: SettingsDep) -> Record:
    """Cancel a job: at once while it waits.

    A running one stops within seconds; until then it is 'running' with 'cancel_requested'.
    """
    record = queue.cancel(job_id)
    if record.state == State.CANCELLED:  # it waited: no worker will clear up after it
        remove_parts(record.spec, settings)
    return record


@router.post(
    "/{job_id}/retry",
    status_code=202,
    dependencies=[SUBMIT],
    responses=shown(202, "Queued again.", examples.QUEUED) | documented(JobNotFound, StateConflict),
)
def retry(job_id: str, queue: QueueDep) -> Record:
    """Queue a failed or cancelled job again."""
    return queue.retry(job_id)


@router.post(
    "/{job_id}/priority",
    dependencies=[SUBMIT],
    responses=shown(200, "The job.", examples.QUEUED | {"priority": "front"})
    | documented(JobNotFound, StateConflict),
)
def prioritise(
    job_id: str,
    change: Annotated[PriorityChange, Body(examples=[{"priority": "front"}])],
    queue: QueueDep,
) -> Record:
    """Move a waiting job to the front of the queue, or to its end."""
    return queue.prioritise(job_id, change.priority)
