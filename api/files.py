"""Responses with a stored file, or a byte range of it."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import Depends, Header, Request, Response
from fastapi.responses import StreamingResponse
from starlette.exceptions import HTTPException

from api.examples import Responses
from api.ranges import Part, Unsatisfiable, parse_range
from api.storage_calls import StorageCalls
from shoal.results.layout import content_type
from shoal.storage import ObjectInfo, Storage

FILE: Responses = {
    200: {"description": "The file.", "content": {"*/*": {"schema": {"type": "string"}}}},
    206: {"description": "The byte range in 'Range'."},
    304: {"description": "Not modified: the ETag matches 'If-None-Match'."},
    416: {"description": "The range is beyond the end of the file."},
}


class Conditions:
    """The range and condition headers of a request."""

    def __init__(
        self,
        request: Request,
        wanted: Annotated[str | None, Header(alias="Range")] = None,
        if_range: Annotated[str | None, Header()] = None,
        if_none_match: Annotated[str | None, Header()] = None,
    ) -> None:
        self.is_head = request.method == "HEAD"
        self.wanted = wanted
        self.if_range = if_range
        self.if_none_match = if_none_match


ConditionsDep = Annotated[Conditions, Depends()]


async def send(
    calls: StorageCalls, storage: Storage, file: ObjectInfo, name: str, conditions: Conditions
) -> Response:
    """A response with the bytes of a file.

    Raises:
        StorageUnavailable: the first of them do not come in time.
    """
    etag = f'"{file.version}"'
    headers = {
        "Accept-Ranges": "bytes",
        "ETag": etag,
        "Content-Disposition": f"inline; filename*=UTF-8''{quote(name, safe='')}",
        "X-Content-Type-Options": "nosniff",
    }
    if etag in (conditions.if_none_match or ""):
        return Response(status_code=304, headers=headers)
    applies = conditions.if_range in (None, etag)
    try:
        part = parse_range(conditions.wanted, file.size) if applies else None
    except Unsatisfiable as error:
        raise HTTPException(416, headers={"Content-Range": f"bytes */{file.size}"}) from error
    if part:
        headers["Content-Range"] = part.content_range(file.size)
    sent = part or Part(0, file.size)
    headers["Content-Length"] = str(sent.length)
    status, kind = 206 if part else 200, content_type(name)
    if conditions.is_head:
        return Response(status_code=status, headers=headers, media_type=kind)
    chunks = await calls.stream(file.uri, storage.read(file.uri, sent.start, sent.length))
    return StreamingResponse(chunks, status_code=status, headers=headers, media_type=kind)
