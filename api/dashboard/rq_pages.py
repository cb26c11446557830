"""``/rq``: RQ's tables in Redis beside Shoal's own records. Read-only."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import HTMLResponse

from api.dashboard.pages import PageRoute
from api.dashboard.render import page
from api.deps import QueueDep
from shoal.errors import JobNotFound
from shoal.model.ids import JOB_ID, is_job_id
from shoal.model.job import State
from shoal.queue.queue import JobQueue
from shoal.queue.rq_tables import RQTables, Table

PAGE = 50
MAX_START = 10_000_000
REGIONS = ("tiles", "tables", "workers")

# A job's state in Shoal's records, beside the table in which RQ would have it.
RECORDED = {
    Table.QUEUED: State.QUEUED,
    Table.STARTED: State.RUNNING,
    Table.FINISHED: State.SUCCEEDED,
    Table.FAILED: State.FAILED,
    Table.CANCELED: State.CANCELLED,
}

HOLDS = {
    Table.QUEUED: "waiting for a worker, by priority and source",
    Table.TAKEN: "received by a worker, not started yet",
    Table.STARTED: "running, with the end of the lease",
    Table.FINISHED: "always empty: succeeded jobs are only in the records",
    Table.FAILED: "failed within the last seven days",
    Table.CANCELED: "always empty: cancelled jobs are only in the records",
    Table.DEFERRED: "always empty: jobs do not depend on each other",
    Table.SCHEDULED: "always empty: Shoal schedules no RQ jobs",
}
LABELS = {
    "data": "Function and arguments",
    "meta": "Meta",
    "result": "Result",
    "exc_info": "Error",
}

router = APIRouter(prefix="/rq", include_in_schema=False, route_class=PageRoute)


@router.get("")
def overview(request: Request, queue: QueueDep) -> HTMLResponse:
    return page(request, "rq.html", **overview_values(queue))


@router.get("/jobs/{job_id}")
def job(
    request: Request, job_id: Annotated[str, Path(pattern=f"^{JOB_ID}$")], queue: QueueDep
) -> HTMLResponse:
    entry = RQTables(queue.redis, queue.name).job(job_id)
    record = queue.records.find(job_id)
    if entry is None and record is None:
        raise JobNotFound(f"no job has the id {job_id}")
    return page(request, "rq_job.html", job_id=job_id, entry=entry, record=record, labels=LABELS)


@router.get("/{table}")
def table(
    request: Request,
    table: Table,
    queue: QueueDep,
    start: Annotated[int, Query(ge=0, le=MAX_START)] = 0,
) -> HTMLResponse:
    tables = RQTables(queue.redis, queue.name, queue.line.lists())
    entries = tables.page(table, start, PAGE)
    records = queue.records.read_all([entry.job_id for entry in entries or () if entry.job_id])
    return page(
        request,
        "rq_table.html",
        table=table,
        start=start,
        entries=entries,
        count=tables.counts()[table],
        records={record.id: record for record in records},
    )


def overview_values(queue: JobQueue) -> dict[str, Any]:
    """The tables with their lengths, the workers, and what the records say."""
    tables = RQTables(queue.redis, queue.name, queue.line.lists())
    workers = tables.workers()
    return {
        "name": queue.name,
        "records": queue.records.counts(),
        "paused": queue.paused,
        "counts": tables.counts(),
        "recorded": RECORDED,
        "holds": HOLDS,
        "workers": workers,
        "jobs": {job_id for w in workers if is_job_id(job_id := w.fields.get("current_job", ""))},
    }
