"""The Python client of the API."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Unpack
from urllib.parse import quote

from shoal.client.batches import BatchCalls
from shoal.client.files import FileCalls, job_path
from shoal.client.options import JobOptions, as_json
from shoal.client.previews import PreviewCalls
from shoal.client.refining import RefineCalls
from shoal.client.schemas import (
    Attempts,
    Deliveries,
    Page,
    PartFile,
    Parts,
    QueueStatus,
    Skipped,
    StorageReport,
    SweepPage,
    Timeline,
)
from shoal.client.tokens import TokenCalls
from shoal.client.transport import Transport, plain
from shoal.errors import ApiUnreachable
from shoal.model.delivery import Delivery, DeliveryState
from shoal.model.job import AUTO, State
from shoal.model.prompts import Exemplar, Removal, VisualPrompt
from shoal.model.record import AttemptRecord, PlacedRecord, Record, TimelineEvent
from shoal.model.share import Level, Priority
from shoal.model.worker import WorkerInfo

DEFAULT_URL = "http://127.0.0.1:8000"
PAGE = 200
POLL_S = 0.5


class Client(FileCalls, RefineCalls, TokenCalls):
    """A client of one API. Use it as a context manager, or call ``close``.

    Every method raises ``ApiError`` (with ``status``, and the API's ``remote_code`` and ``hint``)
    if the API returns an error, and ``ApiUnreachable`` if it does not respond. A request that is
    rejected with 429 is repeated for up to a minute, as ``Retry-After`` says.

    Attributes:
        url: base URL of the API.
        batches: the calls for batches.
        previews: the calls for previews.
    """

    def __init__(self, url: str = DEFAULT_URL, token: str = "") -> None:
        self.url = url.rstrip("/")
        self._http = Transport(self.url, token)
        self.batches = BatchCalls(self._http)
        self.previews = PreviewCalls(self._http)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections to the API."""
        self._http.close()

    # --- jobs ------------------------------------------------------------------------------------

    def submit(
        self,
        uri: str,
        prompts: str | Iterable[str] = (),
        *,
        objects: Iterable[VisualPrompt | Mapping[str, Any]] = (),
        remove_objects: Iterable[Removal | Mapping[str, Any]] = (),
        exemplars: Iterable[Exemplar | Mapping[str, Any]] = (),
        callback: str = "",
        priority: Level | str | None = None,
        **options: Unpack[JobOptions],
    ) -> Record:
        """Submit a video.

        Args:
            uri: a ``gs://``, ``s3://`` or ``file://`` URI, or ``Upload.uri``.
            prompts: what to find, as one phrase or several; may be empty if ``objects`` is given.
            objects: visual prompts.
            remove_objects: objects to exclude from the results.
            exemplars: boxes around examples of what to find, or not to find.
            callback: webhook URL to notify when the job ends.
            priority: 'high', 'normal' or 'low'; by default that of the token.
            options: see ``shoal.model.job.Options``. ``sample_fps`` is 'auto' if omitted:
                all frames of a video of up to a minute, 1 per second of a longer one. What that
                takes is in ``progress.forecast`` of the record once a worker has opened it.

        Returns:
            The record of the job. The same video, prompts and options are the same job, so it may
            already be running or finished.

        Raises:
            UnknownOutput, InvalidOutput: ``outputs`` is not valid.
        """
        words = [prompts] if isinstance(prompts, str) else list(prompts)
        body: dict[str, Any] = {
            "uri": uri,
            "prompts": words,
            "objects": [plain(each) for each in objects],
            "remove_objects": [plain(each) for each in remove_objects],
            "exemplars": [plain(each) for each in exemplars],
            "options": {"sample_fps": AUTO} | as_json(options),
            "callback": callback,
        }
        if priority is not None:
            body["priority"] = priority
        return self._http.json(Record, "POST", "/videos", json=body)

    def get(self, job_id: str) -> PlacedRecord:
        """The record of a job, and its place in the line.

        Raises:
            ApiError: there is no such job (``job_not_found``).
        """
        return self._http.json(PlacedRecord, "GET", job_path(job_id))

    def list(
        self, *, state: State | str | None = None, text: str = "", limit: int | None = None
    ) -> Iterator[Record]:
        """Iterate over jobs, newest first; pages are fetched as needed.

        Args:
            state: only jobs in this state.
            text: only jobs with this text in ID, URI or prompts.
            limit: maximum number of jobs; ``None`` = all.
        """
        query = {"state": str(state) if state else None, "text": text or None}
        given = {name: value for name, value in query.items() if value is not None}
        return self._http.paged(Page, "/videos", given, limit, PAGE)

    def cancel(self, job_id: str) -> Record:
        """Cancel a job. A running job stops at its next frame; partial results are deleted.

        Returns:
            The record: 'cancelled', or 'running' with ``cancel_requested``.

        Raises:
            ApiError: there is no such job, or it has ended (``state_conflict``).
        """
        return self._http.json(Record, "DELETE", job_path(job_id))

    def delete(self, job_id: str) -> Record:
        """Delete a job with its results, segments, checkpoints and upload, within seconds.

        A job that waits or runs is cancelled first. A source in a bucket is kept.

        Raises:
            ApiError: there is no such job (``job_not_found``).
        """
        return self._http.json(Record, "DELETE", job_path(job_id), params={"results": True})

    def storage(self) -> StorageReport:
        """How much is stored where. All locations are listed, which may take minutes."""
        return self._http.json(StorageReport, "GET", "/storage", timeout=None)

    def retry(self, job_id: str) -> Record:
        """Requeue a failed or cancelled job. It resumes from its last checkpoint, if there is one.

        Raises:
            ApiError: there is no such job, or its state is another one (``state_conflict``).
        """
        return self._http.json(Record, "POST", job_path(job_id) + "/retry")

    def timeline(self, job_id: str) -> Sequence[TimelineEvent]:
        """The events of a job, oldest first."""
        return self._http.json(Timeline, "GET", job_path(job_id) + "/timeline").items

    def attempts(self, job_id: str) -> Sequence[AttemptRecord]:
        """The last attempts at a job, oldest first."""
        return self._http.json(Attempts, "GET", job_path(job_id) + "/attempts").items

    def parts(self, job_id: str) -> Sequence[PartFile]:
        """The finished overlay segments of a job, in order; empty when it has succeeded."""
        return self._http.json(Parts, "GET", job_path(job_id) + "/parts").items

    def callbacks(
        self, *, state: DeliveryState | None = None, job: str = "", limit: int = 50
    ) -> Sequence[Delivery]:
        """Webhook deliveries, newest first.

        Args:
            state: only deliveries in this state.
            job: only deliveries of the job with this ID.
            limit: maximum number, 1 to 200.
        """
        query = {"state": str(state)} if state else {}
        params = query | {"job": job, "limit": str(limit)}
        return self._http.json(Deliveries, "GET", "/callbacks", params=params).items

    def replay(self, delivery_id: str) -> Delivery:
        """Resend a webhook.

        Raises:
            ApiError: there is no such delivery (``callback_not_found``).
        """
        path = f"/callbacks/{quote(delivery_id, safe='')}/replay"
        return self._http.json(Delivery, "POST", path)

    def prioritise(self, job_id: str, priority: Priority) -> Record:
        """Move a queued job to the front of the queue ('front'), or to another priority.

        Raises:
            ApiError: the job is not queued (``state_conflict``).
        """
        body = {"priority": priority}
        return self._http.json(Record, "POST", job_path(job_id) + "/priority", json=body)

    def queue(self) -> QueueStatus:
        """Depth of the queue, and the connected workers."""
        return self._http.json(QueueStatus, "GET", "/queue")

    def pause(self) -> QueueStatus:
        """Pause the queue: running jobs finish, no new jobs start."""
        return self._http.json(QueueStatus, "POST", "/queue/pause")

    def resume(self) -> QueueStatus:
        """Resume a paused queue."""
        return self._http.json(QueueStatus, "POST", "/queue/resume")

    def skipped(self) -> Skipped:
        """Bucket uploads that were not processed, and why."""
        return self._http.json(Skipped, "GET", "/events/skipped")

    def reconcile(self, *, dry_run: bool = False, again: bool = False) -> Iterator[SweepPage]:
        """Queue all videos that match a rule and have neither a job nor results.

        Args:
            dry_run: report them without queueing.
            again: also those that were queued before their rule was changed.

        Yields:
            The progress after each page of files; ``complete`` is set on the last one.

        Raises:
            ApiUnreachable: the connection ended before the listing was complete. Repeat the call.
        """
        page = SweepPage()
        params = {"dry_run": dry_run, "again": again}
        with self._http.stream("POST", "/reconcile", params=params) as response:
            for line in response.iter_lines():
                page = SweepPage.model_validate_json(line)
                yield page
        if not page.complete:
            raise ApiUnreachable(
                f"reconciliation was interrupted: {page.error or 'connection closed'}"
            )

    def drain(self, worker: str) -> WorkerInfo:
        """Drain a worker: it finishes its current video, then exits.

        Raises:
            ApiError: there is no such worker (``worker_not_found``).
        """
        return self._http.json(WorkerInfo, "POST", f"/workers/{quote(worker, safe='')}/drain")

    def watch(
        self, *job_ids: str, poll_s: float = POLL_S, on_round: Callable[[], object] | None = None
    ) -> Iterator[Record]:
        """Iterate over the records of jobs: now, and on every change, until all have ended.

        An API or Redis that is unreachable for less than a minute is waited for.

        Args:
            poll_s: seconds between requests.
            on_round: called whenever the state of all jobs has been asked for.
        """
        last: dict[str, Record] = {}
        open_ids = list(dict.fromkeys(job_ids))
        while open_ids:
            for job_id in tuple(open_ids):
                get = partial(self._http.json, Record, "GET", job_path(job_id))
                record = self._http.patiently(get, poll_s)
                if record.state.is_final:
                    open_ids.remove(job_id)
                if record != last.get(job_id):
                    last[job_id] = record
                    yield record
            if open_ids:
                if on_round:
                    on_round()
                time.sleep(poll_s)

    def wait(self, job_id: str, poll_s: float = POLL_S) -> Record:
        """Wait until a job has ended; returns its record. Check ``state``: it may have failed."""
        *_, record = self.watch(job_id, poll_s=poll_s)
        return record
