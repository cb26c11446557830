"""Sends files by tus 1.0: an upload that breaks off continues, also in the next run.

Where an upload is at the API is noted in a file below ``$XDG_STATE_HOME/shoal/uploads``, by which
the same file, unchanged, is found again.
"""

from __future__ import annotations

import base64
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

from shoal.client.schemas import Upload
from shoal.client.transport import OnBytes, Transport
from shoal.errors import ApiError, ApiUnreachable

PATH = "/uploads/resumable"
MIN_BYTES = 16 << 20  # smaller files go in one request
CHUNK = 1 << 20
PATIENCE_S = 300.0  # how long an upload waits for a line that is away
PAUSE_S = 2.0
PASSING = (409, 502, 503, 504)  # another request of ours is still at it; a proxy or Redis is away
TUS = {"Tus-Resumable": "1.0.0"}
HINT = "Run the same command again: the upload continues where it stopped."


def send(
    http: Transport, path: Path, name: str, file: IO[bytes], on_bytes: OnBytes | None
) -> Upload:
    """Upload a file, or the rest of it.

    Raises:
        ApiError, ApiUnreachable: the line was away for ``PATIENCE_S``.
        OSError: the file cannot be read.
    """
    status = os.fstat(file.fileno())
    note = _note(f"{http.url}\n{path.resolve()}\n{name}\n{status.st_size}\n{status.st_mtime_ns}")
    location = _known(http, note) or _create(http, note, name, status.st_size)
    stored = _send_rest(http, location, file, status.st_size, on_bytes)
    with suppress(OSError):
        note.unlink(missing_ok=True)
    return stored


def _send_rest(
    http: Transport, location: str, file: IO[bytes], size: int, on_bytes: OnBytes | None
) -> Upload:
    furthest, gives_up_at = -1, float("inf")
    while True:
        try:
            at = _offset(http, location)
            if at > furthest:
                furthest, gives_up_at = at, float("inf")
            if at < size:
                _continue(http, location, file, at, size, on_bytes)
            return http.json(Upload, "GET", location)
        except (ApiUnreachable, ApiError) as error:
            if isinstance(error, ApiError) and error.status not in PASSING:
                raise
            gives_up_at = min(gives_up_at, time.monotonic() + PATIENCE_S)
            if time.monotonic() + PAUSE_S > gives_up_at:
                if isinstance(error, ApiUnreachable):
                    raise ApiUnreachable(str(error), hint=HINT) from error
                raise
            time.sleep(PAUSE_S)


def _known(http: Transport, note: Path) -> str:
    """Where an earlier run began the same upload; empty if none did, or it has expired.

    Raises:
        ApiError, ApiUnreachable
    """
    try:
        location = note.read_text()
    except OSError:
        return ""
    try:
        _offset(http, location)
    except ApiError as error:
        if error.status == 404:
            return ""
        raise
    return location


def _create(http: Transport, note: Path, name: str, size: int) -> str:
    encoded = base64.b64encode(name.encode()).decode()
    headers = {"Upload-Length": str(size), "Upload-Metadata": f"filename {encoded}"}
    location = http.ask("POST", PATH, headers=TUS | headers).headers["Location"]
    with suppress(OSError):  # then only this run can continue it
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(location)
    return location


def _offset(http: Transport, location: str) -> int:
    return int(http.ask("HEAD", location, headers=TUS).headers["Upload-Offset"])


def _continue(
    http: Transport, location: str, file: IO[bytes], at: int, size: int, on_bytes: OnBytes | None
) -> None:
    headers = {
        "Content-Type": "application/offset+octet-stream",
        "Content-Length": str(size - at),
        "Upload-Offset": str(at),
    }
    file.seek(at)
    http.ask("PATCH", location, headers=TUS | headers, content=_rest(file, at, size, on_bytes))


def _rest(file: IO[bytes], at: int, size: int, on_bytes: OnBytes | None) -> Iterator[bytes]:
    while chunk := file.read(CHUNK):
        yield chunk
        at += len(chunk)
        if on_bytes:
            on_bytes(at, size)


def _note(identity: str) -> Path:
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    name = hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return Path(state).expanduser() / "shoal" / "uploads" / name
