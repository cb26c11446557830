"""``/videos/{id}/parts``: what is finished of a video that is still at work."""

from __future__ import annotations

from collections.abc import Iterable

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse

from api import examples
from api.deps import QueueDep, SettingsDep
from api.examples import shown
from api.files import FILE, ConditionsDep, send
from api.problems import documented
from shoal.errors import JobNotFound, ResultNotFound, SourceNotFound, StorageUnavailable
from shoal.jobs import State
from shoal.records import Record, TimelineEvent
from shoal.results import part_name, parts_prefix
from shoal.storage import storage_for
from shoal.wire import PartFile, Parts

KIND = "overlay.mp4"

router = APIRouter(prefix="/videos/{job_id}/parts", tags=["results"])


@router.get(
    "",
    responses=shown(200, "The finished parts.", examples.PARTS) | documented(JobNotFound),
)
def list_parts(job_id: str, queue: QueueDep) -> Parts:
    """The finished parts of the overlay, in order; none once the job has succeeded."""
    record = queue.records.get(job_id)
    return Parts(items=finished_parts(record, queue.records.timeline(job_id)))


@router.get(
    "/{number}",
    response_class=StreamingResponse,
    responses=FILE | documented(JobNotFound, ResultNotFound, StorageUnavailable),
)
def read_part(
    job_id: str, number: int, queue: QueueDep, settings: SettingsDep, conditions: ConditionsDep
) -> Response:
    """One part of the overlay, an mp4 whose times are those of the whole video."""
    record = queue.records.get(job_id)
    parts = finished_parts(record, queue.records.timeline(job_id))
    part = next((p for p in parts if p.number == number), None)
    if part is None:
        raise ResultNotFound(
            f"the job has no part {number}", hint="GET /videos/{id}/parts lists what is finished."
        )
    name = part_name(part.number, part.attempt, KIND)
    uri = parts_prefix(record.spec) + name
    storage = storage_for(uri, settings)
    try:
        return send(storage, storage.stat(uri), name, conditions)
    except SourceNotFound as error:
        hint = "The whole video is there by now, or the part was made anew: look again."
        raise ResultNotFound(f"the part is gone: {uri}", hint=hint) from error


def finished_parts(record: Record, events: Iterable[TimelineEvent]) -> list[PartFile]:
    """The parts that a job has by now, by what its timeline tells; none once they are removed.

    An attempt that goes back leaves the parts after that place behind: they are made anew.
    """
    if record.state in (State.SUCCEEDED, State.CANCELLED):
        return []
    attempt, parts = 0, dict[int, PartFile]()
    for event in events:
        if event.event == "started":
            attempt = event.detail["attempt"]
        elif event.event == "resumed":
            parts = {n: part for n, part in parts.items() if n <= event.detail["part"]}
        elif event.event == "part":
            number = event.detail["number"]
            parts = {n: part for n, part in parts.items() if n < number}
            parts[number] = PartFile(
                number=number,
                attempt=attempt,
                frames=event.detail["frames"],
                url=f"/videos/{record.id}/parts/{number}",
            )
    return [parts[number] for number in sorted(parts)]
