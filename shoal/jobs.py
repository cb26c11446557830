"""What a job is: its specification, its identity and its states."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Any, Self
from urllib.parse import unquote

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from shoal.errors import InvalidOption
from shoal.outputs import USUAL, Outputs, Redact, parse_outputs
from shoal.prompts import Removal, VisualPrompt, labels


class State(StrEnum):
    QUEUED = "queued"  # waits for a worker, for the first time or again
    RUNNING = "running"  # a worker holds its lease
    SUCCEEDED = "succeeded"  # results are published, metadata included
    FAILED = "failed"  # given up: the record says why and what to do
    CANCELLED = "cancelled"  # a user stopped it

    @property
    def is_final(self) -> bool:
        return self in (State.SUCCEEDED, State.FAILED, State.CANCELLED)


class Direction(StrEnum):
    """Which way the frames go through the model."""

    FORWARD = "forward"  # from the start frame to the end
    BACKWARD = "backward"  # from the start frame, or the end, to the first frame
    BOTH = "both"  # forward from the start frame, then backward from it


class Options(BaseModel):
    """How a video is processed. Part of the job's identity."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sample_fps: Annotated[float, Field(le=1000, allow_inf_nan=False)] = Field(
        1.0, description="Frames per second of video to write; 0 or less writes every frame."
    )
    max_frames: Annotated[int, Field(ge=0)] = Field(
        0, description="Stop after this many written frames; 0 is no limit."
    )
    max_objects: Annotated[int, Field(ge=0, le=10_000)] = Field(
        0, description="At most so many objects are tracked at a time; 0 is no limit."
    )
    score_threshold: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = Field(
        None, description="From this score on a new object is tracked; by default the engine's."
    )
    engine: str = Field("auto", max_length=40, description="'auto' lets the worker choose.")

    @field_validator("sample_fps")
    @classmethod
    def _every_frame_is_zero(cls, value: float) -> float:
        return max(0.0, value)  # 0 and -1 are one wish, so one job

    sequence_fps: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)] = Field(
        1.0, description="Frames per second at which a folder or tar of JPEG frames is read."
    )
    allow_truncated: bool = Field(
        False, description="Process what can be read of a video that was cut off."
    )
    direction: Direction = Field(
        Direction.FORWARD,
        description="'forward' tracks from 'start_frame' to the end; 'backward' from it to the "
        "first frame, last one first; 'both' does one after the other.",
    )
    start_frame: Annotated[int | None, Field(ge=0)] = Field(
        None,
        validate_default=True,
        description="Number of the frame to start at, from 0, counting every frame of the source. "
        "Left out: the first one, or with 'backward' the last one.",
    )

    @field_validator("start_frame")
    @classmethod
    def _start_fits_direction(cls, value: int | None, info: ValidationInfo) -> int | None:
        direction = info.data.get("direction")
        if direction is Direction.BOTH and value is None:
            raise ValueError("direction 'both' needs a frame to go out from")
        # Forward from the first frame is what there is without it: one wish, so one job.
        return None if direction is Direction.FORWARD and value == 0 else value

    @model_validator(mode="before")
    @classmethod
    def _redaction_sees_every_frame(cls, given: object) -> object:
        if not isinstance(given, dict) or "outputs" not in given:
            return given
        if not any(isinstance(each, Redact) for each in parse_outputs(given["outputs"])):
            return given
        return {"sample_fps": 0.0, **given}

    @model_validator(mode="after")
    def _redaction_skips_no_frame(self) -> Self:
        if self.sample_fps and any(isinstance(each, Redact) for each in self.outputs):
            raise InvalidOption("'redact' needs every frame", hint="Leave out 'sample_fps'.")
        return self

    outputs: Outputs = Field(
        default_factory=lambda: USUAL,  # a plain default is copied in depth each time
        description="What to write: names of kinds, or objects with 'kind' and its options. The "
        "mask table is always there.",
    )


class JobSpec(BaseModel):
    """One video, the prompts and the options. Everything a worker needs to know."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    uri: str
    version: str = Field(description="What tells this content from another under the same URI.")
    size: int = Field(ge=0, description="Bytes; 0 where the storage cannot tell.")
    prompts: tuple[str, ...]
    objects: tuple[VisualPrompt, ...] = Field((), description="Objects that were pointed at.")
    remove_objects: tuple[Removal, ...] = Field((), description="Objects to leave out.")
    options: Options = Field(default_factory=Options)
    results: str = Field(description="URI under which '<job id>/' with the results is written.")

    @property
    def id(self) -> str:
        """A hash of what the job is: the same upload announced a hundred times is one job."""
        identity: dict[str, Any] = {
            "uri": self.uri,
            "version": self.version,
            "prompts": sorted(self.prompts),
            # Defaults are left out: an option that is new in a release changes no id.
            "options": self.options.model_dump(exclude_defaults=True),
        }
        if self.objects:  # in their order, which numbers them
            identity["objects"] = _dumped(self.objects)
        if self.remove_objects:
            identity["remove_objects"] = _dumped(self.remove_objects)
        text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:24]

    @property
    def labels(self) -> tuple[str, ...]:
        """What results call its objects: the prompts, then other labels of visual prompts."""
        return labels(self.prompts, self.objects)

    @property
    def stem(self) -> str:
        """The video's file name without its suffix: what result files are named after."""
        name = self.uri.rstrip("/").rsplit("/", 1)[-1]
        if self.uri.startswith("file:"):
            name = unquote(name)  # only file:// URIs are percent-encoded
        return name.rsplit(".", 1)[0] or name

    @property
    def results_prefix(self) -> str:
        return f"{self.results.rstrip('/')}/{self.id}/"


def _dumped(models: Iterable[BaseModel]) -> list[dict[str, Any]]:
    return [each.model_dump(mode="json", exclude_defaults=True) for each in models]
