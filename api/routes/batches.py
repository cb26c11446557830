"""``/batches``: many videos as one batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Body, Depends, Query, Request, Response

from api import examples
from api.deps import SUBMIT, QueueDep, SettingsDep, StorageDep
from api.examples import shown
from api.middleware.problems import documented
from api.routes.videos import CURSOR
from api.submissions import CALLBACK_ERRORS, PROMPT_ERRORS
from shoal.client.schemas import Page
from shoal.errors import (
    BatchNotFound,
    LocationForbidden,
    QuotaExceeded,
    SourceNotFound,
    StateConflict,
    StorageForbidden,
    StorageUnavailable,
    UnsupportedLocation,
    UploadTooLarge,
)
from shoal.ingest.submissions import check_workers, validate_for_many
from shoal.model.batch import BatchPage, BatchRequest, BatchSkips, BatchStatus, submission_of
from shoal.model.filter import Filter
from shoal.model.globs import UriPattern
from shoal.model.job import State
from shoal.model.token import Token
from shoal.queue.batches import Batches
from shoal.queue.quotas import Quotas
from shoal.settings import Settings
from shoal.storage import storage_for
from shoal.url_policy import check_callback

router = APIRouter(prefix="/batches", tags=["batches"])


def _batches(queue: QueueDep) -> Batches:
    return Batches(queue)


BatchesDep = Annotated[Batches, Depends(_batches)]


@router.post(
    "",
    dependencies=[SUBMIT],
    status_code=202,
    responses=shown(202, "Accepted. 'Location' is the URL of the batch.", examples.BATCH)
    | documented(
        SourceNotFound,
        StorageForbidden,
        LocationForbidden,
        UploadTooLarge,
        *PROMPT_ERRORS,
        *CALLBACK_ERRORS,
        UnsupportedLocation,
        QuotaExceeded,
        StorageUnavailable,
    ),
)
def submit_batch(
    request: Annotated[BatchRequest, Body(examples=[examples.BATCH_REQUEST])],
    http: Request,
    response: Response,
    batches: BatchesDep,
    queue: QueueDep,
    calls: StorageDep,
    settings: SettingsDep,
) -> BatchStatus:
    """Submit many videos: URIs, patterns, or both.

    Files are listed in the background. A video that is already queued, running or processed with
    the same prompts and options is not processed twice.
    """
    check_callback(request.callback, settings)
    check_workers(validate_for_many(submission_of(request, "")), queue)
    token: Token = http.scope["token"]
    Quotas(queue.redis, queue.name).check_room(token, len(request.uris))
    if request.priority is None:
        request = request.model_copy(update={"priority": token.priority})
    if request.globs:
        calls.wait(request.globs[0], _look_at, request.globs, settings)
    batch = batches.create(request, token.name if settings.api_tokens else "")
    response.headers["Location"] = f"/batches/{batch.id}"
    return batches.status(batch)


def _look_at(globs: Sequence[str], settings: Settings) -> None:
    """The first page shows whether a bucket exists and is readable."""
    for pattern in map(UriPattern, globs):
        next(storage_for(pattern.prefix, settings).list(pattern.prefix), None)


@router.get("", responses=shown(200, "A page of the list.", examples.BATCH_PAGE))
def list_batches(
    batches: BatchesDep,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[
        str, Query(pattern=CURSOR, description="'next_cursor' of the previous page.")
    ] = "",
) -> BatchPage:
    """List batches, newest first."""
    items, after = batches.page(limit=limit, cursor=cursor)
    return BatchPage(items=[batches.status(batch) for batch in items], next_cursor=after)


@router.get(
    "/{batch_id}",
    responses=shown(200, "The batch.", examples.BATCH) | documented(BatchNotFound),
)
def show_batch(batch_id: str, batches: BatchesDep) -> BatchStatus:
    """Get the status of a batch: progress, failures, compute time and time remaining."""
    return batches.status(batches.get(batch_id))


@router.get(
    "/{batch_id}/videos",
    responses=shown(200, "A page of the list.", examples.PAGE) | documented(BatchNotFound),
)
def batch_videos(
    batch_id: str,
    batches: BatchesDep,
    queue: QueueDep,
    state: State | None = None,
    cause: Annotated[str, Query(max_length=80, description="Error code.")] = "",
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[
        str, Query(pattern=CURSOR, description="'next_cursor' of the previous page.")
    ] = "",
) -> Page:
    """List the jobs of a batch, newest first."""
    batches.get(batch_id)
    wanted = Filter(batch=batch_id, state=state, cause=cause)
    items, after = queue.records.page(wanted, limit=limit, cursor=cursor)
    return Page(items=items, next_cursor=after)


@router.get(
    "/{batch_id}/skipped",
    responses=shown(200, "The last 100.", examples.BATCH_SKIPS) | documented(BatchNotFound),
)
def batch_skips(batch_id: str, batches: BatchesDep) -> BatchSkips:
    """List the last 100 skipped and rejected files of a batch, with the reasons."""
    return BatchSkips(items=batches.skips(batch_id))


@router.delete(
    "/{batch_id}",
    dependencies=[SUBMIT],
    status_code=202,
    responses=shown(202, "The batch is being cancelled.", examples.BATCH | {"state": "cancelling"})
    | documented(BatchNotFound, StateConflict),
)
def cancel_batch(
    batch_id: str,
    batches: BatchesDep,
    results: Annotated[
        bool, Query(description="Also delete its videos with all results, and the batch.")
    ] = False,
) -> BatchStatus:
    """Cancel all unfinished videos of a batch, including those that also belong to other batches.

    Cancelling continues in the background; running videos stop within seconds. With 'results',
    its videos are then deleted, except those that also belong to other batches.
    """
    if results:
        return batches.status(batches.delete(batch_id))
    return batches.status(batches.cancel(batch_id))


@router.post(
    "/{batch_id}/retry",
    dependencies=[SUBMIT],
    status_code=202,
    responses=shown(202, "The failed videos are being requeued.", examples.BATCH)
    | documented(BatchNotFound, StateConflict),
)
def retry_batch(batch_id: str, batches: BatchesDep) -> BatchStatus:
    """Requeue the failed videos of a batch, and continue a listing that stopped with an error."""
    return batches.status(batches.retry(batch_id))
