"""``PUT /uploads/{name}``: a video comes in as a stream and is kept under its content's hash."""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from api import examples
from api.deps import SUBMIT, SettingsDep
from api.examples import shown
from api.limits import UPLOADS
from api.problems import documented
from shoal.errors import DiskFull, RequestError, StorageNotWritable, UploadTooLarge
from shoal.settings import Settings
from shoal.storage.files import writing
from shoal.wire import Upload

MAX_NAME_CHARS = 200
MAX_NAME_BYTES = 180  # of the 255 a file system allows: result files add an ending to the name
WRITE_BYTES = 1 << 20
PARTIAL_KEPT_S = 24 * 3600  # longer than any upload takes

_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The file's bytes, as they are.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}

router = APIRouter(tags=["uploads"])


@router.put(
    UPLOADS + "{name:path}",
    status_code=201,
    dependencies=[SUBMIT],
    responses=shown(201, "Stored. Submit its 'uri'.", examples.UPLOAD)
    | documented(RequestError, UploadTooLarge, StorageNotWritable, DiskFull),
    openapi_extra=_BODY,
)
async def upload(name: str, request: Request, settings: SettingsDep) -> Upload:
    """Store a video, or a tar of JPEG or PNG frames.

    The same content under the same name is stored once and answers with the same URI.
    """
    check_name(name)
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > settings.max_upload_bytes:
        raise _too_large(settings.max_upload_bytes)
    partial = _partials(settings) / uuid.uuid4().hex
    try:
        sha256, size = await _receive(request, partial, settings.max_upload_bytes)
        target = settings.uploads_dir / sha256[:16] / name
        with writing(target.name):
            # No await from here on, so no other upload of this process comes in between. The
            # file that is there stays: jobs know it by its time.
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                partial.replace(target)
    except ClientDisconnect as error:
        raise RequestError("the connection ended before the upload did") from error
    finally:
        with suppress(OSError):  # gone, renamed, or never made
            partial.unlink()
    return Upload(uri=target.as_uri(), bytes=size, sha256=sha256)


def check_name(name: str) -> None:
    """
    Raises:
        RequestError: not a plain, printable file name of a sensible length.
    """
    fault = ""
    if not name:
        fault = "is empty"
    elif "/" in name or "\\" in name:
        fault = "holds a path separator"
    elif name.startswith("."):
        fault = "starts with a dot"
    elif not name.isprintable():
        fault = "holds unprintable characters"
    elif len(name) > MAX_NAME_CHARS or len(name.encode()) > MAX_NAME_BYTES:
        fault = f"is longer than {MAX_NAME_BYTES} bytes"
    if fault:
        raise RequestError(
            f"the upload's name {fault}: {name[:60]!r}",
            hint="Give a plain file name, such as PUT /uploads/match.mp4.",
        )


def remove_stale_partials(settings: Settings) -> None:
    """Remove what uploads left behind that a crash of the API cut off."""
    oldest = time.time() - PARTIAL_KEPT_S
    for partial in _partials(settings).glob("*"):
        if partial.stat().st_mtime < oldest:
            partial.unlink(missing_ok=True)


def _partials(settings: Settings) -> Path:
    # On the same file system as the uploads, so that a finished one is only renamed.
    return settings.uploads_dir / ".partial"


async def _receive(request: Request, partial: Path, limit: int) -> tuple[str, int]:
    """Write a body to ``partial``; returns its SHA-256 and its size in bytes."""
    digest, size = hashlib.sha256(), 0
    with writing("an upload"):
        partial.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            async for block in _blocks(request):
                size += len(block)
                if size > limit:
                    raise _too_large(limit)
                await run_in_threadpool(file.write, block)
                await run_in_threadpool(digest.update, block)
    return digest.hexdigest(), size


async def _blocks(request: Request) -> AsyncIterator[bytes]:
    """The body in blocks large enough to be worth a thread."""
    block = bytearray()
    async for chunk in request.stream():
        block += chunk
        if len(block) >= WRITE_BYTES:
            yield bytes(block)
            block.clear()
    yield bytes(block)


def _too_large(limit: int) -> UploadTooLarge:
    return UploadTooLarge(f"the upload is larger than the limit of {limit} bytes")
