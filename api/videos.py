"""``/videos``: submit, list, look at, cancel and retry jobs."""

from __future__ import annotations

from contextlib import suppress
from pathlib import PurePosixPath
from typing import Annotated, NamedTuple
from urllib.parse import unquote, urlsplit

from fastapi import APIRouter, Body, Query, Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from api import examples
from api.deps import SUBMIT, QueueDep, SettingsDep, SubmitterDep
from api.examples import shown
from api.problems import documented
from shoal import engines, log_context, outputs, tracing
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
from shoal.jobs import JobSpec, Options, State
from shoal.parts import remove_parts
from shoal.prompts import Removal, VisualPrompt, clean_objects, clean_prompts, labels
from shoal.queue import JobQueue
from shoal.records import Record
from shoal.results import results_folder
from shoal.settings import Settings
from shoal.storage import ObjectInfo, Storage, storage_for
from shoal.targets import check_callback
from shoal.wire import Attempts, Bulk, BulkResult, Page, PriorityChange, Submission, Timeline
from shoal.workers import list_workers

BULK = 200  # jobs that one call looks at
RETRIED = (State.FAILED, State.CANCELLED)
CANCELLED = (State.QUEUED, State.RUNNING)
CURSOR = r"^(\d+(\.\d+)?~[0-9a-f]{24})?$"

router = APIRouter(prefix="/videos", tags=["videos"])


class ListQuery(Filter):
    """``GET /videos``."""

    limit: int = Field(50, ge=1, le=200)
    cursor: str = Field("", pattern=CURSOR, description="'next_cursor' of a page.")


@router.post(
    "",
    status_code=202,
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
    response: Response,
    queue: QueueDep,
    submitter: SubmitterDep,
    settings: SettingsDep,
) -> Record:
    """Queue a video.

    The same video, prompts and options are the same job: 202 if this request put it on the
    queue (also again, after it had failed or been cancelled), 200 if it was there already.
    """
    spec = await run_in_threadpool(_checked, submission, queue, settings)
    log_context.note(job=spec.id)
    with tracing.span("submit", spec.id):
        record, queued = await submitter.submit(spec, callback=submission.callback)
    response.status_code = 202 if queued else 200
    response.headers["Location"] = f"/videos/{record.id}"
    return record


def _checked(submission: Submission, queue: JobQueue, settings: Settings) -> JobSpec:
    """The job of a submission that can be done here. Asks the storage."""
    check_callback(submission.callback, settings)
    spec = specify(submission, settings)
    check_workers(spec, queue)
    return spec


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


class Asked(NamedTuple):
    """What a request wants of a video, by itself in order."""

    prompts: tuple[str, ...]
    objects: tuple[VisualPrompt, ...]
    remove_objects: tuple[Removal, ...]
    options: Options


def check_workers(spec: JobSpec | Asked, queue: JobQueue) -> None:
    """Refuse now what all workers that there are would refuse later.

    Raises:
        EngineUnavailable: none runs where the job's engine can.
        UnknownPrompt, InvalidPrompt, UnsupportedByEngine: none can do what the job asks for.
    """
    engine = spec.options.engine
    asked = engines.features(spec.options, spec.objects, spec.remove_objects)
    if engines.needs_device(engine):
        workers = list_workers(queue.redis, queue.name)
        engines.check_devices(engine, (worker.device for worker in workers))
    elif engine == engines.AUTO and not engines.all_can(spec.prompts, asked):
        workers = list_workers(queue.redis, queue.name)
        engines.check_loaded((worker.engine for worker in workers), spec.prompts, asked)


def check_asked(submission: Submission) -> Asked:
    """
    Raises:
        InvalidPrompt, InvalidVisualPrompt, UnknownPrompt, UnknownEngine, UnsupportedByEngine
        InvalidOutput
    """
    objects = clean_objects(submission.objects)
    options, removals = submission.options, tuple(submission.remove_objects)
    named = outputs.prompts_of(options.outputs)
    prompts = clean_prompts([*submission.prompts, *named], may_lack=bool(objects))
    outputs.check_fits(options.outputs, labels(prompts, objects), max_objects=options.max_objects)
    engines.check(options.engine, prompts, engines.features(options, objects, removals))
    return Asked(prompts, objects, removals, options)


def specify(submission: Submission, settings: Settings, video: ObjectInfo | None = None) -> JobSpec:
    """The job that a request asks for; reads no more of the video than its size.

    Args:
        video: what its storage says of it, where that is known.

    Raises:
        InvalidPrompt, InvalidVisualPrompt, UnknownPrompt, UnknownEngine, UnsupportedByEngine
        InvalidOutput
        UnsupportedLocation, LocationForbidden, SourceNotFound, StorageUnavailable
        VideoTooLarge: more bytes than SHOAL_MAX_VIDEO_BYTES.
    """
    asked = check_asked(submission)
    storage = storage_for(submission.uri, settings)
    video = video or storage.stat(submission.uri)
    if video.size > settings.max_video_bytes:
        raise VideoTooLarge(
            f"the video has {video.size} bytes, {settings.max_video_bytes} is the limit"
        )
    return JobSpec(
        uri=video.uri,
        version=video.version,
        size=video.size,
        **asked._asdict(),
        results=_results_uri(video.uri, storage, settings),
    )


def _results_uri(uri: str, storage: Storage, settings: Settings) -> str:
    """Results lie below the video's own path; of an upload, below its name alone."""
    if uri.startswith(settings.uploads_dir.as_uri() + "/"):
        key = PurePosixPath(unquote(urlsplit(uri).path)).stem
    else:
        key = storage.key(uri)
    return results_folder(settings.results_root, key)
