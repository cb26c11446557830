"""The messages between the parent and its model process (``worker.pipe`` carries them).

The model process decodes hostile files: of what it sends, every value is bounded here, before the
parent writes it to the job's record.
"""

from __future__ import annotations

import base64
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from shoal.model.failure import MAX_MESSAGE, MAX_TRACEBACK, Failure
from shoal.model.job import MAX_SEGMENTS, JobSpec
from shoal.model.preview import MAX_STILLS, PreviewFrame, PreviewSpec, PreviewVideo
from shoal.model.record import Forecast, Phase, Progress

Count = Annotated[int, Field(ge=0, le=2**53)]
Quantity = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Name = Annotated[str, Field(max_length=200)]
MAX_PICTURE_CHARS = 700_000


def _file_name(name: str) -> str:
    if not name or len(name) > 1024 or "/" in name or "\0" in name or name in (".", ".."):
        raise ValueError("not the name of a file")
    return name


FileName = Annotated[str, AfterValidator(_file_name)]


class JobSummary(BaseModel):
    """What ``shoal.results.layout.Metadata.summary`` gives; further plain values may follow."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, bool | Count | Quantity | Name | None] = Field(init=False)

    frames_processed: Count = 0
    duration_s: Quantity = 0.0
    objects_detected: Count = 0
    objects_per_prompt: dict[Annotated[str, Field(max_length=4096)], Count] = {}
    engine: Name = ""
    seconds: Quantity = 0.0
    metadata: Annotated[str, Field(max_length=8192)] = ""
    warnings: Annotated[list[Annotated[str, Field(max_length=1000)]], Field(max_length=100)] = []
    sampling: Annotated[str, Field(max_length=1000)] = ""


def _summary(value: dict[str, Any]) -> dict[str, Any]:
    return JobSummary.model_validate(value).model_dump(exclude_unset=True)


class _Forecast(Forecast):
    sampled_fps: Quantity = 0.0
    reason: Annotated[str, Field(max_length=200)] = ""
    seconds: Quantity = 0.0
    cost: Quantity = 0.0
    all_frames: Count = 0
    all_frames_s: Quantity = 0.0
    all_frames_cost: Quantity = 0.0


class _Progress(Progress):
    stage: Name = ""
    frames: Count = 0
    frames_expected: Count = 0
    fps: Quantity = 0.0
    moved_at: Quantity = 0.0
    forecast: _Forecast = _Forecast()


class _Failure(Failure, frozen=True):
    code: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
    message: Annotated[str, Field(max_length=MAX_MESSAGE)]
    hint: Annotated[str, Field(max_length=MAX_MESSAGE)]
    traceback: Annotated[str, Field(max_length=MAX_TRACEBACK)] = ""


def _progress(value: Progress) -> Progress:
    _Progress.model_validate(value.model_dump())
    return value


def _failure(value: Failure) -> Failure:
    _Failure.model_validate(value.model_dump())
    return value


class Load(BaseModel):
    """Parent: load the model. The first message to a fresh process.

    Attributes:
        hf_token: for the Hugging Face hub. It is in no environment, and forgotten after loading.
    """

    kind: Literal["load"] = "load"
    hf_token: str = Field("", repr=False)


class Run(BaseModel):
    """Parent: process this job.

    Attributes:
        automatic: a rule has made the job, which is not to be of a copy of a result.
        source: the whole URL of a video on the web, where ``spec.uri`` is not all of it. It is a
            secret, and goes into no file, log or message.
    """

    kind: Literal["run"] = "run"
    spec: JobSpec
    job: str = ""  # the ID that the job has, where its record is of an earlier release
    worker: str
    attempt: int
    model_loads: int
    phase: Phase = Phase.WHOLE  # of a split job
    plan: str = ""  # of a split job: name of the file that says where its segments lie
    segments: int = 0
    automatic: bool = False
    source: str = Field("", repr=False)
    work_dir: str  # an empty folder of the job's own; the parent removes it

    @model_validator(mode="after")
    def _keep_id(self) -> Run:
        if self.job:
            self.spec = self.spec.known_as(self.job)
        return self


class StopReason(StrEnum):
    """Why a video is told to stop before its end."""

    PREEMPTED = "preempted"  # the worker must go: what was done is saved first
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"


class Stop(BaseModel):
    """Parent: leave the job at the next frame."""

    kind: Literal["stop"] = "stop"
    why: StopReason


class CommitGranted(BaseModel):
    """Parent: the job is still yours, go on with what you asked for."""

    kind: Literal["granted"] = "granted"


class Detect(BaseModel):
    """Parent: answer this preview, between two frames if there is a job."""

    kind: Literal["detect"] = "detect"
    preview: PreviewSpec


class Ready(BaseModel):
    """Model process: the model is loaded."""

    kind: Literal["ready"] = "ready"
    engine: Name
    device: Name


class FromJob(BaseModel):
    """A message of the model process about the job that it is at."""

    job: Name = ""  # the job's id; empty while the model is loading


class Report(FromJob):
    """Model process: how far it is."""

    kind: Literal["report"] = "report"
    progress: Annotated[Progress, AfterValidator(_progress)]


class Beat(FromJob):
    """Model process: it works on something that finishes no frame."""

    kind: Literal["beat"] = "beat"


class Commit(FromJob):
    """Model process: something is about to be written that others will trust; may it be?"""

    kind: Literal["commit"] = "commit"


class EventReport(FromJob):
    """Model process: for the job's timeline."""

    kind: Literal["happened"] = "happened"
    event: Literal["part", "resumed"]
    detail: Annotated[dict[Name, Count], Field(max_length=16)]


