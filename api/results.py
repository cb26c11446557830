"""``/videos/{id}/results``: the files of a job, as a browser can play them."""

from __future__ import annotations

from urllib.parse import quote

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse

from api import examples
from api.deps import QueueDep, SettingsDep
from api.examples import shown
from api.files import FILE, ConditionsDep, send
from api.problems import documented
from shoal.errors import JobNotFound, ResultNotFound, SourceNotFound, StorageUnavailable
from shoal.records import Record
from shoal.results import content_type, result_uri
from shoal.settings import Settings
from shoal.storage import ObjectInfo, Storage, storage_for
from shoal.wire import ResultFile, ResultFiles

router = APIRouter(prefix="/videos/{job_id}/results", tags=["results"])


@router.get(
    "",
    responses=shown(200, "The files.", examples.RESULT_FILES) | documented(JobNotFound),
)
def list_results(job_id: str, queue: QueueDep) -> ResultFiles:
    """The files of a job; there are none before it has succeeded."""
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
def read_result(
    job_id: str, name: str, queue: QueueDep, settings: SettingsDep, conditions: ConditionsDep
) -> Response:
    """One file, whole or the one range of bytes that is asked for."""
    storage, file = _find(queue.records.get(job_id), name, settings)
    return send(storage, file, name, conditions)


def _find(record: Record, name: str, settings: Settings) -> tuple[Storage, ObjectInfo]:
    """
    Raises:
        ResultNotFound: not a result of the job, or its file is gone.
    """
    if name not in record.results:
        raise ResultNotFound(f"the job has no result {name!r}")
    uri = result_uri(record.spec, name)
    storage = storage_for(uri, settings)
    try:
        return storage, storage.stat(uri)
    except SourceNotFound as error:
        raise ResultNotFound(
            f"the file is gone: {uri}", hint="It was moved or deleted after the job had ended."
        ) from error
