"""The record of a job, its attempts and its timeline."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Any

from pydantic import BaseModel, Field, TypeAdapter, computed_field, field_validator
from pydantic_core import from_json
from typing_extensions import TypedDict

from shoal.errors import SegmentsLost
from shoal.model.failure import Failure
from shoal.model.ids import is_job_id
from shoal.model.job import JobSpec, Role, State
from shoal.model.share import DEFAULT, Place, Priority, Share


def text(value: Any) -> str:
    """A Redis reply as text. RQ requires a client that does not decode replies."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


# What a field of Redis may hold: numbers that can be shown and added up.
MAX_AT = 253402300799  # the end of the year 9999
At = Annotated[float, Field(ge=0, le=MAX_AT, allow_inf_nan=False)]  # seconds since the epoch
Count = Annotated[int, Field(ge=0, lt=1 << 63)]
Amount = Annotated[float, Field(ge=-1e15, le=1e15, allow_inf_nan=False)]


# Of the records of jobs and batches in Redis. It is raised with a change that a reader of the
# release before would misread; a field more is none: readers leave out what they do not know.
# During an upgrade both releases run, and the older one leaves to the newer what it cannot read.
VERSION = 1


def check_version(version: Any) -> None:
    """
    Raises:
        ValueError: a later release wrote it, for readers of its own kind.
    """
    if int(version) > VERSION:
        raise ValueError(f"it has version {version}, this release reads up to {VERSION}")


class Forecast(BaseModel):
    """What an attempt is going to take, told before tracking begins.

    Times are by the speed of the engine: on the worker's previous video, then on this one. They
    and the costs, in US dollars, are 0 while they are not known.
    """

    sampled_fps: Amount = Field(0.0, description="Frames written per second; 0 = all frames.")
    reason: str = Field("", description="Why, where 'sample_fps' is 'auto'; else empty.")
    seconds: Amount = 0.0  # of tracking
    cost: Amount = 0.0
    all_frames: Count = Field(0, description="Frames that 'sample_fps' 0 would write, about.")
    all_frames_s: Amount = 0.0
    all_frames_cost: Amount = 0.0

    def priced(self, hourly_price: float) -> Forecast:
        """With the costs on a worker of this price, in US dollars."""
        per_s = hourly_price / 3600
        costs = {"cost": self.seconds * per_s, "all_frames_cost": self.all_frames_s * per_s}
        return self.model_copy(update={name: round(cost, 6) for name, cost in costs.items()})


class Progress(BaseModel):
    """Progress of the current attempt."""

    stage: str = ""
    frames: Count = 0  # processed so far
    frames_expected: Count = 0  # 0 = not known
    fps: Amount = 0.0  # processed frames per second, over the last 30 s; 0 = not yet known
    moved_at: At = 0.0  # when stage or frames last changed
    forecast: Forecast = Field(default_factory=Forecast)


class Spent(BaseModel):
    """Compute time in seconds and its cost in US dollars."""

    seconds: Amount = 0.0
    cost: Amount = Field(0.0, description="0 if the hourly price is not known.")
    wasted_seconds: Amount = Field(
        0.0,
        description="Compute time lost to preemption: after the last checkpoint of a lost attempt.",
    )
    wasted_cost: Amount = 0.0

    def __add__(self, other: Spent) -> Spent:
        return Spent(
            seconds=round(self.seconds + other.seconds, 3),
            cost=round(self.cost + other.cost, 6),
            wasted_seconds=round(self.wasted_seconds + other.wasted_seconds, 3),
            wasted_cost=round(self.wasted_cost + other.wasted_cost, 6),
        )


class _Summary(TypedDict, total=False):
    """What of a summary is shown and added up."""

    objects_detected: Count
    frames_processed: Count
    duration_s: Amount
    objects_per_prompt: dict[str, Count]


_SUMMARY = TypeAdapter(_Summary)


class Phase(StrEnum):
    """What a split job does, or waits for; the others do all at once."""

    WHOLE = ""  # not cut, or not yet
    TRACK = "track"  # its segments are tracked
    JOIN = "join"  # their tables are joined, with one set of object IDs
    RENDER = "render"  # its segments are rendered
    FINAL = "final"  # their pictures are joined, and the results are published

    @property
    def waits(self) -> bool:
        """Whether the job itself has nothing to do until its segments are done."""
        return self in (Phase.TRACK, Phase.RENDER)


