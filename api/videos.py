"""``/videos``: submit, list, look at, cancel and retry jobs."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated
from urllib.parse import quote, unquote, urlsplit

from fastapi import APIRouter, Body, Query, Response

from api import examples
from api.deps import QueueDep, SettingsDep
from api.examples import shown
from api.problems import documented
from shoal import engines, outputs
from shoal.errors import (
    EngineUnavailable,
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
from shoal.jobs import JobSpec, State
from shoal.parts import remove_parts
from shoal.prompts import clean_objects, clean_prompts, labels
from shoal.queue import JobQueue
from shoal.records import Record
from shoal.settings import Settings
from shoal.storage import Storage, storage_for
from shoal.wire import Attempts, Page, Submission, Timeline
from shoal.workers import list_workers

CURSOR = r"^(\d+(\.\d+)?~[0-9a-f]{24})?$"

router = APIRouter(prefix="/videos", tags=["videos"])


@router.post(
    "",
    status_code=202,
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
        UnknownOutput,
        InvalidOutput,
        UnsupportedLocation,
        VideoTooLarge,
        RedisUnavailable,
        StorageUnavailable,
    ),
)
def submit(
    submission: Annotated[Submission, Body(examples=[examples.SUBMISSION, examples.POINTING])],
    response: Response,
    queue: QueueDep,
    settings: SettingsDep,
) -> Record:
    """Queue a video.

    The same video, prompts and options are the same job: 202 if this request put it on the
    queue (also again, after it had failed or been cancelled), 200 if it was there already.
    """
    spec = specify(submission, settings)
    _check_workers(spec, queue)
    record, queued = queue.submit(spec)
    response.status_code = 202 if queued else 200
    response.headers["Location"] = f"/videos/{record.id}"
    return record


@router.get("", responses=shown(200, "One page.", examples.PAGE))
def list_videos(
    queue: QueueDep,
    state: State | None = None,
    text: Annotated[
        str, Query(max_length=200, description="In the id, the URI or a prompt; any case.")
    ] = "",
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str, Query(pattern=CURSOR, description="'next_cursor' of a page.")] = "",
) -> Page:
    """Jobs, newest first."""
    items, next_cursor = queue.records.page(state=state, search=text, limit=limit, cursor=cursor)
    return Page(items=items, next_cursor=next_cursor)


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
    responses=shown(202, "Queued again.", examples.QUEUED) | documented(JobNotFound, StateConflict),
)
def retry(job_id: str, queue: QueueDep) -> Record:
    """Queue a failed or cancelled job again."""
    return queue.retry(job_id)


def _check_workers(spec: JobSpec, queue: JobQueue) -> None:
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


def specify(submission: Submission, settings: Settings) -> JobSpec:
    """The job that a request asks for; reads no more of the video than its size.

    Raises:
        InvalidPrompt, InvalidVisualPrompt, UnknownPrompt, UnknownEngine, UnsupportedByEngine
        InvalidOutput
        UnsupportedLocation, LocationForbidden, SourceNotFound, StorageUnavailable
        VideoTooLarge: more bytes than SHOAL_MAX_VIDEO_BYTES.
    """
    objects = clean_objects(submission.objects)
    options, removals = submission.options, tuple(submission.remove_objects)
    named = outputs.prompts_of(options.outputs)
    prompts = clean_prompts([*submission.prompts, *named], may_lack=bool(objects))
    outputs.check_fits(options.outputs, labels(prompts, objects), max_objects=options.max_objects)
    engines.check(options.engine, prompts, engines.features(options, objects, removals))
    storage = storage_for(submission.uri, settings)
    video = storage.stat(submission.uri)
    if video.size > settings.max_video_bytes:
        raise VideoTooLarge(
            f"the video has {video.size} bytes, {settings.max_video_bytes} is the limit"
        )
    return JobSpec(
        uri=video.uri,
        version=video.version,
        size=video.size,
        prompts=prompts,
        objects=objects,
        remove_objects=removals,
        options=options,
        results=_results_uri(video.uri, storage, settings),
    )


def _results_uri(uri: str, storage: Storage, settings: Settings) -> str:
    """Results lie below the video's own path; of an upload, below its name alone."""
    if uri.startswith(settings.uploads_dir.as_uri() + "/"):
        key = PurePosixPath(unquote(urlsplit(uri).path)).stem
    else:
        key = storage.key(uri)
    root = settings.results_root
    if root.startswith("file:"):
        key = quote(key)
    return f"{root.rstrip('/')}/{key}"
