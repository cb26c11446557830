"""A stored file as an answer: whole, or the one range of bytes that is asked for."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import Depends, Header, Response
from fastapi.responses import StreamingResponse
from starlette.exceptions import HTTPException

from api.examples import Responses
from api.ranges import Part, Unsatisfiable, parse_range
from shoal.results import content_type
from shoal.storage import ObjectInfo, Storage

FILE: Responses = {
    200: {"description": "The file.", "content": {"*/*": {"schema": {"type": "string"}}}},
    206: {"description": "The part of it that 'Range' asks for."},
    304: {"description": "It is what 'If-None-Match' names."},
    416: {"description": "The range lies beyond the end of the file."},
}


class Conditions:
    """What a request says of the bytes it wants."""

    def __init__(
        self,
        wanted: Annotated[str | None, Header(alias="Range")] = None,
        if_range: Annotated[str | None, Header()] = None,
        if_none_match: Annotated[str | None, Header()] = None,
    ) -> None:
        self.wanted = wanted
        self.if_range = if_range
        self.if_none_match = if_none_match


ConditionsDep = Annotated[Conditions, Depends()]


def send(storage: Storage, file: ObjectInfo, name: str, conditions: Conditions) -> Response:
    """The answer with a file's bytes."""
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
    return StreamingResponse(
        storage.read(file.uri, sent.start, sent.length),
        status_code=206 if part else 200,
        headers=headers,
        media_type=content_type(name),
    )
