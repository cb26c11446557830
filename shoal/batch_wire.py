"""What goes over HTTP about batches, beside their jobs."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from shoal import globs
from shoal.errors import Failure
from shoal.jobs import Options, State
from shoal.prompts import MAX_VISUAL_PROMPTS, VisualPrompt
from shoal.wire import Submission

MAX_URIS = 10_000
MAX_GLOBS = 20


class BatchState(StrEnum):
    EXPANDING = "expanding"  # its videos are being looked up and queued
    RUNNING = "running"  # all are queued, and not all have ended
    FINISHED = "finished"  # all have ended, however they did
    STOPPED = "stopped"  # they could not all be looked up: 'error' says why
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"


class BatchWork(BaseModel):
    """What to do with each video of a batch, and patterns of which those are."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field("", max_length=200, description="For people.")
    globs: list[str] = Field(
        [],
        max_length=MAX_GLOBS,
        description="URIs with wildcards below the bucket: '*' within a part of the path, '**' "
        "over any number of parts.",
    )
    prompts: list[str] = Field([], description="As of one video.")
    objects: list[VisualPrompt] = Field(
        [], max_length=MAX_VISUAL_PROMPTS, description="As of one video: the same places in each."
    )
    options: Options = Options()
    callback: str = Field(
        "", max_length=2000, description="A URL that is told how each of the videos ends."
    )

    @field_validator("globs")
    @classmethod
    def _are_patterns(cls, value: list[str]) -> list[str]:
        for pattern in value:
            globs.UriPattern(pattern)
        return value


class BatchRequest(BatchWork):
    """``POST /batches``."""

    uris: list[str] = Field(
        [], max_length=MAX_URIS, description="Videos, or folders of frames with a / at the end."
    )

    @field_validator("uris")
    @classmethod
    def _have_a_length(cls, value: list[str]) -> list[str]:
        if any(not 0 < len(uri) <= globs.MAX_URI_CHARS for uri in value):
            raise ValueError(f"a URI has 1 to {globs.MAX_URI_CHARS} characters")
        return value

    @model_validator(mode="after")
    def _has_some(self) -> BatchRequest:
        if not self.uris and not self.globs:
            raise ValueError("give 'uris', 'globs' or both")
        return self


class BatchSkip(BaseModel):
    """An object or a URI that led to no job."""

    uri: str
    reason: str = Field(description="Of an object; or the code of an error.")
    detail: str = ""


class BatchSkips(BaseModel):
    """The last hundred, newest first."""

    items: list[BatchSkip]


class BatchStatus(BaseModel):
    """A batch and how far it is. Times are seconds since the epoch."""

    id: str
    name: str
    state: BatchState
    created_at: float
    globs: list[str]
    uris: int = Field(description="How many were given one by one.")
    prompts: list[str]
    objects: list[VisualPrompt]
    options: Options
    callback: str
    objects_seen: int = Field(description="Objects and URIs looked at so far.")
    videos: int = Field(description="Jobs of the batch so far; a video that was done is one too.")
    counts: dict[State, int] = Field(description="Its jobs by state.")
    failures: dict[str, int] = Field(description="Failed jobs by the code of their error.")
    skipped: dict[str, int] = Field(description="Objects that are no videos to process, by reason.")
    rejected: dict[str, int] = Field(description="URIs and objects in error, by its code.")
    progress: float = Field(description="0 to 1, of the videos found so far.")
    gpu_seconds: float = Field(description="Time that workers had its jobs for, all attempts.")
    cost: float = Field(description="Of that time, in US dollars; 0 where no price is known.")
    wasted_seconds: float = Field(
        description="Of that time: what was done again because a machine was taken away."
    )
    wasted_cost: float
    eta_s: float | None = Field(
        description="Seconds left, by the mean of its videos so far and the workers there are; "
        "null while that is not known."
    )
    error: Failure | None = Field(description="Why looking up the videos stopped, or waits.")

    @property
    def is_over(self) -> bool:
        return self.state in (BatchState.FINISHED, BatchState.STOPPED, BatchState.CANCELLED) and (
            not self.counts[State.QUEUED] + self.counts[State.RUNNING]
        )


class BatchPage(BaseModel):
    """Batches, newest first."""

    items: list[BatchStatus]
    next_cursor: str = Field(description="Give it as 'cursor' for the next page; empty at the end.")


def submission_of(work: BatchWork, uri: str) -> Submission:
    """What ``POST /videos`` would be given for one video of a batch."""
    return Submission.model_construct(
        uri=uri,
        prompts=work.prompts,
        objects=work.objects,
        remove_objects=[],
        options=work.options,
        callback=work.callback,
    )
