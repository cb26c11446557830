"""Settings of SAM 3's video model that a job can change, by the names that SAM 3 has for them."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from shoal.model.strict import Strict

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Sam3Options(Strict):
    """Quality and speed of the ``sam3`` engine; empty = as the weights have it.

    A job has them among its other options. The values at the end of the descriptions are those of
    ``facebook/sam3``.
    """

    model_config = ConfigDict(frozen=True)

    detect_every: Annotated[int, Field(ge=1, le=60)] = Field(
        1,
        description="Search for new objects on every n-th tracked frame; on the others, known "
        "objects are tracked only.",
    )
    score_threshold_detection: Share | None = Field(
        None, description="Minimum score of a detection, also of one that confirms a track: 0.5."
    )
    det_nms_thresh: Share | None = Field(
        None, description="Two detections of a prompt overlap by this IoU at most: 0.1."
    )
    fill_hole_area: Annotated[int, Field(ge=0, le=64)] | None = Field(
        None, description="Holes and islands of up to so many pixels of 288×288 are removed: 16."
    )
    recondition_every_nth_frame: Annotated[int, Field(ge=0, le=1000)] | None = Field(
        None,
        description="Detections renew the memory of their tracks on every n-th tracked frame; "
        "0 = never: 16.",
    )
    hotstart_delay: Annotated[int, Field(ge=0, le=60)] | None = Field(
        None,
        description="Tracked frames within which a new object can turn out to be none; 0 = never: "
        "15.",
    )
    memory_temporal_stride_for_eval: Annotated[int, Field(ge=1, le=8)] = Field(
        1, description="Memories of a track are so many tracked frames apart."
    )


def changed(options: Sam3Options) -> Sam3Options | None:
    """The settings alone; None if all have their defaults."""
    if options.model_fields_set.isdisjoint(Sam3Options.model_fields):
        return None
    given = options.model_dump(include=set(Sam3Options.model_fields), exclude_defaults=True)
    return Sam3Options(**given) if given else None
