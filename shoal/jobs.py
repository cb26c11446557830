"""What a job is: its specification, its identity and its states."""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum
from typing import Annotated
from urllib.parse import unquote

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from shoal.errors import InvalidPrompt

MAX_PROMPTS = 16
MAX_PROMPT_CHARS = 100


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


class JobSpec(BaseModel):
    """One video, the prompts and the options. Everything a worker needs to know."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    uri: str
    version: str = Field(description="What tells this content from another under the same URI.")
    size: int = Field(ge=0, description="Bytes; 0 where the storage cannot tell.")
    prompts: tuple[str, ...]
    options: Options = Options()
    results: str = Field(description="URI under which '<job id>/' with the results is written.")

    @property
    def id(self) -> str:
        """A hash of what the job is: the same upload announced a hundred times is one job."""
        identity = {
            "uri": self.uri,
            "version": self.version,
            "prompts": sorted(self.prompts),
            # Defaults are left out: an option that is new in a release changes no id.
            "options": self.options.model_dump(exclude_defaults=True),
        }
        text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:24]

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


def clean_prompts(prompts: list[str] | tuple[str, ...]) -> tuple[str, ...]:
    """Collapse white space and drop duplicates, keeping the order.

    Raises:
        InvalidPrompt: none given, one is empty or too long, too many, or not printable.
    """
    cleaned = tuple(dict.fromkeys(" ".join(prompt.split()) for prompt in prompts))
    if not cleaned:
        raise InvalidPrompt("no prompt was given")
    if len(cleaned) > MAX_PROMPTS:
        raise InvalidPrompt(f"{len(cleaned)} prompts were given, {MAX_PROMPTS} is the limit")
    for prompt in cleaned:
        if not prompt:
            raise InvalidPrompt("a prompt is empty")
        if len(prompt) > MAX_PROMPT_CHARS:
            raise InvalidPrompt(f"a prompt has {len(prompt)} characters: {prompt[:40]}…")
        if not prompt.isprintable():
            raise InvalidPrompt(f"a prompt holds unprintable characters: {prompt!r}")
    return cleaned
