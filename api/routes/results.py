"""``/videos/{id}/results``: the result files of a job."""

from __future__ import annotations

from urllib.parse import quote

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from api import examples
from api.deps import QueueDep, SettingsDep, StorageDep
from api.examples import shown
from api.files import FILE, ConditionsDep, send
from api.middleware.problems import documented
from shoal.client.schemas import ResultFile, ResultFiles
from shoal.errors import JobNotFound, ResultNotFound, SourceNotFound, StorageUnavailable
from shoal.model.record import Record
from shoal.results.layout import content_type, result_uri
from shoal.settings import Settings
from shoal.storage import ObjectInfo, Storage, storage_for

router = APIRouter(prefix="/videos/{job_id}/results", tags=["results"])


@router.get(
    "",
    responses=shown(200, "The files.", examples.RESULT_FILES) | documented(JobNotFound),
)
def list_results(job_id: str, queue: QueueDep) -> ResultFiles:
    """List the result files of a job; empty until it has succeeded."""
    record = queue.records.get(job_id)
    files = [
        ResultFile(
            name=name,
            bytes=size,
            content_type=content_type(name),
            url=f"/videos/{record.id}/results/{quote(name, safe='')}",
        )
        for name, size in record.results.items()
    ]
    return ResultFiles(uri=record.spec.results_prefix, items=files)


@router.get(
    "/{name}",
    response_class=StreamingResponse,
    responses=FILE | documented(JobNotFound, ResultNotFound, StorageUnavailable),
)
@router.head("/{name}", include_in_schema=False)
async def read_result(
    job_id: str,
    name: str,
    queue: QueueDep,
    calls: StorageDep,
    settings: SettingsDep,
    conditions: ConditionsDep,
) -> Response:
    """Download a result file, or a byte range of it."""
    record = await run_in_threadpool(queue.records.get, job_id)
    storage, file = await calls.run(record.spec.results, _find, record, name, settings)
    return await send(calls, storage, file, name, conditions)


def _find(record: Record, name: str, settings: Settings) -> tuple[Storage, ObjectInfo]:
    """
    Raises:
        ResultNotFound: the job has no such result, or its file was deleted.
    """
    if name not in record.results:
        raise ResultNotFound(f"the job has no result {name!r}")
    uri = result_uri(record.spec, name)
    storage = storage_for(uri, settings)
    try:
        return storage, storage.stat(uri)
    except SourceNotFound as error:
        raise ResultNotFound(
            f"the file does not exist: {uri}", hint="It was moved or deleted after the job ended."
        ) from error
