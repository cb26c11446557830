"""``/videos``: submit, list, get, cancel and retry jobs."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Body, Query, Request, Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from api import examples
from api.deps import SUBMIT, QueueDep, ReaderDep, SettingsDep, StorageDep, SubmissionsDep
from api.examples import shown
from api.json_response import ModelResponse
from api.middleware.problems import documented
from api.submissions import CALLBACK_ERRORS, PROMPT_ERRORS, Submissions, queued_response
from shoal.client.schemas import (
    Attempts,
    Bulk,
    BulkResult,
    Checked,
    Page,
    PriorityChange,
    Timeline,
)
from shoal.errors import (
    InvalidOption,
    InvalidOutput,
    JobNotFound,
    LocationForbidden,
    QuotaExceeded,
    RedisUnavailable,
    SourceNotFound,
    StateConflict,
    StorageUnavailable,
    UnknownOutput,
    UnreadableRecord,
    UnsupportedLocation,
    UploadTooLarge,
    VideoTooLarge,
)
from shoal.ingest.cancel import has_leftovers, remove_leftovers
from shoal.model.filter import Filter
from shoal.model.ids import JOB_ID
from shoal.model.job import State
from shoal.model.record import PlacedRecord, Record
from shoal.model.submission import Submission
from shoal.queue.split import Splits
from shoal.retention.deletion import Deletions

BULK = 200  # jobs processed per call
RETRIED = (State.FAILED, State.CANCELLED)
CANCELLED = (State.QUEUED, State.RUNNING)
CURSOR = rf"^(\d+(\.\d+)?~{JOB_ID})?$"

router = APIRouter(prefix="/videos", tags=["videos"])
# A separate router, so that the busiest route checks one scope: submit includes read.
submitting = APIRouter(prefix="/videos", tags=["videos"])


class ListQuery(Filter):
    """``GET /videos``."""

    limit: int = Field(50, ge=1, le=200)
    cursor: str = Field("", pattern=CURSOR, description="'next_cursor' of the previous page.")


@submitting.post(
    "",
    status_code=202,
    response_model=Record,
    dependencies=[SUBMIT],
    responses=shown(202, "Queued. 'Location' is the URL of the job.", examples.QUEUED)
    | shown(200, "The job already exists: queued, running or succeeded.", examples.SUCCEEDED)
    | documented(
        SourceNotFound,
        LocationForbidden,
        UploadTooLarge,
        *PROMPT_ERRORS,
        UnreadableRecord,
        InvalidOption,
        *CALLBACK_ERRORS,
        UnknownOutput,
        InvalidOutput,
        UnsupportedLocation,
        VideoTooLarge,
        QuotaExceeded,
        RedisUnavailable,
        StorageUnavailable,
    ),
)
async def submit(
    submission: Annotated[Submission, Body(examples=[examples.SUBMISSION, examples.POINTING])],
    request: Request,
) -> Response:
    """Submit a video.

    The same video, prompts and options are the same job: 202 if this request queued it (also a
    job that had failed or was cancelled), 200 if it already exists.
    """
    submissions: Submissions = request.app.state.submissions  # a dependency would take its time
    record, queued = await submissions.take(submission, request.scope["token"])
    return queued_response(record, queued)


@router.post(
    "/check",
    dependencies=[SUBMIT],
    responses=shown(200, "A worker could do it.", {"valid": True})
    | documented(
        UploadTooLarge,
        *PROMPT_ERRORS,
        InvalidOption,
        *CALLBACK_ERRORS,
        UnknownOutput,
        InvalidOutput,
        RedisUnavailable,
    ),
)
async def check(
    submission: Annotated[Submission, Body(examples=[examples.SUBMISSION])],
    submissions: SubmissionsDep,
) -> Checked:
    """Check a submission without its video, before that is uploaded. 'uri' is not looked at."""
    await submissions.check(submission)
    return Checked()


@router.get("", response_model=Page, responses=shown(200, "A page of the list.", examples.PAGE))
def list_videos(
    queue: QueueDep,
    wanted: Annotated[ListQuery, Query()],
) -> Response:
    """List jobs, newest first. Filters can be combined."""
    items, next_cursor = queue.records.page(wanted, limit=wanted.limit, cursor=wanted.cursor)
    return ModelResponse(Page(items=items, next_cursor=next_cursor))


@router.post(
    "/bulk",
    dependencies=[SUBMIT],
    responses=shown(200, "The result of this call.", examples.BULK_RESULT)
    | documented(UploadTooLarge),
)
def bulk(
    request: Annotated[Bulk, Body(examples=[examples.BULK])],
    queue: QueueDep,
    settings: SettingsDep,
) -> BulkResult:
    """Retry, cancel or delete all jobs that match a filter, 200 per call."""
    page, next_cursor = queue.records.page(request.filter, limit=BULK, cursor=request.cursor)
    deletions = Deletions(queue, settings)
    changed = 0
    for record in page:
        if not _applies(request.action, record):
            continue
        # Its state changed in between, or it is gone:
        with suppress(StateConflict, UnreadableRecord, JobNotFound):
            if request.action == "retry":
                queue.retry(record.id)
            elif request.action == "cancel":
                Splits(queue).cancel(
                    record.id
                )  # what it left in storage is removed in the background
            else:
                deletions.ask(record.id)
            changed += 1
    return BulkResult(changed=changed, skipped=len(page) - changed, next_cursor=next_cursor)


def _applies(action: str, record: Record) -> bool:
    """Whether a bulk action changes a job."""
    if record.deleting_at is not None:
        return False
    if action == "delete":
        return True
    states = RETRIED if action == "retry" else CANCELLED
    return record.state in states and not record.cancel_requested


@router.get(
    "/{job_id}",
    response_model=PlacedRecord,
    responses=shown(200, "The job.", examples.SUCCEEDED) | documented(JobNotFound),
)
async def show(job_id: str, reader: ReaderDep, queue: QueueDep) -> Response:
    """Get a job, and of a split job its segments. Times are seconds since the epoch."""
    record = await reader.record(job_id)
    shown = dict(record)
    if record.segment_count:
        shown["segments"] = await run_in_threadpool(Splits(queue).status, record)
    placed = PlacedRecord.model_construct(**shown, place=await reader.place(record))
    return ModelResponse(placed)


@router.get(
    "/{job_id}/timeline",
    response_model=Timeline,
    responses=shown(200, "The last 200 events.", examples.TIMELINE) | documented(JobNotFound),
)
async def timeline(job_id: str, reader: ReaderDep) -> Response:
    """List the events of a job, oldest first."""
    return ModelResponse(Timeline(items=await reader.timeline(job_id)))


@router.get(
    "/{job_id}/attempts",
    responses=shown(200, "The last 20 attempts.", examples.ATTEMPTS) | documented(JobNotFound),
)
def attempts(job_id: str, queue: QueueDep) -> Attempts:
    """List the attempts at a job, with worker, error, traceback and the end of the log."""
    queue.records.get(job_id)
    return Attempts(items=queue.records.attempts(job_id))


@router.delete(
    "/{job_id}",
    dependencies=[SUBMIT],
    responses=shown(200, "The job.", examples.QUEUED | {"state": "cancelled"})
    | documented(JobNotFound, StateConflict),
)
async def cancel(
    job_id: str,
    queue: QueueDep,
    calls: StorageDep,
    settings: SettingsDep,
    results: Annotated[
        bool, Query(description="Also delete results, checkpoints, upload and record.")
    ] = False,
) -> Record:
    """Cancel a job, or delete it.

    A queued job is cancelled immediately. A running job stops within seconds; until then it is
    'running' with 'cancel_requested'. Partial results are deleted.

    With 'results', a job in any state is deleted within seconds of its end, with all that was
    stored for it; until then it has 'deleting_at'. The source in a bucket is kept, and is not
    processed again unless it is submitted.
    """
    if results:
        return await run_in_threadpool(Deletions(queue, settings).ask, job_id)
    record = await run_in_threadpool(Splits(queue).cancel, job_id)
    if has_leftovers(record):
        with suppress(StorageUnavailable):  # then it is done in the background
            await calls.run(record.spec.results, remove_leftovers, record, queue, settings)
    return record


@router.post(
    "/{job_id}/retry",
    status_code=202,
    dependencies=[SUBMIT],
    responses=shown(202, "Requeued.", examples.QUEUED) | documented(JobNotFound, StateConflict),
)
def retry(job_id: str, queue: QueueDep) -> Record:
    """Retry a failed or cancelled job; of a split job that failed, only what failed."""
    Splits(queue).own(job_id)
    return queue.retry(job_id)


@router.post(
    "/{job_id}/priority",
    dependencies=[SUBMIT],
    responses=shown(200, "The job.", examples.QUEUED | {"priority": "front"})
    | documented(JobNotFound, StateConflict, UploadTooLarge),
)
def prioritise(
    job_id: str,
    change: Annotated[PriorityChange, Body(examples=[{"priority": "front"}])],
    queue: QueueDep,
) -> Record:
    """Move a queued job, or the queued segments of a split one, to the front or to a priority."""
    return Splits(queue).prioritise(job_id, change.priority)
