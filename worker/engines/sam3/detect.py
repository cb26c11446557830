"""SAM3 on a single picture: the detector for texts, the tracker's decoder for visual prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from worker.engines.base import FrameResult, Query
from worker.engines.sam3.examples import examples_of
from worker.engines.sam3.limits import limited
from worker.engines.sam3.lookahead import Prompts, look_ahead, read_examples
from worker.engines.sam3.memory import Memory
from worker.engines.sam3.output import to_result
from worker.engines.sam3.pointing import PointedObject
from worker.engines.sam3.streams import Streams, to_pixels
from worker.engines.sam3.tracker import Tracked
from worker.engines.sam3.weights import LoadedModel
from worker.video.frame import Frame


@torch.inference_mode()
def learn(
    loaded: LoadedModel,
    shown: Sequence[Frame],
    query: Query,
    prompts: Prompts,
    streams: Streams,
) -> None:
    """Have prompts know the exemplars of a query.

    Args:
        shown: the frames that these are on.

    Raises:
        torch.OutOfMemoryError
    """
    model = loaded.model
    for frame in shown:
        size = frame.picture.height, frame.picture.width
        if examples := examples_of(query, size).get(frame.index):
            pixels = to_pixels(frame.picture, loaded.processor, streams, model.dtype)
            read_examples(model, prompts, streams.arrived([pixels]), examples)


@torch.inference_mode()
def detect(
    loaded: LoadedModel, frame: Frame, query: Query, prompts: Prompts | None, streams: Streams
) -> FrameResult:
    """What a session would see on its first frame, without a session.

    Raises:
        torch.OutOfMemoryError
        InvalidVisualPrompt: a correction of an object: there are no tracks here.
    """
    model = limited(loaded.model, query)
    pixels = to_pixels(frame.picture, loaded.processor, streams, model.dtype)
    (seen,) = look_ahead(model, prompts, streams.arrived([pixels]))
    seen = seen.above(model.new_det_thresh)
    size = frame.picture.height, frame.picture.width
    pointed = PointedObject(query, size)
    memory = Memory(
        inference_device=model.device, inference_state_device=model.device, dtype=model.dtype
    )
    ids, labels = list(range(len(seen.prompts))), list(seen.prompts)
    scores = seen.scores.tolist()
    masks: list[Tensor] = list(seen.masks)
    for hint in pointed.hints(frame.index):
        drawn = pointed.draw(model.tracker_model, memory, 0, seen, hint)
        ids.append(hint.id)
        labels.append(cast(int, hint.label))  # else drawing has refused
        scores.append(float(drawn.object_score_logits.float().sigmoid()))
        masks.append(drawn.pred_masks[0, 0])
    tracked = Tracked(frame.index, ids, labels, scores, [*scores], masks, set(), set())
    return to_result(tracked, (), query.labels, size)
