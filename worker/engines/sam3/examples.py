"""Exemplars: boxes on a frame that show what to look for everywhere, or what not.

SAM 3's geometry encoder turns the boxes of a frame into tokens of the prompt, behind its words
(modeling_sam3.py:1171, 2302). Tokens of one frame are read with any other, so all exemplars are
encoded before the first frame is tracked, and used on every one. Meta's package takes one box, and
uses it on its own frame alone (sam3_video_inference.py:178, 365).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import Sam3VideoModel
from transformers.models.sam3.modeling_sam3 import Sam3VisionEncoderOutput

from worker.engines.base import Query

WITHOUT_WORDS = "visual"  # the text of a prompt that has none, as in training


@dataclass(frozen=True, slots=True)
class Example:
    """A box on a frame.

    Attributes:
        prompt: index into ``Query.concepts``.
        frame: ``Frame.index``.
        box: centre x and y, width and height, relative to the frame: 0 to 1.
        positive: whether it shows what to look for, not what to leave out.
    """

    prompt: int
    frame: int
    box: tuple[float, float, float, float]
    positive: bool


def examples_of(query: Query, size: tuple[int, int]) -> dict[int, list[Example]]:
    """The exemplars of a query by ``Frame.index``.

    Args:
        size: height and width of the video in pixels.
    """
    height, width = size
    by_frame: dict[int, list[Example]] = defaultdict(list)
    for each in query.exemplars:
        x0, y0, x1, y1 = each.box
        middle = (x0 + x1) / 2 / width, (y0 + y1) / 2 / height
        box = (*middle, (x1 - x0) / width, (y1 - y0) / height)
        prompt = query.concepts.index(each.prompt)
        by_frame[each.frame].append(Example(prompt, each.frame, box, each.positive))
    return dict(by_frame)


def encode_examples(
    model: Sam3VideoModel, vision: Sam3VisionEncoderOutput, examples: Sequence[Example]
) -> dict[tuple[int, int], Tensor]:
    """Run the geometry encoder on a frame, the first of a batch.

    Args:
        examples: all of that frame.

    Returns:
        By prompt and ``Frame.index`` the (T, C) tokens: one for each box, and one more.
    """
    groups: dict[tuple[int, int], list[Example]] = defaultdict(list)
    for each in examples:
        groups[each.prompt, each.frame].append(each)
    features = tuple(level[:1] for level in vision.fpn_hidden_states[:-1])
    positions = tuple(level[:1] for level in vision.fpn_position_encoding[:-1])
    tokens = {}
    for key, boxes in groups.items():
        encoded = model.detector_model.geometry_encoder(
            box_embeddings=torch.tensor([[each.box for each in boxes]]).to(features[-1]),
            box_mask=torch.ones(1, len(boxes), dtype=torch.bool, device=features[-1].device),
            box_labels=torch.tensor([[int(each.positive) for each in boxes]]).to(
                features[-1].device
            ),
            img_feats=features,
            img_pos_embeds=positions,
        )
        tokens[key] = encoded.last_hidden_state[0]
    return tokens
