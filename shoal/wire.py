"""What goes over HTTP between the API and its clients, beside the records themselves."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from shoal.callbacks import Delivery
from shoal.indexes import Filter
from shoal.jobs import Options
from shoal.prompts import MAX_REMOVALS, MAX_VISUAL_PROMPTS, Removal, VisualPrompt
from shoal.records import AttemptRecord, Depth, Priority, Record, TimelineEvent
from shoal.tokens import NAME, Scope, Token
from shoal.workers import WorkerInfo


class Submission(BaseModel):
    """``POST /videos``."""

    model_config = ConfigDict(extra="forbid")

    uri: str = Field(
        min_length=1,
        max_length=4096,
        description="The video, or with a / at its end a folder of JPEG or PNG frames.",
    )
    prompts: list[str] = Field(
        [], description="What to find, in words; may be empty where there are objects."
    )
    objects: list[VisualPrompt] = Field(
        [],
        max_length=MAX_VISUAL_PROMPTS,
        description="What to follow: where it is on one frame, and corrections on later ones.",
    )
    remove_objects: list[Removal] = Field(
        [], max_length=MAX_REMOVALS, description="What to leave out of the results, by id."
    )
    options: Options = Field(default_factory=Options)
    callback: str = Field(
        "",
        max_length=2000,
        description="A URL that is told how the job ends. No part of what the job is.",
    )


class Upload(BaseModel):
    """A stored upload: ``uri`` is what to submit."""

    uri: str
    bytes: int
    sha256: str


class Page(BaseModel):
    """Jobs, newest first."""

    items: list[Record]
    next_cursor: str = Field(
        description="Give it as 'cursor' for the next page; empty on the last one. With a text "
        "filter a page may come out short, even empty, and still have a next one."
    )


class Deliveries(BaseModel):
    """Callbacks, newest first."""

    items: list[Delivery]
    next_cursor: str = Field(description="Give it as 'cursor' for the next page.")


class Timeline(BaseModel):
    """What happened to a job, oldest first."""

    items: list[TimelineEvent]


class Attempts(BaseModel):
    """The last attempts at a job, oldest first."""

    items: list[AttemptRecord]


class PartFile(BaseModel):
    """A finished piece of the overlay of a video that is still at work."""

    number: int = Field(description="From 1, in the order of the work.")
    attempt: int
    frames: int = Field(description="Written frames up to its end.")
    url: str = Field(description="Where to get it, relative to the API.")


class Parts(BaseModel):
    """The finished parts; none once the results are there."""

    items: list[PartFile]


class Bulk(BaseModel):
    """``POST /videos/bulk``: retry or cancel the jobs that a filter lets through."""

    model_config = ConfigDict(extra="forbid")

    action: Literal["retry", "cancel"]
    filter: Filter = Filter()
    cursor: str = Field("", description="'next_cursor' of the call before, to go on.")


class PriorityChange(BaseModel):
    """``POST /videos/{id}/priority``."""

    model_config = ConfigDict(extra="forbid")

    priority: Priority = Field(description="To the front of the queue, or to its end.")


class BulkResult(BaseModel):
    """What one call did: it looks at 200 jobs, newest first."""

    changed: int
    skipped: int = Field(description="In a state in which it cannot be done.")
    next_cursor: str = Field(description="Call again with it until it is empty.")


class EngineStatus(BaseModel):
    """An engine, and whether it can answer the prompts."""

    name: str
    workers: int = Field(description="Workers alive that run it.")
    code: str = Field(description="Why it cannot answer them, as an error's code; empty: it can.")
    reason: str
    hint: str


class Engines(BaseModel):
    """The engines there are, 'auto' first."""

    items: list[EngineStatus]


class ResultFile(BaseModel):
    """One file of a job's results."""

    name: str
    bytes: int
    content_type: str
    url: str = Field(description="Where to get it, relative to the API.")


class ResultFiles(BaseModel):
    """A job's results; empty until it has succeeded."""

    uri: str = Field(description="The folder they lie in.")
    items: list[ResultFile]


class QueueStatus(Depth):
    """The queue and who works on it."""

    workers: list[WorkerInfo]


class SkippedUpload(BaseModel):
    """An announced upload that led to no job."""

    at: float
    sender: str
    uri: str
    reason: str
    detail: str = ""


class Skipped(BaseModel):
    """Why uploads led to no job."""

    counts: dict[str, int] = Field(description="How many ever, by reason.")
    items: list[SkippedUpload] = Field(description="The last hundred, newest first.")


class Receipt(BaseModel):
    """What became of an event's uploads."""

    queued: int = 0
    known: int = Field(0, description="Their job was there already.")
    skipped: int = Field(0, description="GET /events/skipped says why.")
    jobs: list[str] = Field([], description="Ids, of the known ones too.")


class Found(BaseModel):
    """A video without a job that a sweep has come upon."""

    uri: str
    job: str


class SweepPage(BaseModel):
    """One line of a sweep's answer: what is new, and the counts so far."""

    queued: list[Found] = Field([], description="New on this page; not queued in a dry run.")
    unreadable: dict[str, str] = Field({}, description="What could not be listed, and why.")
    objects: int = 0
    matched: int = 0
    missing: int = Field(0, description="Videos that had neither results nor a job.")
    skipped: dict[str, int] = Field({}, description="By reason.")
    complete: bool = Field(False, description="This is the last page.")
    error: str = Field("", description="Why the sweep ended early.")


class Problem(BaseModel):
    """An error, after RFC 9457 (application/problem+json)."""

    type: str = Field(description="'urn:shoal:problem:' and the code.")
    title: str
    status: int
    detail: str = Field(description="The cause, in one line.")
    code: str = Field(description="Stable: what scripts should look at.")
    hint: str = Field(description="What to do about it.")


class TokenRequest(BaseModel):
    """``POST /tokens``."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=NAME, description="Who or what it is for; the log shows it.")
    scope: Scope = Field(description="Each includes those before it: read, submit, admin.")


class NewToken(Token, frozen=True):
    """A token that was just made."""

    secret: str = Field(description="What to send as 'Authorization: Bearer'. Shown only now.")


class Tokens(BaseModel):
    """The tokens there are, beside those of SHOAL_API_TOKENS; oldest first."""

    items: list[Token]
