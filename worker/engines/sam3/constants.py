"""What transformers computes for every frame and is the same for all: made once per model.

In half precision the tables are made in float32 and cast, as Meta's package has them. Transformers
makes them in the model's dtype: sines are off by up to 0.063, the positions of the ViT's global
attention by up to 0.042 of a window's cell (v. 5.23, in bfloat16).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import Sam3TrackerVideoModel, Sam3VideoModel
from transformers.models.sam3.modeling_sam3 import (
    Sam3DetrDecoder,
    Sam3SinePositionEmbedding,
    Sam3ViTLayer,
)
from transformers.models.sam3_tracker_video.modeling_sam3_tracker_video import (
    Sam3TrackerVideoMemoryAttention,
    Sam3TrackerVideoPositionEmbeddingSine,
)


def prepare(model: Sam3VideoModel) -> None:
    """Replace what a loaded model recomputes, on its device. Values are those of float32."""
    for module in model.modules():
        each: Any = module
        if isinstance(module, Sam3SinePositionEmbedding | Sam3TrackerVideoPositionEmbeddingSine):
            each.forward = _sines(each.forward)
        if isinstance(module, Sam3SinePositionEmbedding):
            each.encode_boxes = _in_float32(each.encode_boxes)
        if isinstance(module, Sam3ViTLayer):
            positions = module.precompute_positions(module.config, module.window_size)
            each.position_ids = positions.to(model.device)
            each.rotary_emb.forward = _rotations(each)
        if isinstance(module, Sam3TrackerVideoMemoryAttention):
            each.rotary_emb.forward = _rotations(each)
        if isinstance(module, Sam3DetrDecoder):
            each._get_coords = _coordinates(model.tracker_model.backbone_feature_sizes[-1])


def _sines(build: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A table for each size of a map, whatever the batch: ``forward`` of the sine embeddings."""
    tables: dict[Any, Tensor] = {}

    def forward(shape: torch.Size, device: Any, dtype: torch.dtype, mask: Any = None) -> Tensor:
        if mask is not None:
            return build(shape, device, dtype, mask)
        if torch.compiler.is_compiling():  # nothing may be kept from within a graph
            return build(shape, device, torch.float32).to(dtype)
        key = shape[2:], device, dtype
        if key not in tables:
            tables[key] = build(torch.Size((1, *shape[1:])), device, torch.float32).to(dtype)
        return tables[key].expand(shape[0], -1, -1, -1)

    return forward


def _in_float32(encode: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda boxes: encode(boxes.float()).to(boxes.dtype)


def _rotations(layer: Any) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The cosines and sines of rotary attention, in float32: ``forward`` of its embedding."""
    table: tuple[Tensor, Tensor] = layer.rotary_emb(layer.position_ids, layer.position_ids)
    return lambda x, position_ids: table


def _coordinates(size: Sequence[int]) -> Callable[..., tuple[Tensor, Tensor]]:
    """The grid of the coarsest map (modeling_sam3.py:1716).

    Transformers reads its size from a tensor, which waits for the device twelve times per pass and
    breaks the graph of the detector in ten.
    """
    height, width = size

    def coordinates(*_: Any, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
        rows = torch.arange(0, height, device=device, dtype=dtype) / height
        return rows, torch.arange(0, width, device=device, dtype=dtype) / width

    return coordinates


class TrackerConstants:
    """Constants of a tracker in one dtype.

    Attributes:
        no_prompt: sparse (1, 1, n, C) and dense (1, C, H, W) embeddings of no prompt at all.
        image: (1, C, H, W) position encoding of the mask decoder.
        places: (M, H * W, 64): position encodings of memories by age, at age - 1 (t:1195, t:2321);
            those of conditioning frames, whose age counts as 0, come last.
    """

    def __init__(self, tracker: Sam3TrackerVideoModel, like: Tensor) -> None:
        """
        Args:
            like: any tensor of the wanted device and dtype.
        """
        self.no_prompt: tuple[Tensor, Tensor] = tracker.prompt_encoder(
            input_points=like.new_zeros(1, 1, 1, 2),
            input_labels=-torch.ones(1, 1, 1, dtype=torch.int32, device=like.device),
            input_boxes=None,
            input_masks=None,
        )
        self.image = tracker.get_image_wide_positional_embeddings()
        shape = torch.Size((1, tracker.mem_dim, *tracker.backbone_feature_sizes[-1]))
        encoding: Tensor = tracker.memory_encoder.position_encoding(shape, like.device, like.dtype)
        ages = tracker.memory_temporal_positional_encoding
        self.places = encoding.flatten(2).mT + ages.flatten(1, 2)


def constants_of(tracker: Sam3TrackerVideoModel, like: Tensor) -> TrackerConstants:
    """The constants of a tracker, made at their first use."""
    known: dict[Any, TrackerConstants] = tracker.__dict__.setdefault("shoal_constants", {})
    key = like.device, like.dtype
    if key not in known:
        known[key] = TrackerConstants(tracker, like)
    return known[key]


def to_device(values: Sequence[int] | Sequence[float], like: Tensor) -> Tensor:
    """Numbers of the host on the device of a tensor, without a wait: (n,) int64 or float32."""
    tensor = torch.tensor(values)
    if like.device == tensor.device:
        return tensor
    return tensor.pin_memory().to(like.device, non_blocking=True)