class SegmentStatus(BaseModel):
    """A segment of a split job."""

    id: str
    role: Role
    number: int
    state: State
    attempt: Count = 0
    worker: str = ""
    progress: Progress
    spent: Spent
    error: Failure | None = None


CACHED_SPECS, CACHED_CHARS = 2_000, 2_000  # of the stored text: a spec with masks has 500,000


def _read_spec(stored: str, job_id: str) -> JobSpec:
    """
    Raises:
        ValueError
    """
    spec = JobSpec.model_validate(from_json(stored, allow_inf_nan=False))
    return spec.known_as(job_id)


# A spec never changes, and is most of what it takes to read a record.
_cached_spec = lru_cache(CACHED_SPECS)(_read_spec)


class Record(BaseModel):
    """Everything known about a job. Times are seconds since the epoch."""

    id: str
    version: Count = Field(0, exclude=True)  # of the stored record; 0 = before there were any
    spec: JobSpec
    state: State
    created_at: At
    queued_at: At
    begun_at: At | None = Field(None, description="Start of its first attempt since submitted.")
    started_at: At | None = Field(None, description="Start of its latest attempt.")
    finished_at: At | None = None
    attempt: Count = 0  # number of attempts so far; also the fencing token of the lease
    failures: Count = 0  # transient failures since the last submit or retry
    preemptions: Count = 0
    model_deaths: Count = 0  # failures that ended a model process
    losses: Count = 0  # workers that vanished with it, since a part was last saved
    unsaved: Count = 0  # interruptions (losses, preemptions) since a part was last saved
    worker: str = ""
    host: str = ""  # host of the worker
    priority: Priority = "normal"  # of a queued job: that of its share, or "front"
    share: Share = DEFAULT
    cancel_requested: bool = False
    retry_at: At | None = None  # a queued job waits until then for its next attempt
    progress: Progress = Field(default_factory=Progress)  # a plain default would be deep-copied
    error: Failure | None = None
    results: dict[str, Count] = {}  # file name -> bytes, below spec.results_prefix
    summary: dict[str, Any] = {}  # short form of the metadata
    callbacks: list[str] = []  # webhook URLs
    batches: list[str] = []  # IDs of its batches
    deleting_at: At | None = None  # since when it is being deleted, with its results
    hourly_price: Amount = 0.0  # of the current worker, in US dollars; 0 = not known
    saved_at: At | None = None  # time of the last checkpoint of this attempt
    spent: Spent = Field(default_factory=Spent)
    phase: Phase = Field(Phase.WHOLE, description="Phase of a split job; empty for others.")
    plan: str = ""  # of a split job: name of the file that says where its segments lie
    segment_count: Count = 0
    segments_spent: Spent = Field(
        default_factory=Spent, description="The part of 'spent' that its segments took."
    )
    segments: list[SegmentStatus] = Field([], description="Set by GET /videos/{id} only.")

    @computed_field(description="ID of the job whose results this one refines; else empty.")  # type: ignore[prop-decorator]
    @property
    def base(self) -> str:
        return self.spec.base

    @property
    def took_s(self) -> float | None:
        """From its first attempt to its end, pauses and other phases of a split job included."""
        begun_at = self.begun_at or self.started_at  # of an earlier release: the latest attempt
        if begun_at is None or self.finished_at is None:
            return None
        return max(0.0, self.finished_at - begun_at)

    @field_validator("summary")
    @classmethod
    def _can_be_shown(cls, value: dict[str, Any]) -> dict[str, Any]:
        _SUMMARY.validate_python(value)
        return value

    def split_so_far(self) -> dict[str, Any]:
        """What of a failed split job a retry goes on with: only what failed is done again."""
        if not self.error or self.error.code == SegmentsLost.code:
            return {}
        kept = ("phase", "plan", "segment_count", "segments_spent")
        return {name: getattr(self, name) for name in kept}

    def fields(self) -> dict[Any, Any]:
        """Redis hash fields: text and numbers unchanged, other values as JSON, without defaults."""
        given = self.model_fields_set  # the others have their defaults: no need to compare
        values = ((name, getattr(self, name)) for name in _DEFAULTS if name in given)
        return {name: encode_field(value) for name, value in values if value != _DEFAULTS[name]}

    @classmethod
    def from_fields(cls, fields: Mapping[Any, Any]) -> Record:
        """
        Raises:
            ValueError: what the fields hold is no record.
        """
        values: dict[str, Any] = {text(key): text(value) for key, value in fields.items()}
        check_version(values.get("version", 0))
        job_id, spec = values.get("id", ""), values.get("spec", "")
        if not is_job_id(job_id):
            raise ValueError(f"{job_id[:80]!r} is no id of a job")
        values["spec"] = (_cached_spec if len(spec) <= CACHED_CHARS else _read_spec)(spec, job_id)
        for key in _STRUCTURED & values.keys():
            values[key] = from_json(values[key], allow_inf_nan=False)
        return cls.model_validate(values)


