"""The client's HTTP: requests to one API, and its answers as models or as errors."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from shoal.errors import ApiError, ApiUnreachable

CHUNK = 1 << 20
LOCAL = re.compile(r"https?://(127\.0\.0\.1|localhost|\[::1\])(:|/|$)")
TIMEOUT = httpx.Timeout(60, connect=5)
PATIENCE_S = 60.0  # how long 'watch' waits for an API or a Redis that went away
RATE_S = 61.0  # how long a request waits that comes after too many others: a minute's rate is over

OnBytes = Callable[[int, int], object]  # bytes so far, bytes in all
Model = TypeVar("Model", bound=BaseModel)


class Transport:
    """Requests by path. Raises ``ApiError`` where the API refuses, ``ApiUnreachable`` where it
    does not answer."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        # A proxy from the environment leads away from an API on this machine.
        self._http = httpx.Client(headers=headers, timeout=TIMEOUT, trust_env=not LOCAL.match(url))

    def close(self) -> None:
        self._http.close()

    def ask(self, method: str, path: str, **request: Any) -> httpx.Response:
        """One request; with too many it is made again when the API says so."""
        deadline = time.monotonic() + RATE_S
        while True:
            with self._unreachable():
                response = self._http.request(method, self.url + path, **request)
            wait_s = response.headers.get("retry-after", "")
            patient = (
                response.status_code == 429 and wait_s.isdecimal() and "content" not in request
            )
            if not patient or time.monotonic() + int(wait_s) > deadline:
                _raise_for_problem(response)
                return response
            time.sleep(int(wait_s))

    def json(self, model: type[Model], method: str, path: str, **request: Any) -> Model:
        response = self.ask(method, path, **request)
        try:
            return model.model_validate_json(response.content)
        except ValidationError as error:
            raise _not_ours(response) from error

    def paged(
        self, model: Any, path: str, query: Mapping[str, str], limit: int | None, size: int
    ) -> Iterator[Any]:
        """The items of pages of ``size``, fetched as they are asked for."""
        cursor, left = "", limit
        while left is None or left > 0:
            wanted = size if left is None else min(size, left)
            params = {**query, "limit": str(wanted), "cursor": cursor}
            page = self.json(model, "GET", path, params=params)
            yield from page.items
            left = None if left is None else left - len(page.items)
            cursor = page.next_cursor
            if not cursor:
                return

    def patiently(self, get: Callable[[], Model], poll_s: float) -> Model:
        """What ``get`` gives, past a restart of the API or of Redis."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return get()
            except (ApiUnreachable, ApiError) as error:
                away = isinstance(error, ApiUnreachable) or error.status in (502, 503, 504)
                if not away or time.monotonic() > deadline:
                    raise
            time.sleep(poll_s)

    def send(
        self, model: type[Model], path: str, file: IO[bytes], on_bytes: OnBytes | None
    ) -> Model:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        return self.json(
            model,
            "PUT",
            path,
            content=_chunks(file, size, on_bytes),
            headers={"Content-Length": str(size)},
        )

    def fetch(self, path: str, file: IO[bytes], on_bytes: OnBytes | None) -> None:
        with self.stream("GET", path) as response:
            size, done = int(response.headers.get("Content-Length", 0)), 0
            for chunk in response.iter_bytes(CHUNK):
                file.write(chunk)
                done += len(chunk)
                if on_bytes:
                    on_bytes(done, size)

    @contextmanager
    def stream(self, method: str, path: str, **request: Any) -> Iterator[httpx.Response]:
        """An answer whose content is read as it comes."""
        with (
            self._unreachable(),
            self._http.stream(method, self.url + path, **request) as response,
        ):
            if response.is_error:
                response.read()
                _raise_for_problem(response)
            yield response

    @contextmanager
    def _unreachable(self) -> Iterator[None]:
        """Name what httpx raises when there is no answer."""
        try:
            yield
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise ApiUnreachable(f"no answer from {self.url}: {error}") from error


def plain(item: BaseModel | Mapping[str, Any]) -> Mapping[str, Any]:
    """A part of a request's body: what was left at its default is the API's to choose."""
    return item.model_dump(exclude_defaults=True) if isinstance(item, BaseModel) else item


def _raise_for_problem(response: httpx.Response) -> None:
    if response.is_success:
        return
    try:
        problem: Mapping[str, Any] = response.json()
        message, code, hint = (str(problem[name]) for name in ("detail", "code", "hint"))
    except (ValueError, LookupError, TypeError) as error:
        raise _not_ours(response) from error
    raise ApiError(message, status=response.status_code, code=code, hint=hint)


def _not_ours(response: httpx.Response) -> ApiError:
    """The answer of a proxy or of another service, or of another version of the API."""
    return ApiError(
        f"not an answer of a Shoal API: HTTP {response.status_code} from {response.url}",
        status=response.status_code,
        code=ApiError.code,
        hint="Check that this is the address of a Shoal API of this version.",
    )


def _chunks(file: IO[bytes], size: int, on_bytes: OnBytes | None) -> Iterator[bytes]:
    done = 0
    while chunk := file.read(CHUNK):
        yield chunk
        done += len(chunk)
        if on_bytes:
            on_bytes(done, size)
