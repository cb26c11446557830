"""A job: its specification, its identity and its states."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Any, Literal, Self, TypeAlias
from urllib.parse import unquote

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    TypeAdapter,
    ValidationInfo,
    WrapValidator,
    field_validator,
    model_validator,
)

from shoal.errors import InvalidOption
from shoal.model.edits import Edits
from shoal.model.names import MAX_FILE_NAME_BYTES, fit
from shoal.model.outputs import USUAL, Outputs, Redact, parse_outputs
from shoal.model.prompts import MAX_FRAME, Exemplar, Removal, VisualPrompt, labels
from shoal.model.sam3_options import Sam3Options
from shoal.model.source_url import is_web, path_of

# Results are named after the video, with an ending of their own: there has to be room for it.
MAX_STEM_BYTES = MAX_FILE_NAME_BYTES - 25


class State(StrEnum):
    QUEUED = "queued"  # waiting for a worker
    RUNNING = "running"  # a worker holds its lease
    SUCCEEDED = "succeeded"  # results are published, metadata included
    FAILED = "failed"  # gave up: the record has the error
    CANCELLED = "cancelled"  # cancelled by a user

    @property
    def is_final(self) -> bool:
        return self in (State.SUCCEEDED, State.FAILED, State.CANCELLED)


class Direction(StrEnum):
    """The order in which frames are tracked."""

    FORWARD = "forward"  # from the start frame to the end
    BACKWARD = "backward"  # from the start frame, or the end, to the first frame
    BOTH = "both"  # forward from the start frame, then backward from it


class Deinterlace(StrEnum):
    """Whether interlaced pictures are made whole, by bwdif, before anything else sees them."""

    AUTO = "auto"  # those that say they are interlaced
    ON = "on"  # all: sources that do not say so
    OFF = "off"


class Split(StrEnum):
    """Whether a long video is cut into segments that several workers track at once."""

    OFF = "off"
    AUTO = "auto"  # segments of SHOAL_SPLIT_S, if there are two of them at least


MAX_SEGMENTS = 500

AUTO: Literal["auto"] = "auto"
AUTO_ALL_FRAMES_S = 60.0  # 'auto' takes all frames of a video up to this length

_Fps = Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)]
_FPS: TypeAdapter[float] = TypeAdapter(_Fps)


def _auto_or_number(value: object, _: object) -> object:
    """One fault for a wrong value, not one per member of the union."""
    return AUTO if value == AUTO else _FPS.validate_python(value)


SampleFps: TypeAlias = Annotated[_Fps | Literal["auto"], WrapValidator(_auto_or_number)]


class Options(Sam3Options):
    """How a video is processed. Part of the job's identity."""

    model_config = ConfigDict(frozen=True)

    sample_fps: SampleFps = Field(
        1.0,
        description="Frames to process per second of video; 0 = all frames; 'auto' = all frames of "
        "a video of up to a minute, 1 per second of a longer one or one of unknown length.",
    )
    track_fps: Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)] | None = Field(
        None,
        description="Frames to track per second of video, at least: frames between those of "
        "'sample_fps' are tracked and not written; 0 = only the frames of 'sample_fps'; empty = "
        "engine default.",
    )
    max_frames: Annotated[int, Field(ge=0, le=MAX_FRAME)] = Field(
        0, description="Maximum number of frames to process; 0 = unlimited."
    )
    max_objects: Annotated[int, Field(ge=0, le=10_000)] = Field(
        0, description="Maximum number of objects tracked at once; 0 = unlimited."
    )
    score_threshold: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = Field(
        None, description="Minimum confidence to start a new track; empty = engine default."
    )
    engine: str = Field(
        "auto",
        max_length=40,
        description="Engine to use; 'auto' selects the best one available on the worker.",
    )

    sequence_fps: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)] = Field(
        1.0, description="Frame rate of an image sequence (a folder or TAR of JPEG or PNG frames)."
    )
    allow_truncated: bool = Field(
        False, description="Process the readable part of a truncated video."
    )
    deinterlace: Deinterlace = Field(
        Deinterlace.AUTO,
        description="'auto' makes whole pictures of those that are marked as interlaced, 'on' of "
        "all, 'off' of none.",
    )
    direction: Direction = Field(
        Direction.FORWARD,
        description="'forward' tracks from the start frame to the end; 'backward' from the start "
        "frame to the beginning; 'both' tracks forward, then backward, from the start frame.",
    )
    start_frame: Annotated[int | None, Field(ge=0, le=MAX_FRAME)] = Field(
        None,
        validate_default=True,
        description="Frame to start tracking at: its index in the source, from 0. Default: the "
        "first frame; with 'backward', the last frame.",
    )

    split: Split | Annotated[int, Field(ge=2, le=MAX_SEGMENTS)] = Field(
        Split.OFF,
        description="Cut a long video into segments that several workers track at once: 'auto' "
        "(segments of SHOAL_SPLIT_S seconds) or their number. Requires direction 'forward' and "
        "text prompts.",
    )

    @field_validator("split", mode="before")
    @classmethod
    def _number_may_be_text(cls, value: object) -> object:
        return int(value) if isinstance(value, str) and value.isdecimal() else value

    @model_validator(mode="after")
    def _split_is_forward(self) -> Self:
        if self.split is not Split.OFF and self.direction is not Direction.FORWARD:
            raise InvalidOption(
                f"'split' requires direction 'forward', not '{self.direction}': segments are "
                "joined in the order of the video",
                hint="Remove 'split' or 'direction'.",
            )
        return self

    @field_validator("start_frame")
    @classmethod
    def _start_fits_direction(cls, value: int | None, info: ValidationInfo) -> int | None:
        direction = info.data.get("direction")
        if direction is Direction.BOTH and value is None:
            raise ValueError("direction 'both' requires 'start_frame'")
        # Forward from frame 0 is the default, so both are the same job.
        return None if direction is Direction.FORWARD and value == 0 else value

    @model_validator(mode="before")
    @classmethod
    def _redaction_sees_every_frame(cls, given: object) -> object:
        if not isinstance(given, dict) or "outputs" not in given:
            return given
        if not any(isinstance(each, Redact) for each in parse_outputs(given["outputs"])):
            return given
        chosen = given.get("sample_fps", AUTO)
        return {**given, "sample_fps": 0.0 if chosen == AUTO else chosen}

    @model_validator(mode="after")
    def _redaction_skips_no_frame(self) -> Self:
        if self.sample_fps and any(isinstance(each, Redact) for each in self.outputs):
            raise InvalidOption(
                "'redact' requires every frame", hint="Remove 'sample_fps' or set it to 0."
            )
        return self

    outputs: Outputs = Field(
        default_factory=lambda: USUAL,  # a plain default would be deep-copied each time
        description="Outputs to write: kinds, or objects with 'kind' and its options. The mask "
        "table is always included.",
    )


