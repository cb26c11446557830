"""``/videos/{id}/refine`` and ``/videos/{id}/versions``: corrected results of a video."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Request, Response
from starlette.concurrency import run_in_threadpool

from api import examples
from api.deps import SUBMIT, QueueDep, SettingsDep, StorageDep, SubmissionsDep
from api.examples import shown
from api.middleware.problems import documented
from api.storage_calls import StorageCalls
from api.submissions import CALLBACK_ERRORS, queued_response
from shoal.client.schemas import RefinePlan, Versions
from shoal.errors import (
    EngineUnavailable,
    InvalidEdit,
    InvalidPrompt,
    InvalidVisualPrompt,
    JobNotFound,
    RedisUnavailable,
    ResultNotFound,
    StateConflict,
    StorageUnavailable,
    UnknownObject,
    UnsupportedByEngine,
    UploadTooLarge,
)
from shoal.ingest.refine import Refinement, check_base, refine as make_refinement
from shoal.ingest.submissions import check_workers
from shoal.model.edits import RefineRequest
from shoal.model.record import Record
from shoal.queue.queue import JobQueue
from shoal.queue.versions import ancestors_of, versions_of
from shoal.settings import Settings
from shoal.url_policy import check_callback

router = APIRouter(prefix="/videos/{job_id}", tags=["videos"])


REFUSALS = documented(
    JobNotFound,
    StateConflict,
    UploadTooLarge,
    InvalidEdit,
    UnknownObject,
    InvalidPrompt,
    InvalidVisualPrompt,
    UnsupportedByEngine,
    EngineUnavailable,
    *CALLBACK_ERRORS,
    ResultNotFound,
    RedisUnavailable,
    StorageUnavailable,
)
RequestBody = Annotated[
    RefineRequest, Body(examples=[examples.REFINEMENT, {"objects": [examples.CORRECTION]}])
]


@router.post(
    "/refine",
    status_code=202,
    response_model=Record,
    dependencies=[SUBMIT],
    responses=shown(202, "Queued. 'Location' is the URL of the new job.", examples.REFINED)
    | shown(200, "This version already exists.", examples.REFINED)
    | REFUSALS,
)
async def refine(
    job_id: str,
    request: RequestBody,
    http: Request,
    queue: QueueDep,
    calls: StorageDep,
    settings: SettingsDep,
    submissions: SubmissionsDep,
) -> Response:
    """Make a new version of the results of a job that has succeeded.

    Edits need no model: they are applied to the mask table, and all outputs are made again.
    Corrections ('objects') are tracked from the newest checkpoint before them.
    """
    check_callback(request.callback, settings)
    made = await _made(job_id, request, queue, calls, settings)
    if made.request:
        await run_in_threadpool(check_workers, made.request, queue)
    record, queued = await submissions.queue(made.spec, request.callback, http.scope["token"])
    return queued_response(record, queued)


@router.post(
    "/refine/plan",
    dependencies=[SUBMIT],
    responses=shown(200, "What it would do.", examples.REFINE_PLAN) | REFUSALS,
)
async def plan_refine(
    job_id: str, request: RequestBody, queue: QueueDep, calls: StorageDep, settings: SettingsDep
) -> RefinePlan:
    """Check a new version, and say from where its tracking would continue, without queueing it."""
    made = await _made(job_id, request, queue, calls, settings)
    known = await run_in_threadpool(queue.records.find, made.spec.id)
    return RefinePlan(
        id=made.spec.id,
        exists=known is not None,
        needs_model=made.request is not None,
        continues_from_frame=made.continues_from_frame,
    )


async def _made(
    job_id: str, request: RefineRequest, queue: JobQueue, calls: StorageCalls, settings: Settings
) -> Refinement:
    base = await run_in_threadpool(queue.records.get, job_id)
    check_base(base)
    ancestors = await run_in_threadpool(ancestors_of, queue.records, base)
    return await calls.run(base.spec.results, make_refinement, base, request, ancestors, settings)


@router.get(
    "/versions",
    responses=shown(200, "The versions.", {"items": [examples.SUCCEEDED, examples.REFINED]})
    | documented(JobNotFound),
)
def versions(job_id: str, queue: QueueDep) -> Versions:
    """List all versions of the results of a job: what it was made from, itself, what was made of
    them; oldest first."""
    return Versions(items=versions_of(queue.records, queue.records.get(job_id)))
