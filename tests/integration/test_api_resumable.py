"""Resumable uploads by tus 1.0 over HTTP: they survive anything but their end and expiry."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from pydantic import SecretStr

from api.resumable import remove_expired
from api.upload_space import resumable_dir
from shoal.model.token import Limits, Scope
from shoal.queue.queue import JobQueue
from shoal.queue.tokens import TokenStore
from shoal.queue.uploads import KEPT_S
from shoal.settings import Settings
from tests.running import eventually
from tests.serving import served

CONTENT = os.urandom(9_000_000)
TUS = {"Tus-Resumable": "1.0.0"}
BODY = TUS | {"Content-Type": "application/offset+octet-stream"}


def encoded(text: str | bytes) -> str:
    data = text.encode() if isinstance(text, str) else text
    return base64.b64encode(data).decode()


def create(
    http: httpx.Client, length: int = len(CONTENT), name: str = "match.mp4", **headers: str
) -> httpx.Response:
    metadata = f"filetype {encoded('video/mp4')},filename {encoded(name)}"
    told = TUS | {"Upload-Length": str(length), "Upload-Metadata": metadata} | headers
    return http.post("/uploads/resumable", headers=told)


def patch(http: httpx.Client, path: str, at: int, content: bytes, **headers: str) -> httpx.Response:
    told = BODY | {"Upload-Offset": str(at)} | {k.replace("_", "-"): v for k, v in headers.items()}
    return http.patch(path, content=content, headers=told)


def offset(http: httpx.Client, path: str) -> int:
    answer = http.head(path, headers=TUS)
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    return int(answer.headers["Upload-Offset"])


def is_at(http: httpx.Client, path: str, expected: int) -> bool:
    return offset(http, path) == expected


def send_part(url: str, path: str, at: int, content: bytes, announced: int) -> None:
    """Announce many bytes, send some, and hang up."""
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    with socket.create_connection((parts.hostname, parts.port)) as line:
        head = {"Host": parts.netloc, "Content-Length": announced, "Upload-Offset": at} | BODY
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        line.sendall(f"PATCH {path} HTTP/1.1\r\n{lines}\r\n".encode() + content)


def test_an_upload_survives_two_interruptions(
    http: httpx.Client, api_url: str, settings: Settings
) -> None:
    path = create(http).headers["Location"]
    assert offset(http, path) == 0
    at = 0
    for _ in range(2):
        sent = CONTENT[at : at + 4_300_000 - at // 2]
        send_part(api_url, path, at, sent, len(CONTENT) - at)
        end = at + len(sent)
        eventually(partial(is_at, http, path, end), "what has arrived to be kept")
        at = end
    assert http.get(path).status_code == 409
    answer = patch(http, path, at, CONTENT[at:])
    assert (answer.status_code, answer.headers["Upload-Offset"]) == (204, str(len(CONTENT)))
    assert answer.headers["Tus-Resumable"] == "1.0.0"
    stored = http.get(path).json()
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    target = settings.uploads_dir / sha256[:16] / "match.mp4"
    assert stored == {"uri": target.as_uri(), "bytes": len(CONTENT), "sha256": sha256}
    assert target.read_bytes() == CONTENT
    assert offset(http, path) == len(CONTENT)
    again = http.put("/uploads/match.mp4", content=CONTENT).json()
    assert again["uri"] == stored["uri"]  # either way in is the same video
    answer = http.post("/videos", json={"uri": stored["uri"], "prompts": ["person"]})
    assert answer.status_code == 202


def test_a_connection_that_hangs_blocks_nobody(http: httpx.Client, api_url: str) -> None:
    path = create(http).headers["Location"]
    parts = urlsplit(api_url)
    with socket.create_connection((str(parts.hostname), parts.port or 0)) as line:
        head = {"Host": parts.netloc, "Content-Length": len(CONTENT), "Upload-Offset": 0} | BODY
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        line.sendall(f"PATCH {path} HTTP/1.1\r\n{lines}\r\n".encode() + CONTENT[:4_400_000])
        eventually(lambda: offset(http, path) > 0, "a block to be kept")
        at = offset(http, path)
        assert patch(http, path, at, CONTENT[at:]).status_code == 204
        with suppress(OSError):  # it hangs up, maybe before it has all
            line.sendall(CONTENT[:4_200_000])  # the old one wakes up: its bytes are not taken
        assert line.recv(12) == b"HTTP/1.1 409"
    assert http.get(path).json()["sha256"] == hashlib.sha256(CONTENT).hexdigest()


def test_a_wrong_offset_changes_nothing(http: httpx.Client) -> None:
    path = create(http, 10).headers["Location"]
    assert patch(http, path, 0, b"01234").status_code == 204
    for at in (0, 4, 6, 10):
        answer = patch(http, path, at, b"xxxxx")
        assert (answer.status_code, answer.json()["code"]) == (409, "upload_conflict")
    assert patch(http, path, 5, b"56789x").status_code == 409  # more than was announced
    assert offset(http, path) == 5
    assert patch(http, path, 5, b"56789").status_code == 204
    assert http.get(path).json()["sha256"] == hashlib.sha256(b"0123456789").hexdigest()
    assert patch(http, path, 10, b"x").status_code == 409


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "md5"])
def test_a_checksum_decides_what_is_kept(http: httpx.Client, algorithm: str) -> None:
    path = create(http, 10).headers["Location"]
    good = encoded(hashlib.new(algorithm, b"01234").digest())
    answer = patch(http, path, 0, b"0x234", Upload_Checksum=f"{algorithm} {good}")
    assert (answer.status_code, answer.json()["code"]) == (460, "checksum_mismatch")
    assert offset(http, path) == 0
    answer = patch(http, path, 0, b"01234", Upload_Checksum=f"{algorithm} {good}")
    assert (answer.status_code, offset(http, path)) == (204, 5)
    for wrong in ("crc32 AAAA", f"{algorithm} ?", algorithm):
        answer = patch(http, path, 5, b"56789", Upload_Checksum=wrong)
        assert answer.status_code in (422, 460)
        assert offset(http, path) == 5


def files_in(settings: Settings) -> list[Path]:
    return [path for path in settings.uploads_dir.rglob("*") if path.is_file()]


def test_an_upload_can_be_ended(http: httpx.Client, settings: Settings) -> None:
    path = create(http, 10).headers["Location"]
    patch(http, path, 0, b"01234")
    assert http.delete(path, headers=TUS).status_code == 204
    for answer in (
        http.head(path, headers=TUS),
        patch(http, path, 5, b"56789"),
        http.get(path),
        http.delete(path, headers=TUS),
    ):
        assert answer.status_code == 404
    assert files_in(settings) == []

    path = create(http, 5).headers["Location"]
    patch(http, path, 0, b"01234")
    stored = http.get(path).json()["uri"]
    assert http.delete(path, headers=TUS).status_code == 204
    assert [each.as_uri() for each in files_in(settings)] == [stored]


def test_an_upload_expires_after_its_last_byte(http: httpx.Client, settings: Settings) -> None:
    old, fresh = (create(http, 10).headers["Location"] for _ in range(2))
    for file in resumable_dir(settings).glob(f"{old.rpartition('/')[2]}*"):
        moment = file.stat().st_mtime - KEPT_S - 1
        os.utime(file, (moment, moment))
    assert patch(http, old, 0, b"x").status_code == 404
    remove_expired(settings)
    left = {file.name.partition("-")[0] for file in files_in(settings)}
    assert left == {fresh.rpartition("/")[2]}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Tus-Resumable": "0.2.2"}, 412),
        ({"Upload-Length": ""}, 422),
        ({"Upload-Length": "-1"}, 422),
        ({"Upload-Length": "9" * 19}, 422),
        ({"Upload-Length": str(100 * 1024**3)}, 413),
        ({"Upload-Metadata": ""}, 422),
        ({"Upload-Metadata": "filename ?"}, 422),
        ({"Upload-Metadata": f"filename {'/w=='}"}, 422),
        ({"Upload-Metadata": f"filename {encoded('../a')}"}, 422),
    ],
)
def test_what_cannot_be_an_upload_is_refused(
    http: httpx.Client, settings: Settings, headers: dict[str, str], status: int
) -> None:
    assert create(http, len(CONTENT), "match.mp4", **headers).status_code == status
    assert files_in(settings) == []


def test_the_server_says_what_it_can(http: httpx.Client) -> None:
    told = http.options("/uploads/resumable").headers
    assert told["Tus-Version"] == "1.0.0"
    assert told["Tus-Extension"] == "creation,termination,checksum,expiration"
    assert "sha1" in told["Tus-Checksum-Algorithm"]
    assert int(told["Tus-Max-Size"]) > 0
    path = create(http, 5).headers["Location"]
    assert http.head(path).status_code == 412
    plain = {"Content-Type": "text/plain", "Upload-Offset": "0"} | TUS
    assert http.patch(path, content=b"x", headers=plain).status_code == 422


@pytest.fixture
def limited(settings: Settings, queue: JobQueue) -> Iterator[httpx.Client]:
    changes = {"max_uploads_bytes": 1000, "min_free_bytes": 0, "api_tokens": (SecretStr("x" * 20),)}
    with served(settings.model_copy(update=changes)) as url, httpx.Client(base_url=url) as http:
        yield http


def test_limits_hold_and_tokens_see_their_own(limited: httpx.Client, queue: JobQueue) -> None:
    tokens = TokenStore(queue.redis, queue.name)
    names = {name: tokens.create(name, Scope.SUBMIT)[1] for name in ("alice", "bob")}
    alice, bob = ({"Authorization": f"Bearer {secret}"} for secret in names.values())
    path = create(limited, 400, **alice).headers["Location"]
    answer = create(limited, 200, **alice)  # reserved before a byte is there
    assert (answer.status_code, answer.json()["code"]) == (507, "uploads_full")
    assert limited.put("/uploads/a.mp4", content=bytes(200), headers=alice).status_code == 507
    assert limited.head(path, headers=TUS | bob).status_code == 404
    assert limited.delete(path, headers=TUS | bob).status_code == 404
    assert limited.delete(path, headers=TUS | alice).status_code == 204
    assert create(limited, 500, **alice).status_code == 201


def test_a_resumable_upload_counts_for_the_day_unless_it_is_ended(
    limited: httpx.Client, queue: JobQueue
) -> None:
    limits = Limits(upload_bytes_per_day=300)
    _, secret = TokenStore(queue.redis, queue.name).create("carol", Scope.SUBMIT, limits=limits)
    carol = {"Authorization": f"Bearer {secret}"}
    path = create(limited, 200, **carol).headers["Location"]
    answer = create(limited, 200, **carol)
    assert (answer.status_code, answer.json()["code"]) == (429, "quota_exceeded")
    assert limited.delete(path, headers=TUS | carol).status_code == 204
    path = create(limited, 200, **carol).headers["Location"]
    assert patch(limited, path, 0, bytes(200), **carol).status_code == 204
    assert limited.delete(path, headers=TUS | carol).status_code == 204  # it stays stored
    assert create(limited, 200, **carol).status_code == 429
