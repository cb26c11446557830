"""``/videos/{id}/source``: the video of a job, for players that draw its objects themselves."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from api.deps import QueueDep, SettingsDep, StorageDep
from api.files import FILE, ConditionsDep, send
from api.middleware.problems import documented
from shoal.errors import JobNotFound, SourceChanged, SourceNotFound, StorageUnavailable
from shoal.model.job import JobSpec, State
from shoal.model.outputs import Overlay, Redact
from shoal.model.record import Record
from shoal.model.source_url import is_web
from shoal.results.layout import overlay_name
from shoal.settings import Settings
from shoal.storage import ObjectInfo, Storage, storage_for

router = APIRouter(prefix="/videos/{job_id}/source", tags=["results"])


@router.get(
    "",
    response_class=StreamingResponse,
    responses=FILE | documented(JobNotFound, SourceNotFound, SourceChanged, StorageUnavailable),
)
@router.head("", include_in_schema=False)
async def read_source(
    job_id: str,
    queue: QueueDep,
    calls: StorageDep,
    settings: SettingsDep,
    conditions: ConditionsDep,
) -> Response:
    """Download the source of a job with an overlay, or a byte range of it, in the version that was
    processed. Not of a redacted video, of a folder, or of a video on the web."""
    record = await run_in_threadpool(queue.records.get, job_id)
    if not is_shown(record):
        raise SourceNotFound(
            "the source of this job is not served",
            hint="Only that of a job with an overlay is, which shows the same pictures.",
        )
    storage, file = await calls.run(record.spec.uri, _find, record.spec, settings)
    return await send(calls, storage, file, record.spec.stem + ".mp4", conditions)


def is_shown(record: Record) -> bool:
    """Whether all who may read the results may see and hear the source: its overlay is that."""
    spec, made = record.spec, record.spec.options.outputs
    return (
        record.state == State.SUCCEEDED
        and overlay_name(spec) in record.results
        and any(isinstance(each, Overlay) and each.audio for each in made)
        and not any(isinstance(each, Redact) for each in made)
        and not spec.uri.endswith("/")
        and not is_web(spec.uri)
    )


def _find(spec: JobSpec, settings: Settings) -> tuple[Storage, ObjectInfo]:
    """
    Raises:
        SourceNotFound: it was moved or deleted.
        SourceChanged: it was replaced.
    """
    storage = storage_for(spec.uri, settings)
    found = storage.stat(spec.uri)
    if found.version != spec.version:
        raise SourceChanged(f"the file was replaced: {spec.uri}")
    return storage, found
