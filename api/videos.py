"""``/videos``: submit, list, look at, cancel and retry jobs."""

from __future__ import annotations

import logging
from pathlib import PurePosixPath
from typing import Annotated
from urllib.parse import quote, unquote, urlsplit

from fastapi import APIRouter, Body, Query, Response

from api import examples
from api.callbacks import check_callback
from api.deps import QueueDep, SettingsDep
from api.examples import shown
from api.problems import documented
from shoal import engines
from shoal.errors import (
    CallbackForbidden,
    CallbacksOff,
    InvalidCallback,
    InvalidOption,
    InvalidPrompt,
    JobNotFound,
    LocationForbidden,
    RedisUnavailable,
    ShoalError,
    SourceNotFound,
    StateConflict,
    StorageUnavailable,
    UnknownEngine,
    UnknownPrompt,
    UnsupportedLocation,
    UploadTooLarge,
    VideoTooLarge,
)
from shoal.jobs import JobSpec, State, clean_prompts
from shoal.records import Record
from shoal.results import parts_prefix
from shoal.settings import Settings
from shoal.storage import Storage, storage_for
from shoal.wire import Attempts, Page, Submission, Timeline

log = logging.getLogger(__name__)

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
        UnknownPrompt,
        UnknownEngine,
        InvalidOption,
        InvalidCallback,
        CallbackForbidden,
        CallbacksOff,
        UnsupportedLocation,
        VideoTooLarge,
        RedisUnavailable,
        StorageUnavailable,
    ),
)
def submit(
    submission: Annotated[Submission, Body(examples=[examples.SUBMISSION])],
    response: Response,
    queue: QueueDep,
    settings: SettingsDep,
) -> Record:
    """Queue a video.

    The same video, prompts and options are the same job: 202 if this request put it on the
    queue (also again, after it had failed or been cancelled), 200 if it was there already.
    """
    check_callback(submission.callback, settings)
    record, queued = queue.submit(specify(submission, settings), callback=submission.callback)
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
        _remove_parts(record.spec, settings)
    return record


@router.post(
    "/{job_id}/retry",
    status_code=202,
    responses=shown(202, "Queued again.", examples.QUEUED) | documented(JobNotFound, StateConflict),
)
def retry(job_id: str, queue: QueueDep) -> Record:
    """Queue a failed or cancelled job again."""
    return queue.retry(job_id)


def _remove_parts(spec: JobSpec, settings: Settings) -> None:
    """Remove what interrupted attempts left; if that fails, it only takes up space."""
    prefix = parts_prefix(spec)
    try:
        storage_for(prefix, settings).delete(prefix)
    except ShoalError as error:
        log.warning("%s is left behind: %s", prefix, error)


def specify(submission: Submission, settings: Settings) -> JobSpec:
    """The job that a request asks for; reads no more of the video than its size.

    Raises:
        InvalidPrompt, UnknownPrompt, UnknownEngine
        UnsupportedLocation, LocationForbidden, SourceNotFound, StorageUnavailable
        VideoTooLarge: more bytes than SHOAL_MAX_VIDEO_BYTES.
    """
    prompts = clean_prompts(submission.prompts)
    engines.check_prompts(submission.options.engine, prompts)
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
        options=submission.options,
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
