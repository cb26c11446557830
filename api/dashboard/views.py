"""The template context of each page."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel, Field, field_validator

from api.dashboard.chart import draw
from api.dashboard.drawing import drawing
from api.routes.parts import finished_parts, has_parts
from api.storage_calls import StorageCalls
from shoal.errors import ShoalError
from shoal.model.filter import Filter
from shoal.model.job import State
from shoal.model.outputs import Overlay
from shoal.model.record import Record, Spent, TimelineEvent, now
from shoal.queue import scaling
from shoal.queue.forecast import place_of
from shoal.queue.queue import JobQueue
from shoal.queue.split import Splits
from shoal.queue.stats import MINUTE_S, Sample
from shoal.queue.workers import list_workers
from shoal.results.layout import ResultSummary, result_name, result_uri, summary_name
from shoal.settings import Settings
from shoal.storage import storage_for

log = logging.getLogger(__name__)

PAGE = 50
LATEST_FAILURES = 5
LATEST_DECISIONS = 5  # of the autoscaler
MAX_SUMMARY_BYTES = 4_000_000  # a larger summary is not shown on the page
MAX_EVENTS = 100
MAX_LANES = 60  # objects shown per prompt and page
RESOLUTION = timedelta(microseconds=1)
BULK_STATES = {
    "retry": (State.FAILED, State.CANCELLED),
    "cancel": (State.QUEUED, State.RUNNING),
    "delete": tuple(State),
}
OVERVIEW_REGIONS = ("tiles", "chart", "workers", "scaling", "failures")
LIST_REGIONS = ("tabs", "rows", "bulk")
VIDEO_REGIONS = (
    "head",
    "progress",
    "segments",
    "outcome",
    "objects",
    "crops",
    "files",
    "attempts",
    "events",
)


class Lanes(BaseModel):
    """Which objects the timeline of a video shows."""

    start: int = Field(0, ge=0, le=10_000_000, description="How many of each prompt to pass over.")
    object: int | None = Field(None, ge=0, description="Only the one with this ID.")

    @field_validator("object", mode="before")
    @classmethod
    def _empty_is_none(cls, value: Any) -> Any:
        return None if value == "" else value


ALL_LANES = Lanes()


def overview(queue: JobQueue, hours: int) -> dict[str, Any]:
    """Queue depth, activity over the last ``hours``, workers and failures."""
    records, at = queue.records, now()
    hour_ago = at - 3600 - MINUTE_S
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
        "last_hour": _last_hour([sample for sample in samples if sample.at >= hour_ago]),
        "chart": draw(samples, hours, at - at % MINUTE_S),  # as new as the newest sample
        "causes": records.indexes.by_cause(),
        "failures": failures,
        "spent": _spent(records.totals.read()),
        "scaling": scaling.read(queue.redis, queue.name, LATEST_DECISIONS),
    }


def _spent(totals: dict[str, float]) -> Spent:
    """Total compute time and cost of all attempts."""
    return Spent(
        seconds=sum(n for name, n in totals.items() if name.startswith("seconds:")),
        cost=sum(n for name, n in totals.items() if name.startswith("cost:")),
        wasted_seconds=totals.get("wasted:seconds", 0.0),
        wasted_cost=totals.get("wasted:cost", 0.0),
    )


def _last_hour(samples: list[Sample]) -> dict[str, int]:
    """Jobs that ended between these samples. A counter that fell was reset with an empty Redis."""
    return {
        name: sum(max(0, getattr(b, name) - getattr(a, name)) for a, b in pairwise(samples))
        for name in ("succeeded", "failed", "frames")
    }


def videos(queue: JobQueue, filters: Filter, cursor: str) -> dict[str, Any]:
    """One page of the list, and the choices of the filter form."""
    page, next_cursor = queue.records.page(filters, limit=PAGE, cursor=cursor)
    indexes = queue.records.indexes
    counts = {state: indexes.count(filters.model_copy(update={"state": state})) for state in State}
    return {
        "filters": filters,
        "to": _last_day(filters),
        "bulk": _bulk(filters, counts),
        "params": filters.model_dump(mode="json", exclude_defaults=True),
        "cursor": cursor,
        "page": page,
        "next_cursor": next_cursor,
        "count": indexes.count(filters),
        "causes": indexes.by_cause(),
        "counts": counts,
    }


def _last_day(filters: Filter) -> str:
    """The last day that ``before`` includes, as the form shows it."""
    return (filters.before - RESOLUTION).date().isoformat() if filters.before else ""


def _bulk(filters: Filter, counts: Mapping[State, int | None]) -> dict[str, int | None]:
    """How many jobs each bulk action applies to; ``None`` where counting takes a walk."""
    found: dict[str, int | None] = {}
    for action, states in BULK_STATES.items():
        each = [counts[state] for state in states if filters.state in (None, state)]
        known = [count for count in each if count is not None]
        found[action] = sum(known) if len(known) == len(each) else None
    return found


def video(
    queue: JobQueue,
    settings: Settings,
    storage: StorageCalls,
    job_id: str,
    shown: Lanes = ALL_LANES,
) -> dict[str, Any]:
    """Everything known about one job.

    Raises:
        JobNotFound
    """
    record = queue.records.get(job_id)
    events = queue.records.timeline(job_id)
    return {
        "record": record,
        "segments": Splits(queue).status(record),
        "player": _player(record, events),
        "eta_s": _eta(record),
        "place": place_of(queue, record),
        "attempts": queue.records.attempts(job_id)[::-1],
        "events": [e for e in reversed(events) if e.event != "progress"][:MAX_EVENTS],
        "is_upload": settings.is_upload(record.spec.uri),
        "tracks": _tracks(record, settings, storage, shown),
        "sheet": _sheet(record),
    }


def _player(record: Record, events: Sequence[TimelineEvent]) -> dict[str, Any]:
    """The overlay or redacted video, or the overlay's finished segments while the job is running.

    ``follows``: what plays before the end ("segments"), at the end ("video"), or never ("").
    """
    made = {each.kind for each in record.spec.options.outputs}
    names = [result_name(record.spec, kind) for kind in ("overlay", "redact") if kind in made]
    follows = "segments" if has_parts(record) else "video" if names else ""
    is_done = record.state == State.SUCCEEDED
    whole = next(filter(None, (_url(record, name) for name in names)), "") if is_done else ""
    parts = [part.url for part in finished_parts(record, events)]
    frames, seconds = (record.summary.get(name, 0) for name in ("frames_processed", "duration_s"))
    return {
        "whole": whole,
        "parts": parts,
        "state": record.state,
        "follows": follows,
        "fps": frames / seconds if seconds else 0,  # of the overlay; 0: not known yet
        "tables": _tables(record) if is_done and "overlay" in made else None,
    }


def _tables(record: Record) -> dict[str, Any] | None:
    """The files that say what is on a frame of the overlay; ``None`` if one is not there."""
    masks, frames, metadata = (
        result_name(record.spec, kind) for kind in ("masks", "frames", "metadata")
    )
    if not {masks, frames, metadata} <= record.results.keys():
        return None
    tables: dict[str, Any] = {
        kind: {"url": _url(record, name), "byteLength": record.results[name]}
        for kind, name in {"masks": masks, "frames": frames}.items()
    }
    overlay = _url(record, result_name(record.spec, "overlay"))
    return tables | {"metadata": _url(record, metadata), "overlay": overlay} | drawing(record)


def _url(record: Record, name: str) -> str:
    """The URL of a result file; empty if there is none."""
    return f"/videos/{record.id}/results/{quote(name, safe='')}" if name in record.results else ""


def _sheet(record: Record) -> str:
    """The URL of the contact sheet of the crops; empty if there is none or no object."""
    found = record.summary.get("objects_detected", 0)
    return _url(record, result_name(record.spec, "crops-sheet")) if found else ""


def _eta(record: Record) -> float | None:
    """Seconds until the last frame at the current rate; ``None`` if not known."""
    progress = record.progress
    if record.state != State.RUNNING or not progress.fps or not progress.frames_expected:
        return None
    return max(0.0, (progress.frames_expected - progress.frames) / progress.fps)


def _tracks(
    record: Record, settings: Settings, storage: StorageCalls, shown: Lanes
) -> dict[str, Any] | None:
    """The tracked objects by prompt; ``None`` if there is no summary or it is too large."""
    name = summary_name(record.spec)
    if not 0 < record.results.get(name, 0) <= MAX_SUMMARY_BYTES:
        return None
    uri = result_uri(record.spec, name)
    try:
        chunks = storage_for(uri, settings).read(uri, length=MAX_SUMMARY_BYTES)
        content = storage.wait(uri, b"".join, chunks)
        tracks = ResultSummary.model_validate(json.loads(content))
    except (ShoalError, ValueError) as error:
        log.warning("cannot read the summary %s: %s", uri, error)
        return None
    groups: list[dict[str, Any]] = []
    begin, end = shown.start, shown.start + MAX_LANES
    for position, prompt in enumerate(record.spec.labels):
        found = [track for track in tracks.tracks if track.prompt == prompt]
        groups.append(
            {
                "prompt": prompt,
                "position": position,
                "lanes": [t for t in found if shown.object in (None, t.object_id)][begin:end],
                "count": len(found),
            }
        )
    duration_s, made = max(tracks.duration_s, 0.001), record.spec.options.outputs
    return {
        "duration_s": duration_s,
        "marks": [(25 * quarter, duration_s * quarter / 4) for quarter in range(5)],
        "groups": groups,
        "by_object": any(isinstance(o, Overlay) and o.colour_by == "object" for o in made),
        "shown": shown,
        "end": end,
        "most": max(group["count"] for group in groups),
    }
