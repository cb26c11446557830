"""A preview: what the model finds on a few frames of a video, before a job is submitted."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Self

from pydantic import BaseModel, FailFast, Field, model_validator

from shoal.model.failure import Failure
from shoal.model.job import MAX_STEM_BYTES, Options
from shoal.model.names import fit
from shoal.model.prompts import MAX_VISUAL_PROMPTS, Exemplar, VisualPrompt
from shoal.model.strict import Strict
from shoal.model.submission import Submission

MAX_FRAMES = 12
USUAL_FRAMES = 6
MAX_STILLS = 2 * MAX_FRAMES  # those asked for, and those with visual prompts
MAX_WIDTH = 1280  # pixels of a picture
MAX_OBJECTS = 100  # on a frame; the best ones are kept
MAX_MASK_CHARS = 16_000  # of run lengths: more than a jagged mask of that width has

Score = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, le=1e7, allow_inf_nan=False)]
Pixels = Annotated[int, Field(ge=1, le=1 << 16)]
Coordinate = Annotated[float, Field(ge=-1, le=1 << 17, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=2**53)]
Text = Annotated[str, Field(max_length=200)]


class PreviewRequest(Strict):
    """``POST /previews``."""

    uri: str = Field(min_length=1, max_length=4096, description="URI of the video.")
    prompts: Annotated[list[str], FailFast()] = Field(
        [],
        description="What to find: 1 to 16 short phrases. May be empty if 'objects' or "
        "'exemplars' is given.",
    )
    objects: Annotated[list[VisualPrompt], FailFast()] = Field(
        [], max_length=MAX_VISUAL_PROMPTS, description="Visual prompts; their frames are shown."
    )
    exemplars: Annotated[list[Exemplar], FailFast()] = Field(
        [],
        max_length=MAX_VISUAL_PROMPTS,
        description="Boxes around examples, which apply to all frames; theirs are shown.",
    )
    frames: int = Field(
        USUAL_FRAMES,
        ge=1,
        le=MAX_FRAMES,
        description="Number of frames, at about equal distances; ignored with 'times_s'.",
    )
    times_s: Annotated[list[Seconds], FailFast()] = Field(
        [], max_length=MAX_FRAMES, description="Times of the frames, from the first frame on."
    )
    score_threshold: Score | None = Field(
        None, description="Minimum score; empty = what starts a track in a job."
    )
    engine: str = Field("auto", max_length=40)
    draw: bool = Field(False, description="Draw what was found into the pictures.")

    @model_validator(mode="after")
    def _has_few_frames(self) -> Self:
        if len(_frames(self.objects, self.exemplars)) > MAX_FRAMES:
            raise ValueError(f"'objects' and 'exemplars' must be on at most {MAX_FRAMES} frames")
        return self

    @property
    def submission(self) -> Submission:
        """The job that a preview stands for: it is validated as that one is."""
        options = Options(score_threshold=self.score_threshold, engine=self.engine)
        return Submission(
            uri=self.uri,
            prompts=self.prompts,
            objects=self.objects,
            exemplars=self.exemplars,
            options=options,
        )


class PreviewSpec(BaseModel, frozen=True):
    """A validated request: everything that a worker needs."""

    id: str
    uri: str
    size: int
    prompts: tuple[str, ...]
    objects: tuple[VisualPrompt, ...] = ()
    exemplars: tuple[Exemplar, ...] = ()
    frames: int = USUAL_FRAMES
    times_s: tuple[float, ...] = ()
    score_threshold: float | None = None
    engine: str = "auto"
    draw: bool = False

    @property
    def pointed_frames(self) -> list[int]:
        """Those that visual prompts and exemplars are on."""
        return sorted(_frames(self.objects, self.exemplars))

    @property
    def stem(self) -> str:
        """The name that pictures are saved under."""
        name = self.uri.rstrip("/").rsplit("/", 1)[-1]
        return fit(name.rsplit(".", 1)[0] or name, MAX_STEM_BYTES)


def _frames(objects: Iterable[VisualPrompt], exemplars: Iterable[Exemplar]) -> set[int]:
    return {each.frame for each in objects} | {each.frame for each in exemplars}


class PreviewState(StrEnum):
    WAITING = "waiting"  # for a worker
    RUNNING = "running"  # a worker is at it; frames appear one by one
    DONE = "done"
    FAILED = "failed"  # 'error' has the reason

    @property
    def is_final(self) -> bool:
        return self in (PreviewState.DONE, PreviewState.FAILED)


class PreviewMask(BaseModel):
    """A mask as compressed COCO RLE at the size of the picture."""

    size: tuple[Pixels, Pixels] = Field(description="Height and width of the picture.")
    counts: str = Field(max_length=MAX_MASK_CHARS)


class PreviewObject(BaseModel):
    """What was found on a frame."""

    prompt: Text
    object: Text = Field("", description="Name of the object, if it was pointed at.")
    pointed: bool = Field(False, description="Whether it was pointed at.")
    score: Score
    box: tuple[Coordinate, Coordinate, Coordinate, Coordinate] = Field(
        description="x0, y0, x1, y1 in pixels of the video."
    )
    mask: PreviewMask


class PreviewFrame(BaseModel):
    """One frame; its picture is a JPEG of its own."""

    frame: Count = Field(description="Index of the frame in the source, from 0.")
    exact: bool = Field(
        description="Whether 'frame' is exact; else it follows from time and frame rate."
    )
    time_s: Seconds
    width: Pixels = Field(description="Pixels of the upright video.")
    height: Pixels
    detect_s: Seconds = Field(description="Seconds that the model took.")
    objects: list[PreviewObject] = Field(max_length=MAX_OBJECTS)
    left_out: Count = Field(0, description="Further objects that were found.")
    picture: str = Field("", max_length=200, description="Path of the JPEG, relative to the API.")


class PreviewVideo(BaseModel):
    """What is known of the video without reading it, and of a job over it."""

    fps: Annotated[float, Field(ge=0, le=1e6)]
    duration_s: Seconds = Field(description="0 = not known.")
    tracked_fps: Annotated[float, Field(ge=0, le=1e6)] = Field(
        0, description="Frames per second that a job on this engine tracks at least."
    )
    start_scores: dict[Text, Score] = Field(
        {}, description="By prompt: the score from which a job starts a track by default."
    )


class Preview(BaseModel):
    """``GET /previews/{id}``."""

    id: str
    state: PreviewState
    uri: str
    engine: str = Field("", description="Engine of the worker that answers.")
    video: PreviewVideo | None = None
    frames: list[PreviewFrame] = []
    error: Failure | None = None
