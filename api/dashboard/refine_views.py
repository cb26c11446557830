"""What the page of a video shows of its versions."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from shoal import engines
from shoal.formatting import counted, utc
from shoal.ingest.checkpoints import kept_until
from shoal.model.job import Direction, JobSpec, State
from shoal.model.outputs import Redact
from shoal.model.prompts import object_ids
from shoal.model.record import Record, now
from shoal.queue.queue import JobQueue
from shoal.queue.versions import versions_of
from shoal.results.layout import overlay_name, summary_name
from shoal.settings import Settings


def refine(queue: JobQueue, settings: Settings, record: Record) -> dict[str, Any]:
    """All versions of a video's results, and what can be changed in this one."""
    return {
        "versions": [
            {"record": each, "made_by": _made_by(each.spec), "overlay": _overlay(each)}
            for each in versions_of(queue.records, record)
        ],
        "edit": edit(record, settings),
    }


def edit(record: Record, settings: Settings) -> dict[str, Any]:
    """What ``static/refine.js`` needs to know; empty if the job redacts: it cannot be edited.

    ``cannot``: what of points and ``object_id`` is not possible, with the reason. ``marked``: label
    and name of the objects of visual prompts, by ID. ``anew``: why every correction starts over.
    """
    spec, until = record.spec, kept_until(record, settings)
    if any(isinstance(each, Redact) for each in spec.options.outputs):
        return {}
    anew = ""
    if spec.options.direction is not Direction.FORWARD:
        anew = "the video was not tracked forward alone"
    elif until <= now():
        anew = "no checkpoints are kept"
    cannot = _cannot(record)
    kept = f"Checkpoints are kept until {utc(until)}."
    return {
        "job": record.id,
        "isDone": record.state == State.SUCCEEDED,
        "summary": _url(record, summary_name(spec)),
        "cannot": cannot,
        "marked": {
            number: {"label": label, "object": name}
            for (label, name), number in object_ids(spec.objects).items()
        },
        "anew": anew,
        "checkpoints": ""
        if cannot
        else f"A correction starts over from the first frame: {anew}."
        if anew
        else f"A correction continues from the last checkpoint before it. {kept}",
    }


def _cannot(record: Record) -> dict[str, str]:
    spec, engine = record.spec, str(record.summary.get("engine", ""))
    if spec.is_edited:
        why = "this version was edited. Correct the one that it was made from, then edit that."
        return {"points": why}
    if not _overlay(record):
        return {"points": "there is no overlay to point at."}
    limits = engines.limits(engine) if engine in engines.names() else {}
    return {
        name: f"the engine {engine} cannot be corrected: {limits[name]}."
        for name in ("points", "object_id")
        if name in limits
    }


def _overlay(record: Record) -> str:
    name = overlay_name(record.spec)
    return _url(record, name) if name in record.results else ""


def _url(record: Record, name: str) -> str:
    return f"/videos/{record.id}/results/{quote(name, safe='')}"


def _made_by(spec: JobSpec) -> str:
    """How a version came about, in a few words."""
    if not spec.base:
        return "first version"
    if not spec.edits:
        return "corrected"
    edits = spec.edits
    done = {
        "removed": len(edits.remove),
        "merged": sum(map(len, edits.merge)),
        "split": len(edits.split),
        "renamed": len(edits.relabel),
    }
    return ", ".join(f"{counted(n, 'object')} {how}" for how, n in done.items() if n)