class PlacedRecord(Record):
    """A job, with its place in the line."""

    place: Place | None = Field(None, description="null if the job is not queued.")


_STRUCTURED = frozenset(  # fields of Redis that are JSON, the spec apart
    (
        "progress",
        "error",
        "results",
        "summary",
        "callbacks",
        "batches",
        "spent",
        "share",
        "segments_spent",
    )
)
_DEFAULTS = {
    name: each.get_default(call_default_factory=True) for name, each in Record.model_fields.items()
}


class AttemptRecord(BaseModel):
    """One attempt at a job."""

    number: Count
    worker: str
    host: str = ""
    started_at: At
    seconds: Amount
    cost: Amount = 0.0  # US dollars
    wasted_seconds: Amount = 0.0  # of a preempted or lost attempt: since its last checkpoint
    outcome: str  # succeeded, failed, cancelled, preempted or lost
    stage: str = ""  # the last one reported; empty: none was
    frames: Count = 0  # written by then
    error: Failure | None = None
    log: list[str] = []  # last log lines of a failed model process


class TimelineEvent(BaseModel):
    """An event in the timeline of a job. ``at`` is in seconds since the epoch."""

    at: At
    event: str
    detail: dict[str, Any] = {}

    @classmethod
    def of(cls, entry: bytes) -> TimelineEvent:
        """
        Raises:
            ValueError: it is none.
        """
        at, event, detail = from_json(entry, allow_inf_nan=False)
        return cls(at=at, event=event, detail=detail)

    def number(self, name: str) -> int:
        """A number of its detail; 0 where there is none."""
        found = self.detail.get(name)
        return found if isinstance(found, int) and 0 <= found < 1 << 63 else 0


class Depth(BaseModel):
    """Depth and state of the queue."""

    queued: int
    held: int = Field(0, description="Queued jobs that wait for 'max_running' of their source.")
    startable: int = Field(
        0, description="Queued jobs that workers take: none of a paused queue, none that are held."
    )
    running: int
    oldest_queued_s: float = Field(description="Waiting time of the oldest queued job, in seconds.")
    paused: bool = Field(
        description="Whether the queue is paused: running jobs finish, no new jobs start."
    )
    jobs: dict[State, int] = Field(description="Jobs by state.")
    segments: dict[State, int] = Field(
        default_factory=dict, description="Segments of split jobs by state; no part of 'jobs'."
    )
    split: int = Field(0, description="Running jobs that wait for their segments.")

    @property
    def work(self) -> tuple[int, int]:
        """How many jobs and segments a worker may take, and how many have one."""
        segments = self.segments
        return (
            max(0, self.queued - self.held + segments.get(State.QUEUED, 0)),
            max(0, self.running - self.split) + segments.get(State.RUNNING, 0),
        )


def encode_field(value: Any) -> str | float | int:
    if isinstance(value, BaseModel):
        return value.model_dump_json(exclude_defaults=True)
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, (str, int, float)):
        return value
    return _compact(value)


_compact = json.JSONEncoder(separators=(",", ":")).encode


def now() -> float:
    return time.time()
