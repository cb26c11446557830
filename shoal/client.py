"""The Python client of the API."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from shoal.batch_calls import BatchCalls
from shoal.callbacks import Delivery, DeliveryState
from shoal.errors import ApiUnreachable, SourceNotFound, StorageNotWritable
from shoal.frames import pack
from shoal.jobs import State
from shoal.outputs import parse_outputs
from shoal.prompts import Removal, VisualPrompt
from shoal.records import AttemptRecord, Priority, Record, TimelineEvent
from shoal.tokens import Scope, Token
from shoal.transport import OnBytes, Transport, plain
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
PAGE = 200
POLL_S = 0.5


class Client:
    """Talks to one API. Use it as a context manager, or call ``close``; ``batches`` has the calls
    about many videos at once.

    Every method raises ``ApiError`` (with the API's ``remote_code`` and ``hint``) where the API
    refuses, and ``ApiUnreachable`` where it does not answer.
    """

    def __init__(self, url: str = DEFAULT_URL, token: str = "") -> None:
        self.url = url.rstrip("/")
        self._http = Transport(self.url, token)
        self.batches = BatchCalls(self._http)

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

        ``options`` are the fields of ``shoal.jobs.Options``, such as ``outputs=["mot"]``. The very
        same job is not done twice: the record may be that of one already done. ``callback`` is a
        URL that is told how it ends.

        Raises:
            UnknownOutput, InvalidOutput: ``outputs`` cannot be what is meant.
        """
        if "outputs" in options:
            options["outputs"] = [plain(each) for each in parse_outputs(options["outputs"])]
        words = [prompts] if isinstance(prompts, str) else list(prompts)
        body = {
            "uri": uri,
            "prompts": words,
            "objects": [plain(each) for each in objects],
            "remove_objects": [plain(each) for each in remove_objects],
            "options": options,
            "callback": callback,
        }
        return self._http.json(Record, "POST", "/videos", json=body)

    def get(self, job_id: str) -> Record:
        return self._http.json(Record, "GET", _job(job_id))

    def list(
        self, *, state: State | str | None = None, text: str = "", limit: int | None = None
    ) -> Iterator[Record]:
        """Jobs, newest first, fetched as they are asked for; ``limit`` of them or all."""
        query = {"state": str(state) if state else None, "text": text or None}
        given = {name: value for name, value in query.items() if value is not None}
        return self._http.paged(Page, "/videos", given, limit, PAGE)

    def cancel(self, job_id: str) -> Record:
        return self._http.json(Record, "DELETE", _job(job_id))

    def retry(self, job_id: str) -> Record:
        return self._http.json(Record, "POST", _job(job_id) + "/retry")

    def timeline(self, job_id: str) -> Sequence[TimelineEvent]:
        return self._http.json(Timeline, "GET", _job(job_id) + "/timeline").items

    def attempts(self, job_id: str) -> Sequence[AttemptRecord]:
        return self._http.json(Attempts, "GET", _job(job_id) + "/attempts").items

    def parts(self, job_id: str) -> Sequence[PartFile]:
        """The finished parts of the overlay of a video that is at work."""
        return self._http.json(Parts, "GET", _job(job_id) + "/parts").items

    def callbacks(
        self, *, state: DeliveryState | None = None, job: str = "", limit: int = 50
    ) -> Sequence[Delivery]:
        """The newest callbacks."""
        query = {"state": str(state)} if state else {}
        params = query | {"job": job, "limit": str(limit)}
        return self._http.json(Deliveries, "GET", "/callbacks", params=params).items

    def replay(self, delivery_id: str) -> Delivery:
        """Send a callback again."""
        path = f"/callbacks/{quote(delivery_id, safe='')}/replay"
        return self._http.json(Delivery, "POST", path)

    def prioritise(self, job_id: str, priority: Priority) -> Record:
        """Move a waiting job to the 'front' of the queue, or as 'normal' to its end."""
        body = {"priority": priority}
        return self._http.json(Record, "POST", _job(job_id) + "/priority", json=body)

    def queue(self) -> QueueStatus:
        return self._http.json(QueueStatus, "GET", "/queue")

    def pause(self) -> QueueStatus:
        """Have the workers take nothing new; what runs goes on."""
        return self._http.json(QueueStatus, "POST", "/queue/pause")

    def resume(self) -> QueueStatus:
        return self._http.json(QueueStatus, "POST", "/queue/resume")

    def skipped(self) -> Skipped:
        """Announced uploads that led to no job."""
        return self._http.json(Skipped, "GET", "/events/skipped")

    def reconcile(self, *, dry_run: bool = False) -> Iterator[SweepPage]:
        """Queue the videos under the rules that have neither results nor a job.

        Yields a page whenever the API has looked at some more objects.

        Raises:
            ApiUnreachable: also where the sweep ended before its end; it may be repeated.
        """
        page = SweepPage()
        with self._http.stream("POST", "/reconcile", params={"dry_run": dry_run}) as response:
            for line in response.iter_lines():
                page = SweepPage.model_validate_json(line)
                yield page
        if not page.complete:
            raise ApiUnreachable(f"the sweep did not come to its end: {page.error or 'cut off'}")

    def drain(self, worker: str) -> WorkerInfo:
        """Have a worker end when the video that it has is done."""
        return self._http.json(WorkerInfo, "POST", f"/workers/{quote(worker, safe='')}/drain")

    def watch(self, *job_ids: str, poll_s: float = POLL_S) -> Iterator[Record]:
        """Each job's record now and whenever it has changed, until all are final."""
        last: dict[str, Record] = {}
        open_ids = list(dict.fromkeys(job_ids))
        while open_ids:
            for job_id in tuple(open_ids):
                record = self._http.patiently(partial(self.get, job_id), poll_s)
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
        return self._http.json(NewToken, "POST", "/tokens", json={"name": name, "scope": scope})

    def tokens(self) -> Sequence[Token]:
        """The API tokens, without their secrets."""
        return self._http.json(Tokens, "GET", "/tokens").items

    def revoke_token(self, name: str) -> None:
        self._http.ask("DELETE", f"/tokens/{quote(name, safe='')}")

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
                    return self._http.send(
                        Upload, _upload(path.resolve().name + ".tar"), file, on_bytes
                    )
            with path.open("rb") as file:
                return self._http.send(Upload, _upload(path.name), file, on_bytes)
        except OSError as error:
            hint = "Check the path and your right to read it."
            raise SourceNotFound(f"cannot read {path}: {error.strerror}", hint=hint) from error

    def results(self, job_id: str) -> Sequence[ResultFile]:
        return self._http.json(ResultFiles, "GET", _job(job_id) + "/results").items

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
                self._http.fetch(f"{_job(job_id)}/results/{quote(name, safe='')}", file, on_bytes)
            return partial.replace(target)
        except OSError as error:
            hint = "Choose another folder, or free some space."
            raise StorageNotWritable(
                f"cannot write {target}: {error.strerror}", hint=hint
            ) from error
        finally:
            with suppress(OSError):  # gone, renamed, or never made
                partial.unlink()


def _job(job_id: str) -> str:
    return f"/videos/{quote(job_id, safe='')}"


def _upload(name: str) -> str:
    return f"/uploads/{quote(name, safe='')}"
