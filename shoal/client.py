"""The Python client of the API."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError

from shoal.batch_calls import BatchCalls
from shoal.callbacks import Delivery, DeliveryState
from shoal.errors import ApiError, ApiUnreachable, SourceNotFound, StorageNotWritable
from shoal.frames import pack
from shoal.jobs import State
from shoal.prompts import Removal, VisualPrompt
from shoal.records import AttemptRecord, Priority, Record, TimelineEvent
from shoal.tokens import Scope, Token
from shoal.wire import (
    Attempts,
    Deliveries,
    NewToken,
    Page,
    PartFile,
    Parts,
    QueueStatus,
    ResultFile,
    ResultFiles,
    Skipped,
    SweepPage,
    Timeline,
    Tokens,
    Upload,
)
from shoal.workers import WorkerInfo

DEFAULT_URL = "http://127.0.0.1:8000"
CHUNK = 1 << 20
PAGE = 200
LOCAL = re.compile(r"https?://(127\.0\.0\.1|localhost|\[::1\])(:|/|$)")
TIMEOUT = httpx.Timeout(60, connect=5)
POLL_S = 0.5
PATIENCE_S = 60.0  # how long 'watch' waits for an API or a Redis that went away
RATE_S = 61.0  # how long a request waits that comes after too many others: a minute's rate is over

OnBytes = Callable[[int, int], object]  # bytes so far, bytes in all
Model = TypeVar("Model", bound=BaseModel)


class Client:
    """Talks to one API. Use it as a context manager, or call ``close``; ``batches`` has the calls
    about many videos at once.

    Every method raises ``ApiError`` (with the API's ``remote_code`` and ``hint``) where the API
    refuses, and ``ApiUnreachable`` where it does not answer.
    """

    def __init__(self, url: str = DEFAULT_URL, token: str = "") -> None:
        self.url = url.rstrip("/")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        # A proxy from the environment leads away from an API on this machine.
        self._http = httpx.Client(
            headers=headers, timeout=TIMEOUT, trust_env=not LOCAL.match(self.url)
        )

        self.batches = BatchCalls(self)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    # --- jobs ------------------------------------------------------------------------------------

    def submit(
        self,
        uri: str,
        prompts: str | Iterable[str] = (),
        *,
        objects: Iterable[VisualPrompt | Mapping[str, Any]] = (),
        remove_objects: Iterable[Removal | Mapping[str, Any]] = (),
        callback: str = "",
        **options: Any,
    ) -> Record:
        """Queue a video with prompts, objects that were pointed at, or both.

        ``options`` are the fields of ``shoal.jobs.Options``. The very same job is not done
        twice: the record may be that of one already done. ``callback`` is a URL that is told
        how it ends.
        """
        words = [prompts] if isinstance(prompts, str) else list(prompts)
        body = {
            "uri": uri,
            "prompts": words,
            "objects": [_plain(each) for each in objects],
            "remove_objects": [_plain(each) for each in remove_objects],
            "options": options,
            "callback": callback,
        }
        return self._json(Record, "POST", "/videos", json=body)

    def get(self, job_id: str) -> Record:
        return self._json(Record, "GET", _job(job_id))

    def list(
        self, *, state: State | str | None = None, text: str = "", limit: int | None = None
    ) -> Iterator[Record]:
        """Jobs, newest first, fetched as they are asked for; ``limit`` of them or all."""
        query = {"state": str(state) if state else None, "text": text or None}
        given = {name: value for name, value in query.items() if value is not None}
        return self._paged(Page, "/videos", given, limit, PAGE)

    def cancel(self, job_id: str) -> Record:
        return self._json(Record, "DELETE", _job(job_id))

    def retry(self, job_id: str) -> Record:
        return self._json(Record, "POST", _job(job_id) + "/retry")

    def timeline(self, job_id: str) -> Sequence[TimelineEvent]:
        return self._json(Timeline, "GET", _job(job_id) + "/timeline").items

    def attempts(self, job_id: str) -> Sequence[AttemptRecord]:
        return self._json(Attempts, "GET", _job(job_id) + "/attempts").items

    def parts(self, job_id: str) -> Sequence[PartFile]:
        """The finished parts of the overlay of a video that is at work."""
        return self._json(Parts, "GET", _job(job_id) + "/parts").items

    def callbacks(
        self, *, state: DeliveryState | None = None, job: str = "", limit: int = 50
    ) -> Sequence[Delivery]:
        """The newest callbacks."""
        query = {"state": str(state)} if state else {}
        params = query | {"job": job, "limit": str(limit)}
        return self._json(Deliveries, "GET", "/callbacks", params=params).items

    def replay(self, delivery_id: str) -> Delivery:
        """Send a callback again."""
        path = f"/callbacks/{quote(delivery_id, safe='')}/replay"
        return self._json(Delivery, "POST", path)

    def prioritise(self, job_id: str, priority: Priority) -> Record:
        """Move a waiting job to the 'front' of the queue, or as 'normal' to its end."""
        body = {"priority": priority}
        return self._json(Record, "POST", _job(job_id) + "/priority", json=body)

    def queue(self) -> QueueStatus:
        return self._json(QueueStatus, "GET", "/queue")

    def pause(self) -> QueueStatus:
        """Have the workers take nothing new; what runs goes on."""
        return self._json(QueueStatus, "POST", "/queue/pause")

    def resume(self) -> QueueStatus:
        return self._json(QueueStatus, "POST", "/queue/resume")

    def skipped(self) -> Skipped:
        """Announced uploads that led to no job."""
        return self._json(Skipped, "GET", "/events/skipped")

    def reconcile(self, *, dry_run: bool = False) -> Iterator[SweepPage]:
        """Queue the videos under the rules that have neither results nor a job.

        Yields a page whenever the API has looked at some more objects.

        Raises:
            ApiUnreachable: also where the sweep ended before its end; it may be repeated.
        """
        page = SweepPage()
        query = {"dry_run": dry_run}
        with (
            _unreachable(self.url),
            self._http.stream("POST", self.url + "/reconcile", params=query) as response,
        ):
            if response.is_error:
                response.read()
                _raise_for_problem(response)
            for line in response.iter_lines():
                page = SweepPage.model_validate_json(line)
                yield page
        if not page.complete:
            raise ApiUnreachable(f"the sweep did not come to its end: {page.error or 'cut off'}")

    def drain(self, worker: str) -> WorkerInfo:
        """Have a worker end when the video that it has is done."""
        return self._json(WorkerInfo, "POST", f"/workers/{quote(worker, safe='')}/drain")

    def watch(self, *job_ids: str, poll_s: float = POLL_S) -> Iterator[Record]:
        """Each job's record now and whenever it has changed, until all are final."""
        last: dict[str, Record] = {}
        open_ids = list(dict.fromkeys(job_ids))
        while open_ids:
            for job_id in tuple(open_ids):
                record = self._patiently(partial(self.get, job_id), poll_s)
                if record.state.is_final:
                    open_ids.remove(job_id)
                if record != last.get(job_id):
                    last[job_id] = record
                    yield record
            if open_ids:
                time.sleep(poll_s)

    def wait(self, job_id: str, poll_s: float = POLL_S) -> Record:
        """The record once the job is final."""
        *_, record = self.watch(job_id, poll_s=poll_s)
        return record

    # --- tokens ----------------------------------------------------------------------------------

    def create_token(self, name: str, scope: Scope | str) -> NewToken:
        """A new API token; its ``secret`` cannot be had again."""
        return self._json(NewToken, "POST", "/tokens", json={"name": name, "scope": scope})

    def tokens(self) -> Sequence[Token]:
        """The API tokens, without their secrets."""
        return self._json(Tokens, "GET", "/tokens").items

    def revoke_token(self, name: str) -> None:
        self._ask("DELETE", f"/tokens/{quote(name, safe='')}")

    # --- files -----------------------------------------------------------------------------------

    def upload(self, path: Path | str, on_bytes: OnBytes | None = None) -> Upload:
        """Send a video, or a folder of JPEG or PNG frames, to the API's storage.

        Raises:
            SourceNotFound: no such file, or it may not be read.
            NoFrames: a folder without frames.
        """
        path = Path(path)
        try:
            if path.is_dir():
                with pack(path) as file:
                    return self._send(file, f"{path.resolve().name}.tar", on_bytes)
            with path.open("rb") as file:
                return self._send(file, path.name, on_bytes)
        except OSError as error:
            hint = "Check the path and your right to read it."
            raise SourceNotFound(f"cannot read {path}: {error.strerror}", hint=hint) from error

    def results(self, job_id: str) -> Sequence[ResultFile]:
        return self._json(ResultFiles, "GET", _job(job_id) + "/results").items

    def download(
        self, job_id: str, name: str, to: Path | str = ".", on_bytes: OnBytes | None = None
    ) -> Path:
        """Save one result in the folder ``to``; it appears there once it is complete.

        Raises:
            StorageNotWritable: the folder or the file cannot be written.
        """
        target = Path(to) / Path(name).name
        partial = target.with_name(f".{target.name}.partial")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                self._fetch(f"{_job(job_id)}/results/{quote(name, safe='')}", file, on_bytes)
            return partial.replace(target)
        except OSError as error:
            hint = "Choose another folder, or free some space."
            raise StorageNotWritable(
                f"cannot write {target}: {error.strerror}", hint=hint
            ) from error
        finally:
            with suppress(OSError):  # gone, renamed, or never made
                partial.unlink()

    # --- HTTP ------------------------------------------------------------------------------------

    def _ask(self, method: str, path: str, **request: Any) -> httpx.Response:
        """One request; with too many it is made again when the API says so."""
        deadline = time.monotonic() + RATE_S
        while True:
            with _unreachable(self.url):
                response = self._http.request(method, self.url + path, **request)
            wait_s = response.headers.get("retry-after", "")
            patient = (
                response.status_code == 429 and wait_s.isdecimal() and "content" not in request
            )
            if not patient or time.monotonic() + int(wait_s) > deadline:
                _raise_for_problem(response)
                return response
            time.sleep(int(wait_s))

    def _json(self, model: type[Model], method: str, path: str, **request: Any) -> Model:
        response = self._ask(method, path, **request)
        try:
            return model.model_validate_json(response.content)
        except ValidationError as error:
            raise _not_ours(response) from error

    def _paged(
        self, model: Any, path: str, query: Mapping[str, str], limit: int | None, size: int
    ) -> Iterator[Any]:
        """The items of pages of ``size``, fetched as they are asked for."""
        cursor, left = "", limit
        while left is None or left > 0:
            wanted = size if left is None else min(size, left)
            params = {**query, "limit": str(wanted), "cursor": cursor}
            page = self._json(model, "GET", path, params=params)
            yield from page.items
            left = None if left is None else left - len(page.items)
            cursor = page.next_cursor
            if not cursor:
                return

    def _patiently(self, get: Callable[[], Model], poll_s: float) -> Model:
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

    def _send(self, file: IO[bytes], name: str, on_bytes: OnBytes | None) -> Upload:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        return self._json(
            Upload,
            "PUT",
            f"/uploads/{quote(name, safe='')}",
            content=_chunks(file, size, on_bytes),
            headers={"Content-Length": str(size)},
        )

    def _fetch(self, path: str, file: IO[bytes], on_bytes: OnBytes | None) -> None:
        with _unreachable(self.url), self._http.stream("GET", self.url + path) as response:
            if response.is_error:
                response.read()
                _raise_for_problem(response)
            size, done = int(response.headers.get("Content-Length", 0)), 0
            for chunk in response.iter_bytes(CHUNK):
                file.write(chunk)
                done += len(chunk)
                if on_bytes:
                    on_bytes(done, size)


@contextmanager
def _unreachable(url: str) -> Iterator[None]:
    """Name what httpx raises when there is no answer."""
    try:
        yield
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise ApiUnreachable(f"no answer from {url}: {error}") from error


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


def _plain(item: BaseModel | Mapping[str, Any]) -> Mapping[str, Any]:
    return item.model_dump(exclude_defaults=True) if isinstance(item, BaseModel) else item


def _job(job_id: str) -> str:
    return f"/videos/{quote(job_id, safe='')}"
