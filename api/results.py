"""``/videos/{id}/results``: the files of a job, as a browser can play them."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Header, Response
from fastapi.responses import StreamingResponse
from starlette.exceptions import HTTPException

from api import examples
from api.deps import QueueDep, SettingsDep
from api.examples import Responses, shown
from api.problems import documented
from api.ranges import Part, Unsatisfiable, parse_range
from shoal.errors import JobNotFound, ResultNotFound, SourceNotFound, StorageUnavailable
from shoal.records import Record
from shoal.results import content_type, result_uri
from shoal.settings import Settings
from shoal.storage import ObjectInfo, Storage, storage_for
from shoal.wire import ResultFile, ResultFiles

_FILE: Responses = {
    200: {"description": "The file.", "content": {"*/*": {"schema": {"type": "string"}}}},
    206: {"description": "The part of it that 'Range' asks for."},
    304: {"description": "It is what 'If-None-Match' names."},
    416: {"description": "The range lies beyond the end of the file."},
}

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
    responses=_FILE | documented(JobNotFound, ResultNotFound, StorageUnavailable),
)
@router.head("/{name}", include_in_schema=False)
def read_result(
    job_id: str,
    name: str,
    queue: QueueDep,
    settings: SettingsDep,
    wanted: Annotated[str | None, Header(alias="Range")] = None,
    if_range: Annotated[str | None, Header()] = None,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """One file, whole or the one range of bytes that is asked for."""
    storage, file = _find(queue.records.get(job_id), name, settings)
    etag = f'"{file.version}"'
    headers = {
        "Accept-Ranges": "bytes",
        "ETag": etag,
        "Content-Disposition": f"inline; filename*=UTF-8''{quote(name, safe='')}",
        "X-Content-Type-Options": "nosniff",
    }
    if etag in (if_none_match or ""):
        return Response(status_code=304, headers=headers)
    try:
        part = parse_range(wanted, file.size) if if_range in (None, etag) else None
    except Unsatisfiable as error:
        raise HTTPException(416, headers={"Content-Range": f"bytes */{file.size}"}) from error
    if part:
        headers["Content-Range"] = part.content_range(file.size)
    sent = part or Part(0, file.size)
    headers["Content-Length"] = str(sent.length)
    return StreamingResponse(
        storage.read(file.uri, sent.start, sent.length),
        status_code=206 if part else 200,
        headers=headers,
        media_type=content_type(name),
    )


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
