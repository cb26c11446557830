"""The HTTP layer of the client: requests to one API, responses as models or errors."""

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
PATIENCE_S = 60.0  # how long 'watch' waits for an unreachable API or Redis
RATE_S = 61.0  # how long a request waits in all after responses 429: the rate is per minute

OnBytes = Callable[[int, int], object]  # bytes so far, total bytes
Model = TypeVar("Model", bound=BaseModel)


class Transport:
    """Sends requests to one API.

    Every method raises ``ApiError`` if the API returns an error or a response that is not from
    Shoal, and ``ApiUnreachable`` if it does not respond.
    """

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        # A proxy from the environment must not be used for an API on this machine.
        self._http = httpx.Client(headers=headers, timeout=TIMEOUT, trust_env=not LOCAL.match(url))

    def close(self) -> None:
        self._http.close()

    def ask(self, method: str, path: str, **request: Any) -> httpx.Response:
        """Send a request and return the response; repeat it after 429, as ``Retry-After`` says.

        Args:
            path: path and query below the URL of the API.
            request: arguments of ``httpx.Client.request``. ``content`` is not sent twice.
        """
        left_s = RATE_S
        while True:
            with self._unreachable():
                response = self._http.request(method, self.url + path, **request)
            after = response.headers.get("retry-after", "")
            wait_s = max(1, int(after)) if after.isdecimal() else RATE_S + 1
            if response.status_code != 429 or wait_s > left_s or "content" in request:
                _raise_for_problem(response)
                return response
            time.sleep(wait_s)
            left_s -= wait_s

    def json(self, model: type[Model], method: str, path: str, **request: Any) -> Model:
        """Send a request as ``ask`` does, and parse the JSON response as ``model``."""
        response = self.ask(method, path, **request)
        try:
            return model.model_validate_json(response.content)
        except ValidationError as error:
            raise _not_ours(response) from error

    def paged(
        self, model: Any, path: str, query: Mapping[str, str], limit: int | None, size: int
    ) -> Iterator[Any]:
        """Iterate over the items of a paged list.

        Args:
            model: the model of a page, with ``items`` and ``next_cursor``.
            limit: maximum number of items; ``None`` = all.
            size: items per request.
        """
        cursor, left = "", limit
        while left is None or left > 0:
            count = size if left is None else min(size, left)
            params = {**query, "limit": str(count), "cursor": cursor}
            page = self.json(model, "GET", path, params=params)
            yield from page.items
            left = None if left is None else left - len(page.items)
            cursor = page.next_cursor
            if not cursor:
                return

    def patiently(self, get: Callable[[], Model], poll_s: float) -> Model:
        """Call ``get``; repeat it for up to a minute while the API or Redis is unreachable."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return get()
            except (ApiUnreachable, ApiError) as error:
                unreachable = isinstance(error, ApiUnreachable) or error.status in (502, 503, 504)
                if not unreachable or time.monotonic() > deadline:
                    raise
            time.sleep(poll_s)

    def send(
        self, model: type[Model], path: str, file: IO[bytes], on_bytes: OnBytes | None
    ) -> Model:
        """``PUT`` a seekable file, and parse the JSON response as ``model``."""
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
        """``GET`` a path and write the response body to ``file``."""
        with self.stream("GET", path) as response:
            size, done = int(response.headers.get("Content-Length", 0)), 0
            for chunk in response.iter_bytes(CHUNK):
                file.write(chunk)
                done += len(chunk)
                if on_bytes:
                    on_bytes(done, size)

    @contextmanager
    def stream(self, method: str, path: str, **request: Any) -> Iterator[httpx.Response]:
        """A response whose body is read while it arrives."""
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
        """Turn the errors of httpx into ``ApiUnreachable``."""
        try:
            yield
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise ApiUnreachable(
                f"no response from {self.url}: {error}", hint=_unreachable_hint(self.url)
            ) from error


def _unreachable_hint(url: str) -> str | None:
    """The usual one names 'shoal up', which helps with no API elsewhere."""
    if not url.startswith(("http://", "https://")):
        return "The URL of an API begins with http:// or https://; check --url or SHOAL_API_URL."
    return (
        None if LOCAL.match(url) else "Check --url or SHOAL_API_URL, and that the API runs there."
    )


def plain(item: BaseModel | Mapping[str, Any]) -> Mapping[str, Any]:
    """A part of a request body, without fields that have their default value."""
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
    """The error for a response of a proxy, another service, or another version of the API."""
    return ApiError(
        f"not a response of a Shoal API: HTTP {response.status_code} from {response.url}",
        status=response.status_code,
        code=ApiError.code,
        hint="Check that this is the URL of a Shoal API of the same version.",
    )


def _chunks(file: IO[bytes], size: int, on_bytes: OnBytes | None) -> Iterator[bytes]:
    done = 0
    while chunk := file.read(CHUNK):
        yield chunk
        done += len(chunk)
        if on_bytes:
            on_bytes(done, size)
