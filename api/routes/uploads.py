"""``PUT /uploads/{name}``: stores a video under the hash of its content.

On disk, or, with results in a bucket, there.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, BinaryIO

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from api import examples
from api.bucket_uploads import BucketUploads
from api.deps import SUBMIT, BucketUploadsDep, QueueDep, SettingsDep
from api.examples import shown
from api.middleware.body_limit import UPLOADS
from api.middleware.problems import documented
from api.upload_names import check_name
from api.upload_space import UploadSpace, partials_dir
from shoal.client.schemas import Upload
from shoal.errors import (
    DiskFull,
    QuotaExceeded,
    RequestError,
    StorageNotWritable,
    StorageUnavailable,
    UploadNotFound,
    UploadsFull,
    UploadTooLarge,
)
from shoal.model.token import Token
from shoal.queue.quotas import Quotas
from shoal.settings import Settings
from shoal.storage.files import writing

WRITE_BYTES = 1 << 20
STEP_BYTES = 64 << 20  # reserved at a time for an upload of unknown size
PARTIAL_KEPT_S = 24 * 3600  # longer than any upload takes

_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The bytes of the file.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}

router = APIRouter(tags=["uploads"])


@router.put(
    UPLOADS + "{name:path}",
    status_code=201,
    dependencies=[SUBMIT],
    responses=shown(201, "Stored. Submit its 'uri'.", examples.UPLOAD)
    | documented(
        RequestError,
        UploadTooLarge,
        StorageNotWritable,
        DiskFull,
        UploadsFull,
        QuotaExceeded,
        StorageUnavailable,
    ),
    openapi_extra=_BODY,
)
async def upload(
    name: str, request: Request, settings: SettingsDep, queue: QueueDep, uploads: BucketUploadsDep
) -> Upload:
    """Upload a video, or a TAR of JPEG, PNG or WebP frames.

    The same content with the same name is stored once and returns the same URI.
    """
    check_name(name)
    announced, limit = _announced(request), settings.max_upload_bytes
    if announced > limit:
        raise _too_large(limit)
    token: Token = request.scope["token"]
    quotas = Quotas(queue.redis, queue.name)
    await run_in_threadpool(quotas.upload, token, announced)
    stored = 0
    try:
        if uploads:
            found = await _to_bucket(request, uploads, name, limit)
        else:
            found = await _to_disk(request, settings, name, limit)
        await run_in_threadpool(quotas.upload, token, found.bytes - announced)
        announced = stored = found.bytes
    except ClientDisconnect as error:
        raise RequestError("the connection closed during the upload") from error
    finally:
        await run_in_threadpool(quotas.upload, token, stored - announced)
    return found


async def _to_disk(request: Request, settings: Settings, name: str, limit: int) -> Upload:
    announced = _announced(request)
    space = UploadSpace(settings, request.scope["token"])
    try:
        with writing("an upload"), await run_in_threadpool(space.open) as file:
            await run_in_threadpool(space.reserve, announced, announced)
            sha256, size = await _receive(request, file, space, limit)
            target = settings.uploads_dir / sha256[:16] / name
            await run_in_threadpool(space.keep, target)
    finally:
        with suppress(OSError):  # already renamed, or never created
            space.partial.unlink()
    return Upload(uri=target.as_uri(), bytes=size, sha256=sha256)


async def _to_bucket(request: Request, uploads: BucketUploads, name: str, limit: int) -> Upload:
    """As a resumable upload that nobody can resume."""
    length = _announced(request)
    token: Token = request.scope["token"]
    upload = await uploads.create(token, name, length, kept_s=PARTIAL_KEPT_S)
    upload.finish_s = PARTIAL_KEPT_S
    try:
        writer, size = await upload.run(upload.begin, 0), 0
        async for block in _blocks(request, upload.block_bytes):
            at, size = size, size + len(block)
            if size > limit:
                raise _too_large(limit)
            if size > length:
                length = size
                await upload.run(upload.grow, length)
            await upload.run(upload.write, writer, at, block, True)
        state = await upload.run(upload.finish)
    finally:
        with suppress(StorageUnavailable, UploadNotFound):  # the retention thread does it later
            await upload.run(upload.remove)
    return Upload(uri=state.uri, bytes=size, sha256=state.sha256)


def remove_stale_partials(settings: Settings) -> None:
    """Delete partial files of uploads that were interrupted by a crash of the API."""
    oldest = time.time() - PARTIAL_KEPT_S
    for partial in partials_dir(settings).glob("*"):
        if partial.stat().st_mtime < oldest:
            partial.unlink(missing_ok=True)


async def _receive(
    request: Request, file: BinaryIO, space: UploadSpace, limit: int
) -> tuple[str, int]:
    """Write a body to ``file``; returns its SHA-256 and its size in bytes.

    Raises:
        UploadTooLarge: it is larger than ``limit``.
        UploadsFull: its size was not announced, and there is no room for the rest of it.
    """
    digest, size = hashlib.sha256(), 0
    reserved = _announced(request)
    async for block in _blocks(request, WRITE_BYTES):
        size += len(block)
        if size > limit:
            raise _too_large(limit)
        if size > reserved:
            reserved = await run_in_threadpool(space.reserve, size, size + STEP_BYTES)
        await run_in_threadpool(file.write, block)
        await run_in_threadpool(digest.update, block)
    file.truncate(size)  # also writes what is still buffered
    return digest.hexdigest(), size


def _announced(request: Request) -> int:
    """The size in bytes declared by the request; 0 if it declares none."""
    length = request.headers.get("content-length", "")
    return int(length) if length.isdecimal() else 0


async def _blocks(request: Request, size: int) -> AsyncIterator[bytes]:
    """The body in blocks of at least so many bytes, but for the last one."""
    block = bytearray()
    async for chunk in request.stream():
        block += chunk
        if len(block) >= size:
            yield bytes(block)
            block.clear()
    yield bytes(block)


def _too_large(limit: int) -> UploadTooLarge:
    return UploadTooLarge(f"the upload exceeds the limit of {limit} bytes")
