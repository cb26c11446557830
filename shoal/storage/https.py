"""``https://``: videos on the web, presigned URLs included. They can be read, and that is all.

Only public addresses and those of SHOAL_SOURCE_ALLOW are reached, and ``http://`` leads to the
latter alone. An object is what ``GET`` gives, as a presigned URL allows no other method; its
version is the ETag, or else the date of its last change, and the length.
"""

from __future__ import annotations

import ipaddress
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple, NoReturn

import httpcore
import httpx

from shoal import egress
from shoal.errors import (
    NotAVideo,
    ShoalError,
    SourceForbidden,
    SourceNotFound,
    StorageForbidden,
    StorageThrottled,
    StorageUnavailable,
    UnsupportedLocation,
)
from shoal.model.source_url import path_of, public_name
from shoal.storage.base import HASTY_S, ObjectInfo, is_hasty
from shoal.storage.buckets import changed
from shoal.storage.files import writing
from shoal.url_policy import VIDEO, UrlPolicy

CONNECT_S, READ_S = 10.0, 60.0
MAX_REDIRECTS = 3
PAUSES_S = (1.0, 2.0, 5.0, 10.0, 20.0)  # after a broken download, as long as no byte is new
REDIRECTS = (301, 302, 303, 307, 308)
_RANGE = re.compile(r"bytes (?:(\d{1,18})-\d{1,18}|\*)/(\d{1,18})")
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}")
LINK_HINT = (
    "The link may have expired, or be meant for others. Submit the video again with a new link."
)


class _Answer(NamedTuple):
    """The object, or a part of it.

    Attributes:
        start: where ``chunks`` begin in the object: 0 of a server that sends all of it whatever
            was asked for.
    """

    info: ObjectInfo
    start: int
    chunks: Iterator[bytes]


