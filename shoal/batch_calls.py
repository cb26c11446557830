"""The client's calls about batches: ``client.batches``."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from shoal.batch_wire import BatchPage, BatchSkip, BatchSkips, BatchStatus
from shoal.jobs import State
from shoal.prompts import VisualPrompt
from shoal.records import Record
from shoal.transport import Transport, plain
from shoal.wire import Page

PAGE = 20
VIDEOS_PAGE = 200
POLL_S = 1.0


class BatchCalls:
    """A part of ``Client``, over the same transport. Raises what its methods raise."""

    def __init__(self, http: Transport) -> None:
        self._http = http

    def submit(
        self,
        prompts: str | Iterable[str] = (),
        *,
        uris: Iterable[str] = (),
        globs: Iterable[str] = (),
        objects: Iterable[VisualPrompt | Mapping[str, Any]] = (),
        name: str = "",
        callback: str = "",
        **options: Any,
    ) -> BatchStatus:
        """Queue many videos: URIs, URIs with wildcards, or both; the rest as of one video."""
        body = {
            "uris": list(uris),
            "globs": list(globs),
            "prompts": [prompts] if isinstance(prompts, str) else list(prompts),
            "objects": [plain(each) for each in objects],
            "options": options,
            "name": name,
            "callback": callback,
        }
        return self._http.json(BatchStatus, "POST", "/batches", json=body)

    def get(self, batch_id: str) -> BatchStatus:
        return self._http.json(BatchStatus, "GET", _path(batch_id))

    def list(self, *, limit: int | None = None) -> Iterator[BatchStatus]:
        """Newest first, fetched as they are asked for; ``limit`` of them or all."""
        return self._http.paged(BatchPage, "/batches", {}, limit, PAGE)

    def videos(
        self, batch_id: str, *, state: State | str | None = None, limit: int | None = None
    ) -> Iterator[Record]:
        """The jobs of a batch, newest first."""
        query = {"state": str(state)} if state else {}
        return self._http.paged(Page, _path(batch_id, "/videos"), query, limit, VIDEOS_PAGE)

    def skipped(self, batch_id: str) -> Sequence[BatchSkip]:
        """The last hundred objects and URIs that led to no job."""
        return self._http.json(BatchSkips, "GET", _path(batch_id, "/skipped")).items

    def cancel(self, batch_id: str) -> BatchStatus:
        return self._http.json(BatchStatus, "DELETE", _path(batch_id))

    def retry(self, batch_id: str) -> BatchStatus:
        """Queue the failed videos again."""
        return self._http.json(BatchStatus, "POST", _path(batch_id, "/retry"))

    def watch(self, batch_id: str, poll_s: float = POLL_S) -> Iterator[BatchStatus]:
        """A batch now and whenever it has changed, until all its videos have ended."""
        last: BatchStatus | None = None
        while not last or not last.is_over:
            status = self._http.patiently(lambda: self.get(batch_id), poll_s)
            if status != last:
                last = status
                yield status
            if not status.is_over:
                time.sleep(poll_s)


def _path(batch_id: str, below: str = "") -> str:
    return f"/batches/{quote(batch_id, safe='')}{below}"
