"""The template context of the pages of batches, webhooks, skipped uploads and rules."""

from __future__ import annotations

from typing import Any

from api.background.reconcile import changed_key, count
from api.events.inbox import SkippedLog
from api.storage_calls import StorageCalls
from shoal.client.schemas import SweepPage
from shoal.errors import ShoalError, StorageUnavailable
from shoal.ingest.decide import Skip, UploadedObject, judge
from shoal.ingest.rules import Rules
from shoal.ingest.rules_file import RulesFile
from shoal.model.delivery import DeliveryState
from shoal.model.filter import Filter
from shoal.model.record import text
from shoal.queue.batches import Batches
from shoal.queue.queue import JobQueue
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


def rules(
    file: RulesFile,
    queue: JobQueue,
    settings: Settings,
    uri: str,
    counting: StorageCalls | None = None,
) -> dict[str, Any]:
    """The active rules, and with a URI whether an upload there would be processed.

    Args:
        counting: count also what the next sweep would queue, by these.
    """
    current = file.current()
    counted, fault = _counted(current, queue, settings, counting) if counting else (None, "")
    return {
        "path": str(file.path or ""),
        "loaded_at": file.loaded_at,
        "faults": list(file.fault.faults) if file.fault else [],
        "rules": current.items,
        "default_results": current.default_results,
        "uri": uri,
        "verdict": _verdict(uri, current, settings) if uri else None,
        "counted": counted,
        "count_fault": fault,
        "changed": counted.changed if counted else _changed(queue),
        "misses": {rule.name: rule.misses(uri) for rule in current.items} if uri else {},
    }


def _counted(
    rules: Rules, queue: JobQueue, settings: Settings, storage: StorageCalls
) -> tuple[SweepPage | None, str]:
    """The count, or why there is none."""
    try:
        return storage.wait("", count, queue, rules, settings), ""
    except StorageUnavailable:
        return None, "The storage does not answer in time. Try again later."


def _changed(queue: JobQueue) -> int:
    """How many uploads the last sweep left to ``shoal reconcile --again``."""
    value = text(queue.redis.get(changed_key(queue)) or "")
    return int(value) if value.isascii() and value.isdecimal() and len(value) < 16 else 0


def _verdict(uri: str, rules: Rules, settings: Settings) -> dict[str, Any]:
    """What ``judge`` decides for an upload of this URI; the storage is not read."""
    try:
        found = judge(UploadedObject(uri=uri, version="1", size=1), rules, settings)
    except ShoalError as error:
        return {"rule": "", "reason": error.code, "detail": str(error), "results": ""}
    if isinstance(found, Skip):
        return {"rule": "", "reason": found.reason, "detail": found.detail, "results": ""}
    rule = rules.find(uri)
    assert rule is not None, "judge returns a job only for a matching rule"
    return {"rule": rule.name, "prompts": found.prompts, "results": found.results}
