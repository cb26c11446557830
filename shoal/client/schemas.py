"""Requests and responses of the HTTP API, besides the records themselves."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from shoal.model.delivery import Delivery
from shoal.model.filter import Filter
from shoal.model.record import At, AttemptRecord, Depth, Record, TimelineEvent
from shoal.model.share import Level, Priority, Weight
from shoal.model.strict import Strict
from shoal.model.token import NAME, Limits, Scope, Token
from shoal.model.worker import WorkerInfo


class Upload(BaseModel):
    """A stored upload. Submit its ``uri``."""

    uri: str
    bytes: int
    sha256: str


class Page(BaseModel):
    """Jobs, newest first."""

    items: list[Record]
    next_cursor: str = Field(
        description="Pass it as 'cursor' to get the next page; empty on the last page. With a text "
        "filter, a page may have few or no items and still have a next one."
    )


class Checked(BaseModel):
    """The answer to a submission that would be taken."""

    valid: bool = True


class RefinePlan(BaseModel):
    """What a version would be, before it is queued."""

    id: str = Field(description="ID of its job.")
    exists: bool = Field(description="Whether there is such a job already.")
    needs_model: bool = Field(description="Whether frames are tracked again.")
    continues_from_frame: int | None = Field(
        None,
        description="Tracking continues after this frame of the source, from a checkpoint of an "
        "earlier version. Empty: it starts over, or no frame is tracked again.",
    )


class Versions(BaseModel):
    """The versions of a video's results, oldest first."""

    items: list[Record]


class Deliveries(BaseModel):
    """Webhook deliveries, newest first."""

    items: list[Delivery]
    next_cursor: str = Field(description="Pass it as 'cursor' to get the next page.")


class Timeline(BaseModel):
    """The events of a job, oldest first."""

    items: list[TimelineEvent]


class Attempts(BaseModel):
    """The last attempts at a job, oldest first."""

    items: list[AttemptRecord]


class PartFile(BaseModel):
    """A finished segment of the overlay of a running job."""

    number: int = Field(description="Number of the segment, from 1.")
    attempt: int
    frames: int = Field(description="Processed frames up to the end of the segment.")
    url: str = Field(description="Path of the file, relative to the API.")


class Parts(BaseModel):
    """The finished segments; empty when the job has succeeded."""

    items: list[PartFile]


class Bulk(Strict):
    """``POST /videos/bulk``: retry, cancel or delete all jobs that match a filter."""

    action: Literal["retry", "cancel", "delete"] = Field(
        description="'delete' also deletes results, checkpoints and uploads."
    )
    filter: Filter = Filter()
    cursor: str = Field("", description="'next_cursor' of the previous call.")


class PriorityChange(Strict):
    """``POST /videos/{id}/priority``."""

    priority: Priority = Field(
        description="'front' moves the job to the front of the queue; the others to the end of "
        "its source in that priority."
    )


class BulkResult(BaseModel):
    """The result of one call, which processes up to 200 jobs, newest first."""

    changed: int
    skipped: int = Field(description="Jobs in a state that does not allow the action.")
    next_cursor: str = Field(description="Repeat the call with it until it is empty.")


class EngineStatus(BaseModel):
    """An engine, and whether it supports the prompts."""

    name: str
    workers: int = Field(description="Connected workers that run it.")
    code: str = Field(description="Error code if it does not support the prompts; else empty.")
    reason: str
    hint: str
    cannot: dict[str, str] = Field(
        {}, description="Features of jobs and previews that it does not support, with reasons."
    )
    hourly_price: float = Field(
        0, description="Highest price of its workers, US dollars per hour; 0 = not known."
    )


class Engines(BaseModel):
    """All engines, 'auto' first."""

    items: list[EngineStatus]


class ResultFile(BaseModel):
    """A result file of a job."""

    name: str
    bytes: int
    content_type: str
    url: str = Field(description="Path of the file, relative to the API.")


class ResultFiles(BaseModel):
    """The results of a job; empty until it has succeeded."""

    uri: str = Field(description="URI of the results folder.")
    items: list[ResultFile]


class StorageUse(BaseModel):
    """What is stored at one location."""

    where: str
    what: str = Field(description="uploads, results or segments")
    files: int = 0
    bytes: int = 0


class StorageReport(BaseModel):
    """How much is stored where."""

    items: list[StorageUse]
    unreadable: dict[str, str] = Field(
        description="Locations that could not be listed, with the reason."
    )


class QueueStatus(Depth):
    """The queue and its workers."""

    workers: list[WorkerInfo]


class SkippedUpload(BaseModel):
    """An upload that was not processed."""

    at: At
    sender: str
    uri: str
    reason: str
    detail: str = ""


class Skipped(BaseModel):
    """Uploads that were not processed."""

    counts: dict[str, int] = Field(description="Total number by reason.")
    items: list[SkippedUpload] = Field(description="The last 100, newest first.")


class Receipt(BaseModel):
    """The result of an event."""

    queued: int = 0
    known: int = Field(0, description="Uploads that already had a job.")
    skipped: int = Field(0, description="Skipped uploads; GET /events/skipped has the reasons.")
    jobs: list[str] = Field([], description="IDs of queued and known jobs.")


class Found(BaseModel):
    """A video without a job, found by reconciliation."""

    uri: str
    job: str


class SweepPage(BaseModel):
    """One line of the response of ``POST /reconcile``: new videos, and the counts so far."""

    queued: list[Found] = Field(
        [], description="Videos queued since the previous line (in a dry run: found)."
    )
    unreadable: dict[str, str] = Field(
        {}, description="Locations that could not be listed, with the reason."
    )
    objects: int = 0
    matched: int = 0
    missing: int = Field(0, description="Videos without results and without a job.")
    changed: int = Field(
        0,
        description="Videos that became a job before the prompts or options of their rule were "
        "changed. Only 'again' queues them.",
    )
    skipped: dict[str, int] = Field({}, description="Skipped files by reason.")
    complete: bool = Field(False, description="Whether this is the last line.")
    error: str = Field("", description="Why reconciliation was interrupted.")


class Problem(BaseModel):
    """An error as a problem document (RFC 9457, application/problem+json)."""

    type: str = Field(description="'urn:shoal:problem:' followed by the code.")
    title: str
    status: int
    detail: str = Field(description="The cause, in one line.")
    code: str = Field(description="Stable error code for scripts.")
    hint: str = Field(description="What to do about the error.")


class TokenRequest(Strict):
    """``POST /tokens``."""

    name: str = Field(pattern=NAME, description="Name of the token, shown in logs.")
    scope: Scope = Field(
        description="read, submit or admin; each scope includes the previous ones."
    )
    priority: Level = Field(Level.NORMAL, description="Priority of submissions that set none.")
    weight: Weight = Field(1, description="Turns of its single submissions, relative to others.")
    limits: Limits = Limits()


class NewToken(Token, frozen=True):
    """A newly created token."""

    secret: str = Field(
        description="The token to send as 'Authorization: Bearer'. It cannot be retrieved again."
    )


class Tokens(BaseModel):
    """All tokens besides those in SHOAL_API_TOKENS, oldest first."""

    items: list[Token]
