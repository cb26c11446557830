"""The request body of ``POST /videos``."""

from __future__ import annotations

from typing import Annotated

from pydantic import FailFast, Field

from shoal.model.job import Options
from shoal.model.prompts import MAX_REMOVALS, MAX_VISUAL_PROMPTS, Exemplar, Removal, VisualPrompt
from shoal.model.share import Level
from shoal.model.strict import Strict


class Submission(Strict):
    """``POST /videos``."""

    uri: str = Field(
        min_length=1,
        max_length=4096,
        description="URI of the video, or of a folder of JPEG, PNG or WebP frames (ending in /).",
    )
    prompts: Annotated[list[str], FailFast()] = Field(
        [],
        description="What to find: 1 to 16 short phrases. May be empty if 'objects' or "
        "'exemplars' is given.",
    )
    objects: Annotated[list[VisualPrompt], FailFast()] = Field(
        [],
        max_length=MAX_VISUAL_PROMPTS,
        description="Visual prompts: the position of an object on one frame, corrections on "
        "later ones.",
    )
    remove_objects: Annotated[list[Removal], FailFast()] = Field(
        [], max_length=MAX_REMOVALS, description="Objects to exclude from the results, by ID."
    )
    exemplars: Annotated[list[Exemplar], FailFast()] = Field(
        [],
        max_length=MAX_VISUAL_PROMPTS,
        description="Boxes around examples: everything like them is found, or left out.",
    )
    options: Options = Field(default_factory=Options)
    callback: str = Field(
        "",
        max_length=2000,
        description="Webhook URL that is notified when the job ends. Not part of the job's "
        "identity.",
    )
    priority: Level | None = Field(
        None,
        description="Priority of the job among all jobs; empty = that of the token, else normal. "
        "Not part of the job's identity.",
    )
