"""What is computed once per model has the values of float32, whatever the model's dtype."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Sam3VideoModel
from transformers.models.sam3.modeling_sam3 import Sam3SinePositionEmbedding
from transformers.models.sam3_tracker_video.modeling_sam3_tracker_video import (
    Sam3TrackerVideoPositionEmbeddingSine,
)

from worker.engines.sam3.constants import constants_of, prepare

SINES = (Sam3SinePositionEmbedding, Sam3TrackerVideoPositionEmbeddingSine)
SHAPE = torch.Size((3, 128, 8, 8))
CPU = torch.device("cpu")


def load(checkpoint: Path, dtype: torch.dtype, *, prepared: bool) -> Any:
    loaded: Any = Sam3VideoModel.from_pretrained(checkpoint, dtype=dtype)
    model = loaded.eval()
    if prepared:
        prepare(model)
    return model


def modules(model: Any) -> list[Any]:
    return [module for module in model.modules() if isinstance(module, SINES)]


@pytest.fixture(scope="module", params=[torch.bfloat16, torch.float16])
def models(request: pytest.FixtureRequest, plain: Path) -> tuple[Any, Any, Any]:
    """In float32; in half precision with our constants; the same as transformers has it."""
    half = request.param
    return (
        load(plain, torch.float32, prepared=False),
        load(plain, half, prepared=True),
        load(plain, half, prepared=False),
    )


@torch.inference_mode()
def test_sine_tables_are_those_of_float32(models: tuple[Any, Any, Any]) -> None:
    off = 0.0
    for exact, ours, theirs in zip(*map(modules, models), strict=True):
        dtype = models[1].dtype
        expected = exact(SHAPE, CPU, torch.float32)
        for _ in range(2):  # made, and kept
            assert torch.equal(ours(SHAPE, CPU, dtype), expected.to(dtype))
        off = max(off, float((theirs(SHAPE, CPU, dtype).float() - expected).abs().max()))
    assert off > 0.002, "transformers makes them in the model's dtype"


@torch.inference_mode()
def test_boxes_are_encoded_in_float32(models: tuple[Any, Any, Any]) -> None:
    exact, ours = (model.detector_model.detr_decoder.position_encoding for model in models[:2])
    boxes = torch.rand(1, 9, 4, generator=torch.Generator().manual_seed(0)).to(models[1].dtype)
    assert torch.equal(ours.encode_boxes(boxes), exact.encode_boxes(boxes.float()).to(boxes.dtype))


@torch.inference_mode()
def test_rotations_are_those_of_float32_without_a_cast_of_their_positions(
    models: tuple[Any, Any, Any],
) -> None:
    def layers(model: Any) -> list[Any]:
        backbone = model.detector_model.vision_encoder.backbone
        return [*backbone.layers, model.tracker_model.memory_attention]

    for exact, ours, theirs in zip(*map(layers, models), strict=True):
        x = torch.zeros(1, dtype=models[1].dtype)
        for a, b in zip(
            exact.rotary_emb(x, exact.position_ids),
            ours.rotary_emb(x, ours.position_ids),
            strict=True,
        ):
            assert torch.equal(a, b)
        if theirs.position_ids.is_floating_point():
            assert theirs.position_ids.dtype == models[2].dtype
            assert ours.position_ids.dtype == torch.float32


def test_the_grid_of_the_detector_needs_no_size_from_the_device(
    models: tuple[Any, Any, Any],
) -> None:
    exact, ours = (model.detector_model.detr_decoder for model in models[:2])
    height, width = torch.tensor(8), torch.tensor(8)
    for dtype in (torch.float32, models[1].dtype):
        expected = exact._get_coords(height, width, dtype=dtype, device=CPU)
        found = ours._get_coords(height, width, dtype=dtype, device=CPU)
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@torch.inference_mode()
def test_constants_of_the_tracker_are_made_once_for_each_dtype(
    models: tuple[Any, Any, Any],
) -> None:
    tracker = models[1].tracker_model
    like = torch.zeros(1, dtype=models[1].dtype)
    first = constants_of(tracker, like)
    assert constants_of(tracker, like) is first
    assert first.places.dtype == like.dtype
    assert len(first.places) == tracker.num_maskmem
