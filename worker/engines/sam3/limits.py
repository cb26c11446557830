"""The limits that a user can set, as transformers knows them."""

from __future__ import annotations

import copy
import logging

from transformers import Sam3VideoModel

from worker.engines.base import Query

# Fields of ``Sam3Options`` that are attributes of the model.
KNOBS = (
    "score_threshold_detection",
    "det_nms_thresh",
    "fill_hole_area",
    "recondition_every_nth_frame",
    "hotstart_delay",
)

# It warns of every frame on which ``max_num_objects`` is reached.
logging.getLogger("transformers.models.sam3_video.modeling_sam3_video").setLevel(logging.ERROR)


def limited(model: Sam3VideoModel, query: Query) -> Sam3VideoModel:
    """The model with the limits of one query; parameters are shared, not copied.

    ``score_threshold`` is ``new_det_thresh`` (0.7 in the published model), from which a detection
    that matches no track begins one. Where it is lower than ``score_threshold_detection`` (0.5),
    from which a detection counts at all, that is lowered too. ``max_objects`` is
    ``max_num_objects``: of the new objects of a frame the best ones find room. ``sam3`` names
    attributes of the model itself.
    """
    own = copy.copy(model)
    for name in KNOBS:
        if (value := getattr(query.sam3, name, None)) is not None:
            setattr(own, name, value)
    if query.score_threshold is not None:
        own.new_det_thresh = query.score_threshold
        own.score_threshold_detection = min(own.score_threshold_detection, query.score_threshold)
    if query.max_objects:
        own.max_num_objects = query.max_objects
    return own
