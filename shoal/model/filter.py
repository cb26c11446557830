"""The filter of a list of jobs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic import ConfigDict, Field, field_validator

from shoal.model.ids import JOB_ID
from shoal.model.job import State
from shoal.model.strict import Strict

ALL = "jobs"


class Filter(Strict):
    """Which jobs to list. Empty fields match all jobs."""

    model_config = ConfigDict(frozen=True)

    state: State | None = None
    text: str = Field(
        "", max_length=200, description="Text in ID, URI or prompts; case-insensitive."
    )
    prompt: str = Field("", max_length=100, description="A prompt, in full; case-insensitive.")
    worker: str = Field("", max_length=200, description="Name of the last worker.")
    cause: str = Field("", max_length=80, description="Error code.")
    batch: str = Field("", pattern=f"^({JOB_ID})?$", description="ID of a batch.")
    base: str = Field("", pattern=f"^({JOB_ID})?$", description="ID of the job that they refine.")
    after: datetime | None = Field(None, description="Submitted at or after this time (UTC).")
    before: datetime | None = Field(None, description="Submitted before this time (UTC).")

    @field_validator("state", "after", "before", mode="before")
    @classmethod
    def _empty_is_none(cls, value: Any) -> Any:
        return None if value == "" else value

    @property
    def indexes(self) -> tuple[str, ...]:
        """The indexes whose intersection has these jobs, apart from text and times."""
        top = batch_index(self.batch) if self.batch else ALL
        below = [
            f"{top}:{self.state}" if self.state else "",
            f"{top}:cause:{self.cause}" if self.cause else "",
        ]
        others = [
            f"{ALL}:prompt:{_folded(self.prompt)}" if self.prompt.strip() else "",
            f"{ALL}:worker:{self.worker}" if self.worker else "",
            f"{ALL}:base:{self.base}" if self.base else "",
        ]
        if self.batch and not any(below):
            below = [top]
        return tuple(filter(None, below + others)) or (ALL,)

    @property
    def earliest(self) -> float | str:
        return _seconds(self.after) if self.after else "-inf"

    @property
    def latest(self) -> float | str:
        """In the syntax of Redis; '(' makes the bound exclusive."""
        return f"({_seconds(self.before)!r}" if self.before else "+inf"


def batch_index(batch_id: str) -> str:
    """The index of a batch's jobs; those of its jobs by state and cause lie below."""
    return f"{ALL}:batch:{batch_id}"


def _folded(prompt: str) -> str:
    return " ".join(prompt.casefold().split())


def _seconds(at: datetime) -> float:
    """Seconds since the epoch; a time without a zone is UTC."""
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
