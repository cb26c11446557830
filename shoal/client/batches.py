"""The client's calls for batches: ``client.batches``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Unpack
from urllib.parse import quote

from shoal.client.options import JobOptions, as_json
from shoal.client.schemas import Page
from shoal.client.transport import Transport, plain
from shoal.model.batch import BatchPage, BatchSkip, BatchSkips, BatchStatus
from shoal.model.job import State
from shoal.model.prompts import Exemplar, VisualPrompt
from shoal.model.record import Record
from shoal.model.share import Level

PAGE = 20
VIDEOS_PAGE = 200
POLL_S = 1.0


class BatchCalls:
    """The calls for batches. They raise the errors of ``Client``'s methods."""

    def __init__(self, http: Transport) -> None:
        self._http = http

    def submit(
        self,
        prompts: str | Iterable[str] = (),
        *,
        uris: Iterable[str] = (),
        globs: Iterable[str] = (),
        objects: Iterable[VisualPrompt | Mapping[str, Any]] = (),
        exemplars: Iterable[Exemplar | Mapping[str, Any]] = (),
        name: str = "",
        callback: str = "",
        priority: Level | str | None = None,
        weight: int = 1,
        max_running: int = 0,
        **options: Unpack[JobOptions],
    ) -> BatchStatus:
        """Submit many videos as one batch.

        Args:
            prompts: as in ``Client.submit``, and so are ``objects``, ``exemplars`` and
                ``options``; positions are the same in every video.
            uris: URIs of videos, at most 10,000.
            globs: URI patterns, such as ``gs://bucket/**/*.mp4``, at most 20.
            name: display name.
            callback: webhook URL to notify when each video ends.
            priority: 'high', 'normal' or 'low'; by default that of the token.
            weight: turns of the batch, relative to other sources, 1 to 100.
            max_running: maximum number of its videos that run at once; 0 = unlimited.

        Returns:
            The batch. Its files are listed and queued in the background.

        Raises:
            UnknownOutput, InvalidOutput: ``outputs`` is not valid.
        """
        body = {
            "uris": list(uris),
            "globs": list(globs),
            "prompts": [prompts] if isinstance(prompts, str) else list(prompts),
            "objects": [plain(each) for each in objects],
            "exemplars": [plain(each) for each in exemplars],
            "options": as_json(options),
            "name": name,
            "callback": callback,
            "priority": priority,
            "weight": weight,
            "max_running": max_running,
        }
        return self._http.json(BatchStatus, "POST", "/batches", json=body)

    def get(self, batch_id: str) -> BatchStatus:
        """The status of a batch.

        Raises:
            ApiError: there is no such batch (``batch_not_found``).
        """
        return self._http.json(BatchStatus, "GET", _path(batch_id))

    def list(self, *, limit: int | None = None) -> Iterator[BatchStatus]:
        """Iterate over batches, newest first; at most ``limit``, ``None`` = all."""
        return self._http.paged(BatchPage, "/batches", {}, limit, PAGE)

    def videos(
        self, batch_id: str, *, state: State | str | None = None, limit: int | None = None
    ) -> Iterator[Record]:
        """Iterate over the jobs of a batch, newest first; at most ``limit``, ``None`` = all."""
        query = {"state": str(state)} if state else {}
        return self._http.paged(Page, _path(batch_id, "/videos"), query, limit, VIDEOS_PAGE)

    def skipped(self, batch_id: str) -> Sequence[BatchSkip]:
        """The last 100 skipped files, newest first."""
        return self._http.json(BatchSkips, "GET", _path(batch_id, "/skipped")).items

    def cancel(self, batch_id: str) -> BatchStatus:
        """Cancel all unfinished videos of a batch, in the background."""
        return self._http.json(BatchStatus, "DELETE", _path(batch_id))

    def delete(self, batch_id: str) -> BatchStatus:
        """Delete a batch and its videos with all results, in the background.

        Videos that also belong to another batch are kept.
        """
        return self._http.json(BatchStatus, "DELETE", _path(batch_id), params={"results": True})

    def retry(self, batch_id: str) -> BatchStatus:
        """Requeue the failed videos, and continue a listing that stopped with an error."""
        return self._http.json(BatchStatus, "POST", _path(batch_id, "/retry"))

    def watch(
        self, batch_id: str, poll_s: float = POLL_S, on_round: Callable[[], object] | None = None
    ) -> Iterator[BatchStatus]:
        """Iterate over the status of a batch: now, and on every change, until it has ended.

        Args:
            poll_s: seconds between requests.
            on_round: called after each request.
        """
        last: BatchStatus | None = None
        while not last or not last.is_over:
            status = self._http.patiently(lambda: self.get(batch_id), poll_s)
            if status != last:
                last = status
                yield status
            if not status.is_over:
                if on_round:
                    on_round()
                time.sleep(poll_s)


def _path(batch_id: str, below: str = "") -> str:
    return f"/batches/{quote(batch_id, safe='')}{below}"
