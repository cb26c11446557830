"""``/uploads/resumable``: uploads by tus 1.0, with creation, termination, checksum, expiration."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import AsyncIterator
from email.utils import formatdate
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from api import examples
from api.bucket_uploads import BucketUpload, BucketUploads
from api.deps import SUBMIT, BucketUploadsDep, QueueDep, SettingsDep
from api.examples import shown
from api.middleware.body_limit import UPLOADS
from api.middleware.problems import documented
from api.resumable import ResumableUpload, remove_expired
from api.upload_names import check_name
from shoal.client.schemas import Upload
from shoal.errors import (
    ChecksumMismatch,
    DiskFull,
    QuotaExceeded,
    RequestError,
    ShoalError,
    StorageNotWritable,
    StorageUnavailable,
    TusVersionUnsupported,
    UploadConflict,
    UploadNotFound,
    UploadsFull,
    UploadTooLarge,
)
from shoal.model.token import Token
from shoal.queue.quotas import Quotas
from shoal.settings import Settings
from shoal.storage.files import writing

VERSION = "1.0.0"
EXTENSIONS = "creation,termination,checksum,expiration"
ALGORITHMS = ("sha256", "sha1", "md5")  # sha1 is required; they find damage, not malice
BODY_TYPE = "application/offset+octet-stream"
PATH, ONE = UPLOADS + "resumable", UPLOADS + "resumable/{upload_id}"
HEADER = {"Tus-Resumable": VERSION}

AnyUpload = ResumableUpload | BucketUpload

router = APIRouter(tags=["uploads"])


async def _speaks_tus(request: Request) -> None:
    """
    Raises:
        TusVersionUnsupported
    """
    if request.headers.get("tus-resumable") != VERSION:
        raise TusVersionUnsupported(f"this server speaks tus {VERSION}")


TUS: Any = Depends(_speaks_tus)
WRITE_ERRORS = (StorageNotWritable, DiskFull, StorageUnavailable, TusVersionUnsupported)


async def _upload(
    upload_id: str,
    request: Request,
    settings: SettingsDep,
    queue: QueueDep,
    uploads: BucketUploadsDep,
) -> AnyUpload:
    token: Token = request.scope["token"]
    if uploads:
        return BucketUpload(uploads, token, upload_id)
    return ResumableUpload(settings, token, upload_id)


UploadDep = Annotated[AnyUpload, Depends(_upload)]


@router.options(PATH, status_code=204, dependencies=[SUBMIT])
async def capabilities(settings: SettingsDep) -> Response:
    """What this server can do, as tus describes it."""
    more = {
        "Tus-Version": VERSION,
        "Tus-Extension": EXTENSIONS,
        "Tus-Max-Size": str(settings.max_upload_bytes),
        "Tus-Checksum-Algorithm": ",".join(ALGORITHMS),
    }
    return Response(status_code=204, headers=HEADER | more)


@router.post(
    PATH,
    status_code=201,
    dependencies=[SUBMIT, TUS],
    responses=documented(RequestError, UploadTooLarge, UploadsFull, QuotaExceeded, *WRITE_ERRORS),
)
async def create(
    request: Request, settings: SettingsDep, queue: QueueDep, uploads: BucketUploadsDep
) -> Response:
    """Begin a resumable upload of ``Upload-Length`` bytes.

    ``Upload-Metadata`` has the ``filename`` in base64. ``Location`` is where the bytes go.
    """
    length = _number(request, "upload-length")
    if length > settings.max_upload_bytes:
        raise UploadTooLarge(f"the upload exceeds the limit of {settings.max_upload_bytes} bytes")
    name = _file_name(request.headers.get("upload-metadata", ""))
    token: Token = request.scope["token"]
    quotas = Quotas(queue.redis, queue.name)
    await run_in_threadpool(quotas.upload, token, length)
    try:
        with writing("an upload"):
            upload = await _create(settings, uploads, token, name, length)
    except ShoalError:
        await run_in_threadpool(quotas.upload, token, -length)
        raise
    headers = await _headers(upload)
    return Response(status_code=201, headers=headers | {"Location": f"{PATH}/{upload.id}"})


async def _create(
    settings: Settings, uploads: BucketUploads | None, token: Token, name: str, length: int
) -> AnyUpload:
    if uploads:
        return await uploads.create(token, name, length)
    await run_in_threadpool(remove_expired, settings)
    return await run_in_threadpool(ResumableUpload.create, settings, token, name, length)


@router.head(
    ONE,
    dependencies=[SUBMIT, TUS],
    responses=documented(UploadNotFound, TusVersionUnsupported),
)
async def offset(upload: UploadDep) -> Response:
    """How many bytes are here."""
    state = await upload.run(upload.state)
    told = {"Upload-Offset": str(state.offset), "Upload-Length": str(state.length)}
    return Response(headers=await _headers(upload) | told | {"Cache-Control": "no-store"})


@router.patch(
    ONE,
    status_code=204,
    dependencies=[SUBMIT, TUS],
    responses=documented(
        RequestError, UploadNotFound, UploadConflict, ChecksumMismatch, *WRITE_ERRORS
    ),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {BODY_TYPE: {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def append(upload: UploadDep, request: Request) -> Response:
    """Continue at ``Upload-Offset`` with the bytes of the body, in any number of requests.

    With ``Upload-Checksum`` a request counts as a whole, when its checksum is right; without,
    what has arrived stays.
    """
    if request.headers.get("content-type", "").partition(";")[0] != BODY_TYPE:
        raise RequestError(f"the content type must be {BODY_TYPE}")
    at = _number(request, "upload-offset")
    checksum = _checksum(request.headers.get("upload-checksum", ""))
    with writing("an upload"):
        writer = await upload.run(upload.begin, at)
        at = await _receive(request, upload, writer, at, checksum)
        state = await upload.run(upload.state)
        if at == state.length:
            await upload.run(upload.finish)
    headers = await _headers(upload)
    return Response(status_code=204, headers=headers | {"Upload-Offset": str(at)})


@router.get(
    ONE,
    dependencies=[SUBMIT],
    responses=shown(200, "Complete. Submit its 'uri'.", examples.UPLOAD)
    | documented(UploadNotFound, UploadConflict, StorageNotWritable, DiskFull, StorageUnavailable),
)
async def finished(upload: UploadDep) -> Upload:
    """The stored upload, once all its bytes are here."""
    with writing("an upload"):
        state = await upload.run(upload.finish)
    return Upload(uri=state.uri, bytes=state.length, sha256=state.sha256)


@router.delete(
    ONE,
    status_code=204,
    dependencies=[SUBMIT, TUS],
    responses=documented(UploadNotFound, TusVersionUnsupported),
)
async def terminate(request: Request, upload: UploadDep, queue: QueueDep) -> Response:
    """End an upload and free its room. One that is complete stays stored."""
    state = await upload.run(upload.remove)
    if not state.uri:
        quotas, token = Quotas(queue.redis, queue.name), request.scope["token"]
        await run_in_threadpool(quotas.upload, token, -state.length)
    return Response(status_code=204, headers=HEADER)


class _Checksum:
    """What ``Upload-Checksum`` announces, and what has come so far."""

    def __init__(self, algorithm: str, expected: bytes) -> None:
        self._expected = expected
        self._digest = hashlib.new(algorithm, usedforsecurity=False)

    def add(self, block: bytes) -> None:
        self._digest.update(block)

    def check(self) -> None:
        """
        Raises:
            ChecksumMismatch
        """
        if not hmac.compare_digest(self._digest.digest(), self._expected):
            raise ChecksumMismatch("the bytes of this request were damaged on the way")


async def _receive(
    request: Request, upload: AnyUpload, writer: str, at: int, checksum: _Checksum | None
) -> int:
    """Write the body; returns the offset behind it.

    Raises:
        UploadConflict, ChecksumMismatch
        RequestError: the connection closed; what came before is kept, but for a checksum.
    """
    try:
        async for block in _blocks(request, upload.block_bytes):
            if checksum:
                await run_in_threadpool(checksum.add, block)
            await upload.run(upload.write, writer, at, block, not checksum)
            at += len(block)
    except ClientDisconnect as error:
        raise RequestError("the connection closed during the upload") from error
    if checksum:
        checksum.check()
        await upload.run(upload.write, writer, at, b"", True)
    return at


async def _blocks(request: Request, size: int) -> AsyncIterator[bytes]:
    """The body in blocks of at least so many bytes; the last one also where it breaks."""
    block = bytearray()
    try:
        async for chunk in request.stream():
            block += chunk
            if len(block) >= size:
                yield bytes(block)
                block.clear()
    except ClientDisconnect:
        if block:
            yield bytes(block)
        raise
    if block:
        yield bytes(block)


async def _headers(upload: AnyUpload) -> dict[str, str]:
    expires_at = await upload.run(lambda: upload.expires_at)
    return HEADER | {"Upload-Expires": formatdate(expires_at, usegmt=True)}


def _number(request: Request, name: str) -> int:
    """
    Raises:
        RequestError: no such header, or no number of bytes in it.
    """
    text = request.headers.get(name, "")
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise RequestError(f"the header {name.title()} must have a number of bytes")
    return int(text)


def _file_name(metadata: str) -> str:
    """
    Raises:
        RequestError: no ``filename``, or no plain one.
    """
    pairs = dict(each.strip().partition(" ")[::2] for each in metadata.split(","))
    try:
        name = base64.b64decode(pairs.get("filename", ""), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise RequestError("Upload-Metadata: 'filename' is not UTF-8 in base64") from error
    check_name(name)
    return name


def _checksum(header: str) -> _Checksum | None:
    """
    Raises:
        RequestError: an algorithm that is not offered, or no base64.
    """
    if not header:
        return None
    algorithm, _, text = header.partition(" ")
    if algorithm not in ALGORITHMS:
        raise RequestError(f"Upload-Checksum: the algorithm must be one of {', '.join(ALGORITHMS)}")
    try:
        return _Checksum(algorithm, base64.b64decode(text, validate=True))
    except binascii.Error as error:
        raise RequestError("Upload-Checksum: the checksum is not base64") from error
