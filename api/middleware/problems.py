"""Every error as a problem document (RFC 9457) with a ``code`` and a ``hint``."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, cast

import redis
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api.examples import Responses
from shoal.client.schemas import Problem
from shoal.errors import (
    InsufficientScope,
    InvalidOption,
    RateLimited,
    RequestError,
    ShoalError,
    Unauthorized,
    UploadTooLarge,
)
from shoal.queue.connection import outage_of
from shoal.secrets import redact

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 5
FAULTS_TOLD = 10  # of a body
FIELD_CHARS = 80
DETAIL_CHARS = 4000

log = logging.getLogger(__name__)

# What the framework itself refuses, before any route of ours sees it.
_HTTP_ERRORS = {
    404: ("not_found", "GET / lists the endpoints."),
    405: ("method_not_allowed", "GET /openapi.json lists the methods of every path."),
    413: (
        UploadTooLarge.code,
        "SECURITY.md lists the limits; files go to PUT /uploads/{name}.",
    ),
    416: ("range_not_satisfiable", "'Content-Range' has the size of the file."),
}


def problem(error: ShoalError) -> JSONResponse:
    """The answer to a request that ended in ``error``."""
    headers = {}
    if error.http_status == 503:
        headers["Retry-After"] = str(RETRY_AFTER_S)
    if isinstance(error, RateLimited):
        headers["Retry-After"] = str(error.retry_after_s)
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, InsufficientScope):
        headers["WWW-Authenticate"] = f'Bearer error="{error.code}"'
    return _answer(error.http_status, error.code, redact(str(error)), error.hint, headers)


def documented(*errors: type[ShoalError]) -> Responses:
    """What ``responses=`` of a route says of these errors; those of one status stand together."""
    by_status: dict[int | str, list[type[ShoalError]]] = {}
    for error in errors:
        by_status.setdefault(error.http_status, []).append(error)
    return {
        status: {
            "description": " / ".join(_title(kind.code) for kind in kinds),
            "content": {
                MEDIA_TYPE: {
                    "schema": Problem.model_json_schema(),
                    "examples": {kind.code: {"value": _example(kind)} for kind in kinds},
                }
            },
        }
        for status, kinds in by_status.items()
    }


def install(app: FastAPI) -> None:
    """Have ``app`` answer every error with a problem document.

    The handlers are coroutines: a plain function would take a thread, for strangers' errors too.
    """
    app.add_exception_handler(ShoalError, _shoal_error)
    app.add_exception_handler(redis.RedisError, _redis_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unexpected)


async def _shoal_error(request: Request, error: Exception) -> Response:
    error = cast(ShoalError, error)
    if error.http_status >= 500:
        log.warning("%s %s: %s [%s]", request.method, request.url.path, error, error.code)
    return problem(error)


async def _redis_error(request: Request, error: Exception) -> Response:
    """What no route has named: an outage all the same."""
    if outage := outage_of(cast(redis.RedisError, error)):
        return await _shoal_error(request, outage)
    raise error


async def _invalid(request: Request, error: Exception) -> Response:
    faults = cast(RequestValidationError, error).errors()
    # The first part of a location says whether it is in the body, the query or the path.
    fields = [_field(fault["loc"][1:]) for fault in faults[:FAULTS_TOLD]]
    told = [
        f"{field}: {fault['msg']}" if field else str(fault["msg"])
        for field, fault in zip(fields, faults, strict=False)
    ]
    if len(faults) > FAULTS_TOLD:
        told.append(f"and {len(faults) - FAULTS_TOLD} more")
    in_options = all(field.startswith("options.") for field in fields)
    return problem((InvalidOption if in_options else RequestError)("; ".join(told)))


def _field(place: Sequence[Any]) -> str:
    """Where a fault is. Names of unknown fields are the caller's, so they are cut short."""
    return ".".join(str(part)[:FIELD_CHARS] for part in place)


async def _http_error(request: Request, error: Exception) -> Response:
    error = cast(HTTPException, error)
    if error.status_code == HTTPStatus.BAD_REQUEST:  # FastAPI, of bytes that are not even text
        return problem(RequestError("the body is not JSON"))
    code, hint = _HTTP_ERRORS.get(error.status_code, (RequestError.code, RequestError.default_hint))
    detail = f"{request.method} {request.url.path}: {HTTPStatus(error.status_code).phrase}"
    return _answer(error.status_code, code, detail, hint, error.headers)


async def _unexpected(request: Request, error: Exception) -> Response:
    # The server logs the traceback; what it holds is none of the caller's business.
    hint = "This is a fault in Shoal: please report it with the traceback in the API's log."
    return problem(ShoalError(f"an unexpected {type(error).__name__}", hint=hint))


def _answer(
    status: int, code: str, detail: str, hint: str, headers: Mapping[str, str] | None
) -> JSONResponse:
    body = Problem(
        type=f"urn:shoal:problem:{code}",
        title=_title(code),
        status=status,
        detail=_printable(detail[:DETAIL_CHARS]),
        code=code,
        hint=hint,
    )
    # What a request holds is repeated in it: no browser is to take it for a page.
    safe = {"X-Content-Type-Options": "nosniff", **(headers or {})}
    return JSONResponse(body.model_dump(), status, safe, media_type=MEDIA_TYPE)


def _printable(text: str) -> str:
    """JSON may name what UTF-8 cannot write: half of a pair of surrogates."""
    return text.encode(errors="backslashreplace").decode()


def _title(code: str) -> str:
    return code.replace("_", " ").capitalize()


def _example(kind: type[ShoalError]) -> dict[str, Any]:
    return Problem(
        type=f"urn:shoal:problem:{kind.code}",
        title=_title(kind.code),
        status=kind.http_status,
        detail="the cause, in one line",
        code=kind.code,
        hint=kind.default_hint,
    ).model_dump()
