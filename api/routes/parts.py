"""``/videos/{id}/parts``: the finished parts of a running video."""

from __future__ import annotations

from collections.abc import Iterable

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from api import examples
from api.deps import QueueDep, SettingsDep, StorageDep
from api.examples import shown
from api.files import FILE, ConditionsDep, send
from api.middleware.problems import documented
from shoal.client.schemas import PartFile, Parts
from shoal.errors import JobNotFound, ResultNotFound, SourceNotFound, StorageUnavailable
from shoal.model.job import Role, State
from shoal.model.outputs import Overlay
from shoal.model.record import Record, TimelineEvent
from shoal.results.layout import part_name, parts_prefix
from shoal.storage import storage_for

KIND = "overlay.mp4"

router = APIRouter(prefix="/videos/{job_id}/parts", tags=["results"])


@router.get(
    "",
    responses=shown(200, "The finished parts.", examples.PARTS) | documented(JobNotFound),
)
def list_parts(job_id: str, queue: QueueDep) -> Parts:
    """List the finished parts of the overlay of a job; empty when it has succeeded."""
    record = queue.records.get(job_id)
    return Parts(items=finished_parts(record, queue.records.timeline(job_id)))


@router.get(
    "/{number}",
    response_class=StreamingResponse,
    responses=FILE | documented(JobNotFound, ResultNotFound, StorageUnavailable),
)
async def read_part(
    job_id: str,
    number: int,
    queue: QueueDep,
    calls: StorageDep,
    settings: SettingsDep,
    conditions: ConditionsDep,
) -> Response:
    """Download a part of the overlay, an MP4 with the timestamps of the whole video."""
    record = await run_in_threadpool(queue.records.get, job_id)
    timeline = await run_in_threadpool(queue.records.timeline, job_id)
    parts = finished_parts(record, timeline)
    part = next((p for p in parts if p.number == number), None)
    if part is None:
        raise ResultNotFound(
            f"the job has no part {number}", hint="GET /videos/{id}/parts lists all parts."
        )
    name = part_name(part.number, part.attempt, KIND)
    uri = parts_prefix(record.spec) + name
    storage = storage_for(uri, settings)
    try:
        file = await calls.run(uri, storage.stat, uri)
        return await send(calls, storage, file, name, conditions)
    except SourceNotFound as error:
        hint = "The results are complete, or the part was replaced. List the parts again."
        raise ResultNotFound(f"the part no longer exists: {uri}", hint=hint) from error


def finished_parts(record: Record, events: Iterable[TimelineEvent]) -> list[PartFile]:
    """The finished parts of a job, from its timeline; empty after they are deleted.

    A resumed attempt replaces the parts after its checkpoint.
    """
    if record.state in (State.SUCCEEDED, State.CANCELLED) or not has_parts(record):
        return []
    if record.spec.segment and record.spec.segment.role is Role.TRACK:
        return []  # it is drawn later
    attempt, parts = 0, dict[int, PartFile]()
    for event in events:
        if event.event == "started":
            attempt = event.number("attempt")
        elif event.event == "resumed":
            parts = {n: part for n, part in parts.items() if n <= event.number("part")}
        elif event.event == "part":
            number = event.number("number")
            parts = {n: part for n, part in parts.items() if n < number}
            parts[number] = PartFile(
                number=number,
                attempt=attempt,
                frames=event.number("frames"),
                url=f"/videos/{record.id}/parts/{number}",
            )
    return [parts[number] for number in sorted(parts)]


def has_parts(record: Record) -> bool:
    """Whether the overlay is drawn while the video is tracked: only then can its parts play."""
    overlays = (each for each in record.spec.options.outputs if isinstance(each, Overlay))
    return any(not each.is_rendered for each in overlays)
