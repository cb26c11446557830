"""Batches: requests, responses and what is stored of them."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, FailFast, Field, field_validator, model_validator

from shoal.model import globs
from shoal.model.failure import Failure
from shoal.model.job import Options, State
from shoal.model.prompts import MAX_VISUAL_PROMPTS, Exemplar, VisualPrompt
from shoal.model.record import At, Count
from shoal.model.share import Level, MaxRunning, Share, Weight
from shoal.model.strict import Strict
from shoal.model.submission import Submission

MAX_URIS = 10_000
MAX_GLOBS = 20


class BatchState(StrEnum):
    EXPANDING = "expanding"  # files are being listed and queued
    RUNNING = "running"  # all videos are queued, not all have ended
    FINISHED = "finished"  # all videos have ended
    STOPPED = "stopped"  # listing stopped with 'error'
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    DELETING = "deleting"  # with its videos


class BatchWork(Strict):
    """Which videos a batch has (as patterns) and how they are processed."""

    name: str = Field("", max_length=200, description="Display name.")
    globs: Annotated[list[str], FailFast()] = Field(
        [],
        max_length=MAX_GLOBS,
        description="URI patterns: '*' matches within one path segment, '**' matches any number of "
        "segments. The bucket must be literal.",
    )
    prompts: Annotated[list[str], FailFast()] = Field(
        [], description="What to find, as in POST /videos."
    )
    objects: Annotated[list[VisualPrompt], FailFast()] = Field(
        [],
        max_length=MAX_VISUAL_PROMPTS,
        description="Visual prompts, as in POST /videos; the same positions in every video.",
    )
    exemplars: Annotated[list[Exemplar], FailFast()] = Field(
        [],
        max_length=MAX_VISUAL_PROMPTS,
        description="Exemplars, as in POST /videos; the same positions in every video.",
    )
    options: Options = Options()
    callback: str = Field(
        "", max_length=2000, description="Webhook URL that is notified when each video ends."
    )

    priority: Level | None = Field(
        None, description="Priority of its videos; empty = that of the token, else normal."
    )
    weight: Weight = Field(
        1, description="Turns of the batch, relative to other sources of its priority."
    )
    max_running: MaxRunning = Field(
        0, description="Maximum number of its videos that run at once; 0 = unlimited."
    )

    @field_validator("globs")
    @classmethod
    def _are_patterns(cls, value: list[str]) -> list[str]:
        for pattern in value:
            globs.UriPattern(pattern)
        return value


class BatchRequest(BatchWork):
    """``POST /batches``."""

    uris: Annotated[list[str], FailFast()] = Field(
        [],
        max_length=MAX_URIS,
        description="URIs of videos, or of folders of frames (ending in /).",
    )

    @field_validator("uris")
    @classmethod
    def _have_a_length(cls, value: list[str]) -> list[str]:
        if any(not 0 < len(uri) <= globs.MAX_URI_CHARS for uri in value):
            raise ValueError(f"a URI must have 1 to {globs.MAX_URI_CHARS} characters")
        return value

    @model_validator(mode="after")
    def _has_some(self) -> BatchRequest:
        if not self.uris and not self.globs:
            raise ValueError("'uris' or 'globs' is required")
        return self


class BatchSkip(BaseModel):
    """A file or URI that was skipped."""

    uri: str
    reason: str = Field(description="Why a file was skipped, or an error code.")
    detail: str = ""


class BatchSkips(BaseModel):
    """The last 100 skipped files, newest first."""

    items: list[BatchSkip]


class BatchStatus(BaseModel):
    """A batch and its progress. Times are seconds since the epoch."""

    id: str
    name: str
    state: BatchState
    created_at: float
    globs: list[str]
    uris: int = Field(description="Number of URIs in the request.")
    prompts: list[str]
    objects: list[VisualPrompt]
    exemplars: list[Exemplar]
    options: Options
    callback: str
    priority: Level | None
    weight: int
    max_running: int
    objects_seen: int = Field(description="Files scanned so far.")
    videos: int = Field(
        description="Number of jobs so far, including videos that were already processed."
    )
    counts: dict[State, int] = Field(description="Jobs by state.")
    failures: dict[str, int] = Field(description="Failed jobs by error code.")
    skipped: dict[str, int] = Field(description="Skipped files by reason.")
    rejected: dict[str, int] = Field(description="Rejected files and URIs by error code.")
    progress: float = Field(description="0 to 1, relative to the videos found so far.")
    gpu_seconds: float = Field(description="Compute time of all attempts, in seconds.")
    cost: float = Field(
        description="Cost of the compute time in US dollars; 0 if the price is not known."
    )
    wasted_seconds: float = Field(
        description="Compute time that was lost to preemption and repeated, in seconds."
    )
    wasted_cost: float
    eta_s: float | None = Field(
        description="Estimated seconds remaining, from the mean duration of its videos and the "
        "number of workers; null if not known."
    )
    error: Failure | None = Field(description="Why listing files stopped or is being retried.")

    @property
    def is_over(self) -> bool:
        return self.state in (BatchState.FINISHED, BatchState.STOPPED, BatchState.CANCELLED) and (
            not self.counts[State.QUEUED] + self.counts[State.RUNNING]
        )


class BatchPage(BaseModel):
    """Batches, newest first."""

    items: list[BatchStatus]
    next_cursor: str = Field(
        description="Pass it as 'cursor' to get the next page; empty on the last page."
    )


def submission_of(work: BatchWork, uri: str) -> Submission:
    """The submission of one video of a batch."""
    return Submission.model_construct(
        uri=uri,
        prompts=work.prompts,
        objects=work.objects,
        remove_objects=[],
        exemplars=work.exemplars,
        options=work.options,
        callback=work.callback,
    )


class Cursor(BaseModel):
    """The position in listing the files of a batch: first the URIs, then glob by glob."""

    uris: Count = 0
    glob: Count = 0
    after: str = ""  # the last file that was scanned


class Batch(BaseModel):
    """The stored batch. Times are seconds since the epoch."""

    id: str
    version: Count = 0  # as that of the record of a job
    created_at: At
    work: BatchWork
    uris: Count  # number of URIs; they are stored separately
    owner: str = ""  # name of the token that submitted it
    cursor: Cursor = Cursor()
    expanded_at: At | None = None
    error: Failure | None = None  # why listing stopped or is being retried
    retry_asked_at: At | None = None
    cancel_asked_at: At | None = None
    cancelled_at: At | None = None
    delete_asked_at: At | None = None

    @property
    def share(self) -> Share:
        """The place of its videos in the line."""
        work = self.work
        return Share(
            source=f"batch:{self.id}",
            priority=work.priority or Level.NORMAL,
            weight=work.weight,
            max_running=work.max_running,
            owner=self.owner,
        )

    @property
    def is_expanding(self) -> bool:
        stopped = self.error is not None and not self.error.transient
        return self.expanded_at is None and self.cancel_asked_at is None and not stopped

    @property
    def is_cancelling(self) -> bool:
        return self.cancel_asked_at is not None and self.cancelled_at is None

    @property
    def has_work(self) -> bool:
        """Whether the batch runner has something to do."""
        asked = self.retry_asked_at is not None or self.delete_asked_at is not None
        return self.is_expanding or self.is_cancelling or asked
