"""What each page shows, as the values of its templates."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from itertools import pairwise
from typing import Any
from urllib.parse import quote

from api.dashboard.chart import draw
from api.parts import finished_parts
from shoal import scaling
from shoal.errors import ShoalError
from shoal.indexes import Filter
from shoal.jobs import State
from shoal.queue import JobQueue
from shoal.records import Record, Spent, TimelineEvent, now
from shoal.results import ResultSummary, overlay_name, result_name, result_uri, summary_name
from shoal.settings import Settings
from shoal.storage import storage_for
from shoal.totals import MINUTE_S, Sample
from shoal.workers import list_workers

log = logging.getLogger(__name__)

PAGE = 50
LATEST_FAILURES = 5
LATEST_DECISIONS = 5  # of the autoscaler
MAX_TRACKS_BYTES = 4_000_000  # a page that shows more helps nobody
MAX_EVENTS = 100
MAX_LANES = 60  # objects shown of each prompt
OVERVIEW_REGIONS = ("tiles", "chart", "workers", "scaling", "failures")
VIDEO_REGIONS = ("head", "progress", "outcome", "objects", "crops", "files", "attempts", "events")


def overview(queue: JobQueue, hours: int) -> dict[str, Any]:
    """The queue, its last hours, the workers, and what failed."""
    records, at = queue.records, now()
    workers = list_workers(queue.redis, queue.name)
    samples = records.totals.history(since=at - hours * 3600 - 2 * MINUTE_S)
    jobs = {r.id: r for r in records.read_all([w.job for w in workers if w.job])}
    failures, _ = records.page(Filter(state=State.FAILED), limit=LATEST_FAILURES)
    depth = queue.depth()
    return {
        "depth": depth,
        "workers": workers,
        "jobs": jobs,
        "fps": sum(job.progress.fps for job in jobs.values() if job.state == State.RUNNING),
        "last_hour": _last_hour(records.totals.history(since=at - 3600 - MINUTE_S)),
        "chart": draw(samples, hours, at),
        "causes": records.indexes.by_cause(),
        "failures": failures,
        "spent": _spent(records.totals.read()),
        "scaling": scaling.read(queue.redis, queue.name, LATEST_DECISIONS),
    }


def _spent(totals: dict[str, float]) -> Spent:
    """All work there was."""
    return Spent(
        seconds=sum(n for name, n in totals.items() if name.startswith("seconds:")),
        cost=sum(n for name, n in totals.items() if name.startswith("cost:")),
        wasted_seconds=totals.get("wasted:seconds", 0.0),
        wasted_cost=totals.get("wasted:cost", 0.0),
    )


def _last_hour(samples: list[Sample]) -> dict[str, int]:
    """What ended between these samples; a sum that fell began anew, with an empty Redis."""
    return {
        name: sum(max(0, getattr(b, name) - getattr(a, name)) for a, b in pairwise(samples))
        for name in ("succeeded", "failed", "frames")
    }


def videos(queue: JobQueue, wanted: Filter, cursor: str) -> dict[str, Any]:
    """One page of the list, and what the filters offer."""
    page, next_cursor = queue.records.page(wanted, limit=PAGE, cursor=cursor)
    return {
        "wanted": wanted,
        "params": wanted.model_dump(mode="json", exclude_defaults=True),
        "cursor": cursor,
        "page": page,
        "next_cursor": next_cursor,
        "count": queue.records.indexes.count(wanted),
        "causes": queue.records.indexes.by_cause(),
        "counts": queue.records.counts(),
    }


def video(queue: JobQueue, settings: Settings, job_id: str) -> dict[str, Any]:
    """All that is known about one job.

    Raises:
        JobNotFound
    """
    record = queue.records.get(job_id)
    events = queue.records.timeline(job_id)
    return {
        "record": record,
        "player": _player(record, events),
        "eta_s": _eta(record),
        "attempts": queue.records.attempts(job_id)[::-1],
        "events": [e for e in reversed(events) if e.event != "progress"][:MAX_EVENTS],
        "is_upload": settings.is_upload(record.spec.uri),
        "tracks": _tracks(record, settings),
        "sheet": _sheet(record),
    }


def _player(record: Record, events: Sequence[TimelineEvent]) -> dict[str, Any]:
    """What the player needs: the whole overlay, or the parts there are."""
    is_done = record.state == State.SUCCEEDED
    whole = _url(record, overlay_name(record.spec)) if is_done else ""
    parts = [part.url for part in finished_parts(record, events)]
    return {"whole": whole, "parts": parts, "state": record.state}


def _url(record: Record, name: str) -> str:
    """Where a file of the results is served; empty where there is no such file."""
    return f"/videos/{record.id}/results/{quote(name, safe='')}" if name in record.results else ""


def _sheet(record: Record) -> str:
    """The contact sheet of the crops; empty where it lacks or shows nothing."""
    found = record.summary.get("objects_detected", 0)
    return _url(record, result_name(record.spec, "crops-sheet")) if found else ""


def _eta(record: Record) -> float | None:
    """Seconds until the last frame, as fast as so far; ``None`` where nobody can tell."""
    progress = record.progress
    if record.state != State.RUNNING or not progress.fps or not progress.frames_expected:
        return None
    return max(0.0, (progress.frames_expected - progress.frames) / progress.fps)


def _tracks(record: Record, settings: Settings) -> dict[str, Any] | None:
    """The objects by prompt; ``None`` where there is no list of them, or one beyond all sense."""
    name = summary_name(record.spec)
    if not 0 < record.results.get(name, 0) <= MAX_TRACKS_BYTES:
        return None
    uri = result_uri(record.spec, name)
    try:
        content = b"".join(storage_for(uri, settings).read(uri))
        tracks = ResultSummary.model_validate(json.loads(content))
    except (ShoalError, ValueError) as error:
        log.warning("%s cannot be shown: %s", uri, error)
        return None
    groups = []
    for position, prompt in enumerate(record.spec.labels):
        found = [track for track in tracks.tracks if track.prompt == prompt]
        groups.append(
            {
                "prompt": prompt,
                "position": position,
                "lanes": found[:MAX_LANES],
                "more": max(0, len(found) - MAX_LANES),
            }
        )
    return {"duration_s": max(tracks.duration_s, 0.001), "groups": groups}
