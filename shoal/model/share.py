"""A job's place among the others: its priority, and the source whose turn it takes."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

MAX_WEIGHT = 100


class Level(StrEnum):
    """Priorities, each before the next. One of every 20 starts is of a low one."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"

    def is_before(self, other: Level) -> bool:
        order = list(Level)
        return order.index(self) < order.index(other)


Priority = Literal["front", "high", "normal", "low"]  # 'front': before all others, until it starts
Weight = Annotated[int, Field(ge=1, le=MAX_WEIGHT)]
MaxRunning = Annotated[int, Field(ge=0, le=1_000_000)]


RULE = "rule:"  # how the source of a rule's jobs begins


class Share(BaseModel):
    """What decides when a queued job starts."""

    model_config = ConfigDict(frozen=True)

    source: str = Field(
        "",
        description="Sources of one priority take turns: 'batch:<id>', 'rule:<name>', "
        "'token:<name>' (single submissions), or empty (single submissions without a token).",
    )
    priority: Level = Level.NORMAL
    weight: Weight = Field(1, description="Turns of the source, relative to other sources.")
    max_running: MaxRunning = Field(
        0, description="Maximum number of running jobs of the source; 0 = unlimited."
    )
    owner: str = Field("", description="Name of the token that submitted it, if any.")

    @property
    def is_of_rule(self) -> bool:
        return self.source.startswith(RULE)


class Place(BaseModel):
    """The place of a queued job in the line."""

    position: int = Field(description="1 = the next one to start.")
    starts_in_s: float | None = Field(
        None,
        description="Expected seconds until it starts, from the mean duration of all jobs and the "
        "number of workers; null if not known.",
    )


DEFAULT = Share()