class HttpsStorage:
    """Objects at URLs.

    Args:
        allow: hosts by name, and networks, that may be private or use ``http://``.
        resolve: the addresses of a host; the system's resolver if not given.
    """

    def __init__(
        self,
        allow: Iterable[str],
        resolve: egress.Resolve | None = None,
        pauses_s: Sequence[float] = PAUSES_S,
    ) -> None:
        self._policy = UrlPolicy(allow, VIDEO)
        self._resolve = resolve or egress.resolve
        self._pauses_s = pauses_s

    # --- Storage ---------------------------------------------------------------------------------

    def stat(self, uri: str) -> ObjectInfo:
        with self._get(uri, 0, 1) as answer:
            return answer.info

    def key(self, uri: str) -> str:
        return path_of(public_name(uri)).with_suffix("").as_posix()

    def fetch(self, uri: str, version: str, work_dir: Path) -> Path:
        suffix = path_of(public_name(uri)).suffix
        path = work_dir / f"source{suffix if _SUFFIX.fullmatch(suffix) else ''}"
        with writing(str(work_dir)), path.open("wb") as file:
            self._download(uri, version, file)
        return path

    def read(self, uri: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        if length == 0:
            return
        with self._get(uri, start, length) as answer:
            skip, left = start - answer.start, length
            for chunk in answer.chunks:
                piece = chunk[skip:] if left is None else chunk[skip : skip + left]
                skip = max(0, skip - len(chunk))
                if piece:
                    yield piece
                left = None if left is None else left - len(piece)
                if left == 0:
                    return

    def put(self, path: Path, uri: str, content_type: str) -> None:
        _refuse(uri)

    def delete(self, uri: str) -> None:
        _refuse(uri)

    def sweep(self, uri: str) -> None:
        _refuse(uri)

    def entries(self, uri: str) -> Iterator[ObjectInfo]:
        _refuse(uri)

    def list(self, prefix: str, after: str = "") -> Iterator[ObjectInfo]:
        _refuse(prefix)

    # --- downloads -------------------------------------------------------------------------------

    def _download(self, uri: str, version: str, file: BinaryIO) -> None:
        """Write exactly this version; a broken connection continues where it was.

        Raises:
            SourceChanged
            StorageUnavailable: it broke again and again without a new byte.
        """
        failures, furthest = 0, 0
        while True:
            try:
                self._continue(uri, version, file)
                return
            except StorageUnavailable:
                if file.tell() > furthest:
                    furthest, failures = file.tell(), 0
                if failures == len(self._pauses_s):
                    raise
                time.sleep(self._pauses_s[failures])
                failures += 1

    def _continue(self, uri: str, version: str, file: BinaryIO) -> None:
        with self._get(uri, file.tell()) as answer:
            if answer.info.version != version:
                raise changed(answer.info.uri)
            file.seek(answer.start)  # a server without ranges begins anew
            file.truncate()
            for chunk in answer.chunks:
                file.write(chunk)
                if file.tell() > answer.info.size:
                    raise changed(answer.info.uri)
            if file.tell() < answer.info.size:
                raise StorageUnavailable(f"the download broke off: {answer.info.uri}")

    # --- requests --------------------------------------------------------------------------------

    @contextmanager
    def _get(self, uri: str, start: int, length: int | None = None) -> Iterator[_Answer]:
        """The object from ``start``.

        Raises:
            UnsupportedLocation, SourceForbidden: it is not asked for.
            NotAVideo: it is empty.
            SourceNotFound, StorageForbidden, StorageThrottled, StorageUnavailable
        """
        name, url = public_name(uri), self._policy.check(uri)
        end = "" if length is None else str(start + length - 1)
        headers = {"Range": f"bytes={start}-{end}", "Accept-Encoding": "identity"}
        guard = egress.Guard(lambda host, port: self._addresses(url.scheme, host, port))
        try:
            with httpcore.ConnectionPool(ssl_context=egress.tls(), network_backend=guard) as pool:
                for _ in range(MAX_REDIRECTS + 1):
                    with pool.stream(
                        "GET", _target(url), headers=_headers(url, headers), extensions=_timeout()
                    ) as response:
                        answered = httpx.Headers(response.headers)
                        if response.status not in REDIRECTS:
                            info = _info(name, response.status, answered, start)
                            begin = start if response.status == 206 else 0
                            yield _Answer(info, begin, response.iter_stream())
                            return
                        url = self._redirected(name, url, answered.get("location", ""))
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
            words = str(error) or type(error).__name__
            raise StorageUnavailable(f"no response from {name}: {words}") from error
        raise UnsupportedLocation(f"more than {MAX_REDIRECTS} redirects from {name}")

    def _redirected(self, name: str, url: httpx.URL, location: str) -> httpx.URL:
        """
        Raises:
            UnsupportedLocation: it leads to another host, or nowhere.
        """
        try:
            target = url.join(location)
        except httpx.InvalidURL as error:
            raise UnsupportedLocation(f"{name} redirects to an invalid URL") from error
        target = self._policy.check(str(target))
        if (target.scheme, target.netloc) != (url.scheme, url.netloc):
            raise UnsupportedLocation(
                f"{name} redirects to another host, {target.host}",
                hint="Submit the URL that it redirects to.",
            )
        return target

    def _addresses(self, scheme: str, host: str, port: int) -> Sequence[str]:
        """The addresses to connect to, all of them checked."""
        found = self._resolve(host, port)
        for text in found:
            address = ipaddress.ip_address(text.partition("%")[0])
            self._policy.check_address(host, address)
            if scheme == "http" and not self._policy.allows(host, address):
                raise SourceForbidden(
                    f"http:// is not allowed for {host}: anyone on the way could read the link",
                    hint="Use https://, or add the host to SHOAL_SOURCE_ALLOW of API and workers.",
                )
        return found


def _target(url: httpx.URL) -> httpcore.URL:
    return httpcore.URL(
        scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
    )


def _headers(url: httpx.URL, headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    plain = {"User-Agent": "shoal", **headers}
    return [(b"Host", url.netloc), *((k.encode(), v.encode()) for k, v in plain.items())]


def _timeout() -> dict[str, dict[str, float]]:
    connect_s, read_s = (HASTY_S / 2, HASTY_S) if is_hasty() else (CONNECT_S, READ_S)
    return {"timeout": {"connect": connect_s, "read": read_s, "write": read_s, "pool": read_s}}


def _info(name: str, status: int, headers: httpx.Headers, start: int) -> ObjectInfo:
    """What an answer to a request from ``start`` on says of the object.

    Raises:
        ShoalError: it has none, or one whose versions or length cannot be told.
    """
    found = _RANGE.fullmatch(headers.get("content-range", ""))
    if status == 416 and found and found[2] == "0":
        raise NotAVideo(f"the file is empty: {name}")
    if status not in (200, 206):
        raise _named(status, name)
    if status == 206 and (not found or found[1] != str(start)):
        raise StorageUnavailable(f"the server sent another range than it was asked for: {name}")
    length = found[2] if found else headers.get("content-length", "")
    size = int(length) if length.isdecimal() else 0
    mark = headers.get("etag", "").removeprefix("W/").strip('"') or headers.get("last-modified")
    if not mark or not size:
        lacks = "length" if mark else "ETag or Last-Modified"
        raise UnsupportedLocation(
            f"the server gives no {lacks}, so one version cannot be told from another: {name}",
            hint="Download the file, and upload it with 'shoal submit PATH'.",
        )
    return ObjectInfo(
        name, size, f"{mark[:200]}:{size}", content_type=headers.get("content-type", "")[:200]
    )


def _named(status: int, name: str) -> ShoalError:
    if status in (404, 410):
        return SourceNotFound(f"nothing is there (HTTP {status}): {name}")
    if status == 429:
        return StorageThrottled(f"the server is throttling {name}")
    if status >= 500 or status == 408:
        return StorageUnavailable(f"the server failed with HTTP {status}: {name}")
    return StorageForbidden(f"the server refuses {name} (HTTP {status})", hint=LINK_HINT)


def _refuse(uri: str) -> NoReturn:
    raise UnsupportedLocation(
        f"web servers can neither be listed nor written to: {public_name(uri)}",
        hint="Submit each URL by itself; results go to a folder or a bucket.",
    )
