"""What can be known of frames before they are tracked: vision features and detections.

Neither depends on the tracks, so several frames and all prompts go through the network together.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from transformers import Sam3VideoModel
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.sam3.modeling_sam3 import Sam3VisionEncoderOutput

from worker.predictors.sam3.cleanup import suppress_duplicates


@dataclass(frozen=True, slots=True)
class Prompts:
    """The texts of a session, encoded.

    Attributes:
        texts: P prompts.
        embeddings: (P, L, C), L tokens each.
        attention: (P, L) int64, 1 for tokens and 0 for padding.
    """

    texts: tuple[str, ...]
    embeddings: Tensor
    attention: Tensor


@dataclass(frozen=True, slots=True)
class Seen:
    """One frame before it is tracked.

    Attributes:
        masks: (D, h, w) logits of the detections, all prompts one after the other.
        scores: (D,) 0 to 1.
        prompts: D indices into ``Prompts.texts``.
        features: for the tracker, finest first: three tensors (H * W, 1, C).
        positions: (H * W, 1, C) encoding of the coarsest level.
    """

    masks: Tensor
    scores: Tensor
    prompts: list[int]
    features: list[Tensor]
    positions: Tensor

    def above(self, score: float) -> Seen:
        """The same frame with only those detections that have this score or more."""
        kept = (self.scores >= score).nonzero().flatten()
        prompts = [self.prompts[n] for n in kept.tolist()]
        return replace(self, masks=self.masks[kept], scores=self.scores[kept], prompts=prompts)


@torch.inference_mode()
def encode_prompts(model: Sam3VideoModel, tokens: list[Any], texts: tuple[str, ...]) -> Prompts:
    """Run the text encoder, once for a session.

    Args:
        tokens: for each text what the tokenizer returned: ``input_ids`` and ``attention_mask``,
            both (1, L) int64.
    """
    embeddings = [
        model.detector_model.get_text_features(
            input_ids=each["input_ids"], attention_mask=each["attention_mask"], return_dict=True
        ).pooler_output
        for each in tokens
    ]
    attention = [each["attention_mask"] for each in tokens]
    return Prompts(texts, torch.cat(embeddings), torch.cat(attention))


@torch.inference_mode()
def look_ahead(model: Sam3VideoModel, prompts: Prompts | None, pixels: Tensor) -> list[Seen]:
    """Encode frames and detect all prompts in them, in one pass.

    Args:
        prompts: None to detect nothing.
        pixels: (B, 3, S, S), as the processor makes them.
    """
    vision = model.detector_model.get_vision_features(pixel_values=pixels)
    features, positions = model.get_vision_features_for_tracker(vision)
    found = _detect(model, prompts, vision) if prompts else None
    seen = []
    for b in range(len(pixels)):
        masks, scores, which = _detections(model, b, found, features[0])
        seen.append(
            Seen(
                masks=masks,
                scores=scores,
                prompts=which,
                features=[level[:, b : b + 1] for level in features],
                positions=positions[-1][:, :1],
            )
        )
    return seen


def _detections(
    model: Sam3VideoModel, b: int, found: tuple[Tensor, Tensor] | None, like: Tensor
) -> tuple[Tensor, Tensor, list[int]]:
    """``Seen.masks``, ``Seen.scores`` and ``Seen.prompts`` of one frame of a batch.

    Args:
        found: what ``_detect`` returned; None if nothing was looked for.
        like: any tensor of the model's device and dtype.
    """
    if found is None:
        side = model.low_res_mask_size
        return like.new_zeros(0, side, side), like.new_zeros(0), []
    masks, scores = found[0][b], found[1][b]
    kept = [_pick(model, masks[p], scores[p]) for p in range(len(scores))]
    return (
        torch.cat([masks[p][index] for p, index in enumerate(kept)]),
        torch.cat([scores[p][index] for p, index in enumerate(kept)]),
        [p for p, index in enumerate(kept) for _ in range(len(index))],
    )


def _detect(
    model: Sam3VideoModel, prompts: Prompts, vision: Sam3VisionEncoderOutput
) -> tuple[Tensor, Tensor]:
    """The detector's answer to every prompt on every frame (v:572).

    Returns:
        (B, P, Q, h, w) mask logits and (B, P, Q) scores of its Q queries.
    """
    frames, texts = len(vision.fpn_hidden_states[0]), len(prompts.texts)

    def for_each_prompt(level: Tensor) -> Tensor:
        return level.repeat_interleave(texts, 0) if texts > 1 else level

    answer = model.detector_model(
        vision_embeds=Sam3VisionEncoderOutput(
            fpn_hidden_states=tuple(for_each_prompt(x) for x in vision.fpn_hidden_states),
            fpn_position_encoding=tuple(for_each_prompt(x) for x in vision.fpn_position_encoding),
        ),
        text_embeds=BaseModelOutputWithPooling(
            pooler_output=prompts.embeddings.repeat(frames, 1, 1)
        ),
        attention_mask=prompts.attention.repeat(frames, 1),
    )
    scores = answer.pred_logits.sigmoid() * answer.presence_logits.sigmoid()
    return (
        answer.pred_masks.unflatten(0, (frames, texts)),
        scores.unflatten(0, (frames, texts)),
    )


def _pick(model: Sam3VideoModel, masks: Tensor, scores: Tensor) -> Tensor:
    """The queries that count as detections of one prompt on one frame (v:600).

    Args:
        masks: (Q, h, w) logits.
        scores: (Q,).

    Returns:
        (D,) int64, ascending.
    """
    found = (scores > model.score_threshold_detection).nonzero().flatten()
    if model.det_nms_thresh <= 0 or not len(found):
        return found
    return found[suppress_duplicates(masks[found] > 0, scores[found], model.det_nms_thresh)]
