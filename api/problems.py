"""Every error as a problem document (RFC 9457) with a ``code`` and a ``hint``."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api.examples import Responses
from shoal.errors import (
    InsufficientScope,
    InvalidOption,
    RateLimited,
    RequestError,
    ShoalError,
    Unauthorized,
    UploadTooLarge,
)
from shoal.redact import redact
from shoal.wire import Problem

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 5

log = logging.getLogger(__name__)

# What the framework itself refuses, before any route of ours sees it.
_HTTP_ERRORS = {
    404: ("not_found", "GET / lists what there is."),
    405: ("method_not_allowed", "GET /openapi.json lists the methods of every address."),
    413: (UploadTooLarge.code, "Only PUT /uploads/{name} takes more than 1 MB."),
    416: ("range_not_satisfiable", "'Content-Range' tells the size of the file."),
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
    """Have ``app`` answer every error with a problem document."""
    app.add_exception_handler(ShoalError, _shoal_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unexpected)


def _shoal_error(request: Request, error: Exception) -> Response:
    error = cast(ShoalError, error)
    if error.http_status >= 500:
        log.warning("%s %s: %s [%s]", request.method, request.url.path, error, error.code)
    return problem(error)


def _invalid(request: Request, error: Exception) -> Response:
    faults = cast(RequestValidationError, error).errors()
    # The first part of a location says whether it is in the body, the query or the path.
    fields = [".".join(map(str, fault["loc"][1:])) for fault in faults]
    detail = "; ".join(
        f"{field}: {fault['msg']}" if field else fault["msg"]
        for field, fault in zip(fields, faults, strict=True)
    )
    in_options = all(field.startswith("options.") for field in fields)
    return problem((InvalidOption if in_options else RequestError)(detail))


def _http_error(request: Request, error: Exception) -> Response:
    error = cast(HTTPException, error)
    if error.status_code == HTTPStatus.BAD_REQUEST:  # FastAPI, of bytes that are not even text
        return problem(RequestError("the body is not JSON"))
    code, hint = _HTTP_ERRORS.get(error.status_code, (RequestError.code, RequestError.default_hint))
    detail = f"{request.method} {request.url.path}: {HTTPStatus(error.status_code).phrase}"
    return _answer(error.status_code, code, detail, hint, error.headers)


def _unexpected(request: Request, error: Exception) -> Response:
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
        detail=detail,
        code=code,
        hint=hint,
    )
    return JSONResponse(body.model_dump(), status, headers, media_type=MEDIA_TYPE)


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
