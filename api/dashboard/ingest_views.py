"""What the pages of batches, callbacks, skipped events and rules show."""

from __future__ import annotations

from typing import Any

from api.events.inbox import SkippedLog
from shoal.batches import Batches
from shoal.callbacks import DeliveryState
from shoal.errors import ShoalError
from shoal.indexes import Filter
from shoal.intake import Skip, Upload, judge
from shoal.queue import JobQueue
from shoal.rules import Rules
from shoal.rules_file import RulesFile
from shoal.settings import Settings

PAGE = 30
LATEST = 8
BATCH_REGIONS = ("head", "tiles", "failures", "facts")


def batches(queue: JobQueue, cursor: str) -> dict[str, Any]:
    """One page of the batches, newest first."""
    kept = Batches(queue)
    page, next_cursor = kept.page(limit=PAGE, cursor=cursor)
    shown = [kept.status(batch) for batch in page]
    return {"page": shown, "cursor": cursor, "next_cursor": next_cursor}


def batch(queue: JobQueue, batch_id: str) -> dict[str, Any]:
    """
    Raises:
        BatchNotFound
    """
    kept = Batches(queue)
    status = kept.status(kept.get(batch_id))
    videos, _ = queue.records.page(Filter(batch=batch_id), limit=LATEST)
    return {
        "batch": status,
        "state": status.state.value,
        "skips": kept.skips(batch_id),
        "videos": videos,
    }


def callbacks(
    queue: JobQueue, settings: Settings, state: DeliveryState | None, job: str, cursor: str
) -> dict[str, Any]:
    """One page of deliveries, newest first."""
    page, next_cursor = queue.callbacks.page(state=state, job=job, limit=PAGE, cursor=cursor)
    return {
        "page": page,
        "cursor": cursor,
        "next_cursor": next_cursor,
        "state": state.value if state else "",
        "states": list(DeliveryState),
        "job": job,
        "enabled": bool(settings.callback_secret),
    }


def skipped(queue: JobQueue) -> dict[str, Any]:
    found = SkippedLog(queue.redis, queue.name).read()
    by_count = sorted(found.counts.items(), key=lambda item: -item[1])
    return {"counts": dict(by_count), "items": found.items}


def rules(file: RulesFile, settings: Settings, uri: str) -> dict[str, Any]:
    """The rules in force, and with an address what becomes of an upload there."""
    current = file.current()
    return {
        "path": str(file.path or ""),
        "loaded_at": file.loaded_at,
        "faults": list(file.fault.faults) if file.fault else [],
        "rules": current.items,
        "default_results": current.default_results,
        "uri": uri,
        "verdict": _verdict(uri, current, settings) if uri else None,
        "misses": {rule.name: rule.misses(uri) for rule in current.items} if uri else {},
    }


def _verdict(uri: str, rules: Rules, settings: Settings) -> dict[str, Any]:
    """As the inbox judges an upload of some bytes; nothing is looked up."""
    try:
        found = judge(Upload(uri=uri, version="1", size=1), rules, settings)
    except ShoalError as error:
        return {"rule": "", "reason": error.code, "detail": str(error), "results": ""}
    if isinstance(found, Skip):
        return {"rule": "", "reason": found.reason, "detail": found.detail, "results": ""}
    rule = rules.find(uri)
    assert rule is not None, "a job comes of a rule"
    return {"rule": rule.name, "prompts": found.prompts, "results": found.results}