class Done(FromJob):
    """Model process: the results are published."""

    kind: Literal["done"] = "done"
    results: Annotated[dict[FileName, Count], Field(max_length=10_000)]
    summary: Annotated[dict[str, Any], AfterValidator(_summary)]
    timings: Annotated[dict[Name, Quantity], Field(max_length=100)] = {}  # seconds by stage


class HandOver(FromJob):
    """Model process: the job goes on with segments that any workers take.

    Attributes:
        phase: what the job waits for.
        plan: name of the file that says where they lie.
        segments: how many there are.
    """

    kind: Literal["hand_over"] = "hand_over"
    phase: Literal[Phase.TRACK, Phase.RENDER]
    plan: Annotated[str, Field(pattern=r"^plan-a\d{1,10}\.json$")]
    segments: Annotated[int, Field(ge=2, le=MAX_SEGMENTS)]


class Failed(FromJob):
    """Model process: the job, or loading the model, failed.

    Attributes:
        lost: this process cannot go on: its next video would fail as well.
    """

    kind: Literal["failed"] = "failed"
    failure: Annotated[Failure, AfterValidator(_failure)]
    lost: bool = False


class JobStopped(FromJob):
    """Model process: it stopped in the middle, as it was told to."""

    kind: Literal["left"] = "left"


class PreviewFound(BaseModel):
    """Model process: one frame of a preview."""

    kind: Literal["preview_frame"] = "preview_frame"
    preview: Name
    number: Annotated[int, Field(ge=0, lt=MAX_STILLS)]
    frame: PreviewFrame
    video: PreviewVideo
    picture: Annotated[str, Field(max_length=MAX_PICTURE_CHARS)]  # a JPEG in base64

    @property
    def jpeg(self) -> bytes:
        return base64.b64decode(self.picture)


class PreviewEnded(BaseModel):
    """Model process: a preview is complete, or failed.

    Attributes:
        lost: as in ``Failed``.
    """

    kind: Literal["preview_end"] = "preview_end"
    preview: Name
    failure: Annotated[Failure, AfterValidator(_failure)] | None = None
    lost: bool = False


FromParent = Load | Run | Stop | CommitGranted | Detect
FromModel = (
    Ready
    | Report
    | Beat
    | Commit
    | EventReport
    | Done
    | HandOver
    | Failed
    | JobStopped
    | PreviewFound
    | PreviewEnded
)
FROM_PARENT: TypeAdapter[FromParent] = TypeAdapter(
    Annotated[FromParent, Field(discriminator="kind")]
)
FROM_MODEL: TypeAdapter[FromModel] = TypeAdapter(Annotated[FromModel, Field(discriminator="kind")])