class Role(StrEnum):
    """What is done with a segment of a split job."""

    TRACK = "track"
    RENDER = "render"  # draw what is to be seen of it, once its object IDs are known


class SplitSegment(BaseModel):
    """Which part of a split job a work item is.

    Attributes:
        job: ID of the job.
        number: of the segment, from 1, in the order of the video.
        plan: name of the file in the job's split folder that says where the segments lie.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    job: str
    role: Role
    number: Annotated[int, Field(ge=1, le=MAX_SEGMENTS)]
    plan: str


class JobSpec(BaseModel):
    """One video with its prompts and options: everything that a worker needs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    uri: str
    version: str = Field(description="Identifies this content among all versions at the same URI.")
    size: int = Field(ge=0, description="Size in bytes; 0 if not known.")
    prompts: tuple[str, ...]
    objects: tuple[VisualPrompt, ...] = Field(
        (), description="Visual prompts: points, boxes or masks."
    )
    remove_objects: tuple[Removal, ...] = Field(
        (), description="Objects to exclude from the results."
    )
    exemplars: tuple[Exemplar, ...] = Field(
        (), description="Boxes around examples of what to find, or not to find."
    )
    base: str = Field("", description="ID of the job whose results this one refines.")
    edits: Edits | None = Field(None, description="Edits of the results of 'base'.")
    options: Options = Field(default_factory=Options)
    results: str = Field(
        description="URI of the folder in which the results folder '<job id>/' is created."
    )
    segment: SplitSegment | None = Field(
        None, description="Of a work item that is a segment of a split job: which one."
    )

    _known_as: str = PrivateAttr("")

    def known_as(self, job_id: str) -> JobSpec:
        """This spec under the ID that an earlier release gave its job; it made other hashes."""
        if job_id == self.id:
            return self
        spec = self.model_copy()
        spec._known_as = job_id
        return spec

    @property
    def id(self) -> str:
        """A hash of URI, version, prompts and options: the same submission is the same job."""
        if self._known_as:
            return self._known_as
        identity: dict[str, Any] = {
            "uri": self.uri,
            "version": self.version,
            "prompts": self.prompts,  # in their order, which numbers categories and colours
            # Without defaults: an option added in a new release does not change existing IDs.
            "options": self.options.model_dump(exclude_defaults=True),
        }
        if self.objects:  # their order determines the object IDs
            identity["objects"] = _dumped(self.objects)
        if self.remove_objects:
            identity["remove_objects"] = _dumped(self.remove_objects)
        if self.exemplars:
            identity["exemplars"] = _dumped(self.exemplars)
        if self.segment:
            identity["segment"] = self.segment.model_dump()
        if self.base:
            identity["base"] = self.base
        if self.edits:
            identity["edits"] = self.edits.model_dump(mode="json", exclude_defaults=True)
        text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:24]

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of objects in the results: prompts, labels of visual prompts, those of edits."""
        given = labels(self.prompts, self.objects, self.exemplars)
        return tuple(dict.fromkeys((*given, *self.edits.labels))) if self.edits else given

    @property
    def is_corrected(self) -> bool:
        """Whether it is a run of ``base`` again with more visual prompts, after all of its own."""
        return bool(self.base) and not self.is_edited

    @property
    def is_edited(self) -> bool:
        """Whether the results are those of ``base`` with edits, which takes no model."""
        return self.edits is not None and not self.edits.is_empty

    @property
    def stem(self) -> str:
        """The file name without its suffix; names of result files start with it.

        One that leaves no room for their endings is shortened, and told apart by a hash.
        """
        name = self.uri.rstrip("/").rsplit("/", 1)[-1]
        if self.uri.startswith("file:"):
            name = unquote(name)  # gs:// and s3:// URIs are not percent-encoded
        elif is_web(self.uri):
            name = path_of(self.uri).name
        return fit(name.rsplit(".", 1)[0] or name, MAX_STEM_BYTES)

    @property
    def results_prefix(self) -> str:
        return self.results_folder(self.id)

    @property
    def earlier_id(self) -> str:
        """The ID that a release gave this job which ignored the order of prompts; empty where it is
        the same."""
        ordered = tuple(sorted(self.prompts))
        if self._known_as or ordered == tuple(self.prompts):
            return ""
        return self.model_copy(update={"prompts": ordered}).id

    def results_folder(self, job_id: str) -> str:
        """The results of another version of the video."""
        return f"{self.results.rstrip('/')}/{job_id}/"

    def parts_folder(self, job_id: str) -> str:
        """What unfinished attempts at a version leave for the next one."""
        return f"{self.results.rstrip('/')}/.parts/{job_id}/"


def _dumped(models: Iterable[BaseModel]) -> list[dict[str, Any]]:
    return [each.model_dump(mode="json", exclude_defaults=True) for each in models]
