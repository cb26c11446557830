"""The limits that a user can set, as transformers knows them."""

from __future__ import annotations

import copy
import logging

from transformers import Sam3VideoModel

from worker.predictors.base import Query

# It warns of every frame on which ``max_num_objects`` is reached.
logging.getLogger("transformers.models.sam3_video.modeling_sam3_video").setLevel(logging.ERROR)


def limited(model: Sam3VideoModel, query: Query) -> Sam3VideoModel:
    """The model with the limits of one query; parameters are shared, not copied.

    ``score_threshold`` is ``new_det_thresh`` (0.7 in the published model), from which a detection
    that matches no track begins one. Where it is lower than ``score_threshold_detection`` (0.5),
    from which a detection counts at all, that is lowered too. ``max_objects`` is
    ``max_num_objects``: of the new objects of a frame the best ones find room.
    """
    own = copy.copy(model)
    if query.score_threshold is not None:
        own.new_det_thresh = query.score_threshold
        own.score_threshold_detection = min(own.score_threshold_detection, query.score_threshold)
    if query.max_objects:
        own.max_num_objects = query.max_objects
    return own
