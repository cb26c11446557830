"""``/batches``: many videos as one."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Depends, Query, Response

from api import examples
from api.deps import SUBMIT, QueueDep, SettingsDep
from api.desk import check_asked, check_workers
from api.examples import shown
from api.problems import documented
from api.videos import CURSOR
from shoal.batch_wire import BatchPage, BatchRequest, BatchSkips, BatchStatus, submission_of
from shoal.batches import Batches
from shoal.errors import (
    BatchNotFound,
    CallbackForbidden,
    CallbacksOff,
    EngineUnavailable,
    InvalidCallback,
    InvalidPrompt,
    InvalidVisualPrompt,
    LocationForbidden,
    SourceNotFound,
    StateConflict,
    StorageForbidden,
    StorageUnavailable,
    UnknownEngine,
    UnknownPrompt,
    UnsupportedByEngine,
    UnsupportedLocation,
    UploadTooLarge,
)
from shoal.globs import UriPattern
from shoal.indexes import Filter
from shoal.jobs import State
from shoal.storage import storage_for
from shoal.targets import check_callback
from shoal.wire import Page

router = APIRouter(prefix="/batches", tags=["batches"])


def _batches(queue: QueueDep) -> Batches:
    return Batches(queue)


BatchesDep = Annotated[Batches, Depends(_batches)]


@router.post(
    "",
    dependencies=[SUBMIT],
    status_code=202,
    responses=shown(202, "Taken. 'Location' is the batch's address.", examples.BATCH)
    | documented(
        SourceNotFound,
        StorageForbidden,
        LocationForbidden,
        UploadTooLarge,
        InvalidPrompt,
        InvalidVisualPrompt,
        UnknownPrompt,
        UnknownEngine,
        UnsupportedByEngine,
        EngineUnavailable,
        InvalidCallback,
        CallbackForbidden,
        CallbacksOff,
        UnsupportedLocation,
        StorageUnavailable,
    ),
)
def submit_batch(
    request: Annotated[BatchRequest, Body(examples=[examples.BATCH_REQUEST])],
    response: Response,
    batches: BatchesDep,
    queue: QueueDep,
    settings: SettingsDep,
) -> BatchStatus:
    """Queue many videos: URIs, patterns of them, or both.

    They are looked up after the answer, a page at a time. A video that is queued, running or done
    already, with the same prompts and options, is not done twice.
    """
    check_callback(request.callback, settings)
    check_workers(check_asked(submission_of(request, "")), queue)
    for pattern in map(UriPattern, request.globs):
        # The first page shows whether there is such a bucket, and whether it may be read.
        next(storage_for(pattern.prefix, settings).list(pattern.prefix), None)
    batch = batches.create(request)
    response.headers["Location"] = f"/batches/{batch.id}"
    return batches.status(batch)


@router.get("", responses=shown(200, "One page.", examples.BATCH_PAGE))
def list_batches(
    batches: BatchesDep,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[str, Query(pattern=CURSOR, description="'next_cursor' of a page.")] = "",
) -> BatchPage:
    """Batches, newest first."""
    items, after = batches.page(limit=limit, cursor=cursor)
    return BatchPage(items=[batches.status(batch) for batch in items], next_cursor=after)


@router.get(
    "/{batch_id}",
    responses=shown(200, "The batch.", examples.BATCH) | documented(BatchNotFound),
)
def show_batch(batch_id: str, batches: BatchesDep) -> BatchStatus:
    """How far a batch is: its videos by state, causes of failures, time spent and left."""
    return batches.status(batches.get(batch_id))


@router.get(
    "/{batch_id}/videos",
    responses=shown(200, "One page.", examples.PAGE) | documented(BatchNotFound),
)
def batch_videos(
    batch_id: str,
    batches: BatchesDep,
    queue: QueueDep,
    state: State | None = None,
    cause: Annotated[str, Query(max_length=80, description="The code it failed with.")] = "",
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str, Query(pattern=CURSOR, description="'next_cursor' of a page.")] = "",
) -> Page:
    """The jobs of a batch, newest first."""
    batches.get(batch_id)
    wanted = Filter(batch=batch_id, state=state, cause=cause)
    items, after = queue.records.page(wanted, limit=limit, cursor=cursor)
    return Page(items=items, next_cursor=after)


@router.get(
    "/{batch_id}/skipped",
    responses=shown(200, "The last hundred.", examples.BATCH_SKIPS) | documented(BatchNotFound),
)
def batch_skips(batch_id: str, batches: BatchesDep) -> BatchSkips:
    """Objects that led to no job, and URIs that were rejected, each with its reason."""
    return BatchSkips(items=batches.skips(batch_id))


@router.delete(
    "/{batch_id}",
    dependencies=[SUBMIT],
    status_code=202,
    responses=shown(202, "It is being cancelled.", examples.BATCH | {"state": "cancelling"})
    | documented(BatchNotFound),
)
def cancel_batch(batch_id: str, batches: BatchesDep) -> BatchStatus:
    """Queue no more of it, and cancel all its videos that have not ended.

    Also those that another batch has too. It goes on after the answer; running videos stop within
    seconds.
    """
    return batches.status(batches.cancel(batch_id))


@router.post(
    "/{batch_id}/retry",
    dependencies=[SUBMIT],
    status_code=202,
    responses=shown(202, "Its failed videos go on the queue.", examples.BATCH)
    | documented(BatchNotFound, StateConflict),
)
def retry_batch(batch_id: str, batches: BatchesDep) -> BatchStatus:
    """Queue all its failed videos again, and look up the rest where an error stopped that."""
    return batches.status(batches.retry(batch_id))
