"""What can be known of frames before they are tracked: vision features and detections.

Neither depends on the tracks, so several frames and all prompts go through the network together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import Sam3VideoModel
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.sam3.modeling_sam3 import Sam3VisionEncoderOutput

from worker.engines.sam3.cleanup import keep_best, mask_iou
from worker.engines.sam3.constants import to_device
from worker.engines.sam3.examples import Example, encode_examples


@dataclass(slots=True)
class Prompts:
    """What the detector looks for in a session: texts, and examples, encoded.

    Attributes:
        texts: P prompts.
        embeddings: (P, L, C), L tokens each.
        attention: (P, L) int64, 1 for tokens and 0 for padding.
        examples: (T, C) tokens by prompt and ``Frame.index``.
    """

    texts: tuple[str, ...]
    embeddings: Tensor
    attention: Tensor
    examples: dict[tuple[int, int], Tensor] = field(default_factory=dict)

    def with_examples(self) -> tuple[Tensor, Tensor]:
        """``embeddings`` and ``attention`` with the examples behind the texts (as Meta's package).

        Prompts with fewer examples are padded.
        """
        if not self.examples:
            return self.embeddings, self.attention
        behind: list[list[Tensor]] = [[] for _ in self.texts]
        for (p, _), tokens in sorted(self.examples.items(), key=lambda item: item[0]):
            behind[p].append(tokens)
        empty = self.embeddings.new_zeros(0, self.embeddings.shape[-1])
        each = [torch.cat([empty, *tokens]) for tokens in behind]
        known = [self.attention.new_ones(len(tokens)) for tokens in each]
        return (
            torch.cat([self.embeddings, pad_sequence(each, batch_first=True)], 1),
            torch.cat([self.attention, pad_sequence(known, batch_first=True)], 1),
        )


@dataclass(frozen=True, slots=True)
class Lookahead:
    """One frame before it is tracked.

    Attributes:
        masks: (D, h, w) logits of the detections, all prompts one after the other.
        scores: (D,) 0 to 1.
        prompts: D indices into ``Prompts.texts``.
        features: for the tracker, finest first: three tensors (H * W, 1, C).
        positions: (H * W, 1, C) encoding of the coarsest level.
        searched: whether detections were looked for.
    """

    masks: Tensor
    scores: Tensor
    prompts: list[int]
    features: list[Tensor]
    positions: Tensor
    searched: bool = True

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All of them."""
        return self.masks, self.scores, *self.features, self.positions

    def above(self, score: float) -> Lookahead:
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
def read_examples(
    model: Sam3VideoModel, prompts: Prompts, pixels: Tensor, examples: Sequence[Example]
) -> list[Tensor]:
    """Add examples to the prompts.

    Args:
        pixels: (B, 3, S, S), their frame first.

    Returns:
        What was added to ``prompts.examples``.
    """
    vision = model.detector_model.get_vision_features(pixel_values=pixels)
    added = encode_examples(model, vision, examples)
    prompts.examples |= added
    return list(added.values())


@torch.inference_mode()
def look_ahead(
    model: Sam3VideoModel,
    prompts: Prompts | None,
    pixels: Tensor,
    searched: Sequence[int] | None = None,
) -> list[Lookahead]:
    """Encode frames and detect all prompts in them, in one pass.

    Args:
        prompts: None to detect nothing.
        pixels: (B, 3, S, S), as the processor makes them.
        searched: the frames on which to detect; None for all.
    """
    vision = model.detector_model.get_vision_features(pixel_values=pixels)
    features, positions = model.get_vision_features_for_tracker(vision)
    side = model.low_res_mask_size
    frames = list(range(len(pixels))) if searched is None else list(searched)
    if prompts and frames:
        masks, scores = _detect(model, prompts, _some(vision, frames, pixels))
        on_host = scores.float().cpu().numpy()  # of all frames and prompts: one wait
    seen = []
    for b in range(len(pixels)):
        found, which = features[0].new_zeros(0, side, side), list[int]()
        certain = features[0].new_zeros(0)
        if prompts and b in frames:
            n = frames.index(b)
            found, certain, which = _pick(model, masks[n], scores[n], on_host[n])
        seen.append(
            Lookahead(
                masks=found,
                scores=certain,
                prompts=which,
                features=[level[:, b : b + 1] for level in features],
                positions=positions[-1][:, :1],
                searched=b in frames,
            )
        )
    return seen


def _some(
    vision: Sam3VisionEncoderOutput, frames: list[int], like: Tensor
) -> Sam3VisionEncoderOutput:
    """The features of some frames of a batch."""
    if len(frames) == len(like):
        return vision
    chosen = to_device(frames, like)
    return Sam3VisionEncoderOutput(
        fpn_hidden_states=tuple(level[chosen] for level in vision.fpn_hidden_states),
        fpn_position_encoding=tuple(level[chosen] for level in vision.fpn_position_encoding),
    )


def _detect(
    model: Sam3VideoModel, prompts: Prompts, vision: Sam3VisionEncoderOutput
) -> tuple[Tensor, Tensor]:
    """The detector's answer to every prompt on every frame (v:572).

    Returns:
        (B, P, Q, h, w) mask logits and (B, P, Q) scores of its Q queries.
    """
    frames, texts = len(vision.fpn_hidden_states[0]), len(prompts.texts)

    embeddings, attention = prompts.with_examples()

    def for_each_prompt(level: Tensor) -> Tensor:
        return level.repeat_interleave(texts, 0) if texts > 1 else level

    answer = model.detector_model(
        vision_embeds=Sam3VisionEncoderOutput(
            fpn_hidden_states=tuple(for_each_prompt(x) for x in vision.fpn_hidden_states),
            fpn_position_encoding=tuple(for_each_prompt(x) for x in vision.fpn_position_encoding),
        ),
        text_embeds=BaseModelOutputWithPooling(pooler_output=embeddings.repeat(frames, 1, 1)),
        attention_mask=attention.repeat(frames, 1),
    )
    scores = answer.pred_logits.sigmoid() * answer.presence_logits.sigmoid()
    return (
        answer.pred_masks.unflatten(0, (frames, texts)),
        scores.unflatten(0, (frames, texts)),
    )


def _pick(
    model: Sam3VideoModel, masks: Tensor, scores: Tensor, on_host: NDArray[np.float32]
) -> tuple[Tensor, Tensor, list[int]]:
    """The queries that count as detections on one frame, all prompts one after the other (v:600).

    Args:
        masks: (P, Q, h, w) logits.
        scores: (P, Q), and the same on the host.

    Returns:
        ``Lookahead.masks``, ``Lookahead.scores`` and ``Lookahead.prompts``.
    """
    of_prompt, query = (on_host > model.score_threshold_detection).nonzero()
    chosen = to_device((of_prompt * scores.shape[1] + query).tolist(), scores).long()
    found = masks.flatten(0, 1)[chosen]
    certain = scores.flatten()[chosen]
    if model.det_nms_thresh <= 0 or not len(query):
        return found, certain, of_prompt.tolist()
    binary = found > 0
    rivals = (mask_iou(binary, binary) > model.det_nms_thresh).cpu().numpy()
    rivals &= of_prompt[:, None] == of_prompt
    kept = keep_best(rivals, on_host[of_prompt, query])
    if len(kept) < len(query):
        left = to_device(kept, scores)
        found, certain = found[left], certain[left]
    return found, certain, of_prompt[kept].tolist()
