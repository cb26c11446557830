"""A SAM3 video checkpoint of 14 MB with random weights, built offline, and the engine on it.

It goes through the real ``from_pretrained`` and the real forward passes. Its biases make it find
objects by default thresholds, keep some of them, and remove others in hotstart.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.sam3 import torchvision_on_cpu  # noqa: F401 - before anything imports torchvision

from transformers import (  # isort: skip
    CLIPTokenizer,
    Sam2VideoVideoProcessor,
    Sam3ImageProcessor,
    Sam3VideoConfig,
    Sam3VideoModel,
    Sam3VideoProcessor,
)

SIZE = 112  # the side of the square that frames are scaled to, in pixels
PATCH = 14  # the side of a cell of the coarsest feature map
CONFIG = {"det_nms_thresh": 0.9}  # what it finds overlaps more than things do
WIDTH = 128  # channels; the tracker needs more than its memories' 64
NARROW = 32


def save_checkpoint(
    folder: Path,
    change: Callable[[Sam3VideoModel], None] = lambda model: None,
    size: int = SIZE,
    **config: float,
) -> Path:
    """Write a checkpoint as ``save_pretrained`` does.

    Args:
        change: done to the model's parameters before.
        size: the side of the square that frames are scaled to, a multiple of ``2 * PATCH``.
        config: fields of ``Sam3VideoConfig`` that differ from ``CONFIG``.
    """
    torch.manual_seed(0)
    words = tokenizer()
    model = Sam3VideoModel(_config(len(words), size, CONFIG | config)).eval()
    with torch.no_grad():
        _bias(model)
        change(model)
    model.save_pretrained(folder)
    square = {"height": size, "width": size}
    low = 4 * (size // PATCH)
    Sam3VideoProcessor(
        Sam3ImageProcessor(size=square, mask_size={"height": low, "width": low}),
        Sam2VideoVideoProcessor(size=square, image_mean=[0.5] * 3, image_std=[0.5] * 3),
        words,
    ).save_pretrained(folder)
    return folder


def mindful(model: Sam3VideoModel) -> None:
    """Let the memory matter: with small random weights all objects would look alike."""
    torch.manual_seed(1)
    for name, parameter in model.tracker_model.named_parameters():
        if "memory_attention" in name and parameter.ndim == 2:
            parameter.mul_(3)
        if "memory_temporal" in name or "no_object_pointer" in name:
            parameter.normal_()


def forgetful(model: Sam3VideoModel) -> None:
    """Let tracks drift off until hotstart removes them all, and detections start new ones."""
    mindful(model)
    for head in model.tracker_model.mask_decoder.output_hypernetworks_mlps:
        head.proj_out.bias.zero_()
        head.proj_out.weight.mul_(10)


def load() -> Any:
    """The engine on a checkpoint of its own, for small pictures and little time.

    ``SHOAL_ENGINE=tests.sam3.tiny:load`` has a worker take it.
    """
    from worker.engines.sam3.predictor import Sam3Predictor

    with tempfile.TemporaryDirectory() as folder:
        save_checkpoint(Path(folder), size=4 * PATCH)
        return Sam3Predictor(folder)


def _bias(model: Sam3VideoModel) -> None:
    """Shift the random network to where it finds objects, and tracks what it found."""
    detector, decoder = model.detector_model, model.tracker_model.mask_decoder
    detector.detr_decoder.presence_head.layer3.bias.fill_(10.0)
    detector.dot_product_scoring.text_proj.weight.mul_(30.0)
    detector.dot_product_scoring.query_proj.weight.mul_(30.0)
    embedder = detector.mask_decoder.mask_embedder.layers[-1]
    embedder.weight.mul_(1000.0)
    embedder.bias.mul_(1000.0)
    decoder.pred_obj_score_head.proj_out.bias.fill_(10.0)
    for head in decoder.output_hypernetworks_mlps:
        head.proj_out.bias.fill_(1.0)


def tokenizer(size: int = 0) -> CLIPTokenizer:
    """CLIP's alphabet of bytes without a single merge: every letter is a token.

    Args:
        size: of the vocabulary, at least; what it lacks is filled up with words that do not occur.
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(b) for b in printable] + [chr(256 + i) for i in range(256 - len(printable))]
    words = [*letters, *(letter + "</w>" for letter in letters)]
    words += [f"<unused {n}>" for n in range(size - len(words) - 2)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: number for number, word in enumerate(words)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=32)


def _config(words: int, size: int, config: dict[str, Any]) -> Sam3VideoConfig:
    grid = size // PATCH
    vision = {
        "model_type": "sam3_vision_model",
        "fpn_hidden_size": WIDTH,
        "backbone_feature_sizes": [[4 * grid] * 2, [2 * grid] * 2, [grid] * 2],
        "backbone_config": {
            "model_type": "sam3_vit_model",
            "hidden_size": NARROW,
            "intermediate_size": NARROW,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": size,
            "pretrain_image_size": size,
            "window_size": grid // 2,
            "global_attn_indexes": [1],
        },
    }
    return Sam3VideoConfig(
        low_res_mask_size=4 * grid,
        detector_config=_detector(vision, words),
        tracker_config=_tracker(vision, size),
        **config,
    )


def _detector(vision: dict[str, Any], words: int) -> dict[str, Any]:
    layer = {
        "hidden_size": WIDTH,
        "num_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": NARROW,
    }
    return {
        "model_type": "sam3",
        "vision_config": vision,
        "text_config": {
            "model_type": "clip_text_model",
            "vocab_size": words,
            "hidden_size": NARROW,
            "intermediate_size": NARROW,
            "projection_dim": NARROW,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "max_position_embeddings": 32,
            "bos_token_id": words - 2,
            "eos_token_id": words - 1,
            "pad_token_id": words - 1,
        },
        "geometry_encoder_config": layer | {"roi_size": 1},
        "detr_encoder_config": layer,
        "detr_decoder_config": layer | {"num_queries": 4},
        "mask_decoder_config": {"hidden_size": WIDTH, "num_attention_heads": 2},
    }


def _tracker(vision: dict[str, Any], size: int) -> dict[str, Any]:
    return {
        "model_type": "sam3_tracker_video",
        "vision_config": vision,
        "image_size": size,
        "prompt_encoder_config": {"hidden_size": WIDTH, "image_size": size},
        "mask_decoder_config": {
            "hidden_size": WIDTH,
            "mlp_dim": NARROW,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": NARROW,
        },
        "memory_attention_hidden_size": WIDTH,
        "memory_attention_num_layers": 1,
        "memory_attention_feed_forward_hidden_size": NARROW,
        "memory_encoder_hidden_size": WIDTH,
        "memory_encoder_output_channels": 64,
        "mask_downsampler_embed_dim": WIDTH,
        "memory_fuser_num_layers": 1,
        "memory_fuser_embed_dim": WIDTH,
        "memory_fuser_intermediate_dim": NARROW,
    }
