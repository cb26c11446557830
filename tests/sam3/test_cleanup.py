"""Arithmetic on masks against OpenCV, transformers and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers.models.sam3_video import modeling_sam3_video

from tests.sam3 import stock
from worker.engines.base import Mask
from worker.engines.sam3 import cleanup
from worker.engines.sam3.output import pack, unpack


def speckled(count: int, height: int, width: int, share: float) -> Tensor:
    """Random masks, full of small components."""
    random = torch.Generator().manual_seed(round(share * 100))
    return torch.rand(count, height, width, generator=random) < share


def snake(length: int) -> Tensor:
    """One winding line of so many pixels: the longest paths that a component can have."""
    mask = torch.zeros(1, 40, 40, dtype=torch.bool)
    cells = [(row, column) for row in range(0, 40, 2) for column in range(40)]
    for row, column in cells[:length]:
        mask[0, row, column if row % 4 == 0 else 39 - column] = True
    for row in range(1, 2 * (length // 40), 2):  # joints at the turns
        mask[0, row, 39 if row % 4 == 1 else 0] = True
    return mask


@pytest.mark.parametrize("share", [0.05, 0.2, 0.35, 0.5, 0.8])
@pytest.mark.parametrize("limit", [1, 4, 16])
def test_component_areas_are_exact_up_to_the_limit(share: float, limit: int) -> None:
    masks = speckled(3, 33, 47, share)
    _, expected = stock.components(masks[:, None].to(torch.uint8), get_counts=True)
    expected = expected[:, 0]
    areas = cleanup.component_areas(masks, limit)
    small = masks & (expected <= limit)
    assert small.any() == (share < 0.8)
    assert torch.equal(areas[small], expected[small].float())
    assert (areas[masks & ~small] > limit).all()


@pytest.mark.parametrize("length", [15, 16, 17, 18, 30, 200, 700])
def test_a_long_thin_component_is_not_taken_for_small_ones(length: int) -> None:
    mask = snake(length)
    area = int(mask.sum())
    areas = cleanup.component_areas(mask, 16)[mask]
    assert (areas == area).all() if area <= 16 else (areas > 16).all()


@pytest.mark.parametrize("limit", [0, 4, 16])
def test_holes_are_filled_as_transformers_fills_them_with_its_kernel(limit: int) -> None:
    random = torch.Generator().manual_seed(0)
    coarse = torch.randn(4, 1, 12, 12, generator=random)
    logits = torch.nn.functional.interpolate(coarse, (32, 32), mode="bilinear")
    logits = logits + 0.6 * torch.randn(4, 1, 32, 32, generator=random)
    logits[3] = -1.0
    logits[3, 0, 5, 5] = 1.0  # nothing but an island: it is the object
    with stock.as_it_came():
        expected = modeling_sam3_video.fill_holes_in_mask_scores(logits, max_area=limit)
    filled = cleanup.fill_holes(logits[:, 0], limit)
    assert torch.equal(filled, expected[:, 0])
    assert torch.equal(filled, logits[:, 0]) == (limit == 0)
    assert filled[3, 5, 5] > 0


def test_no_masks_have_no_holes() -> None:
    assert cleanup.fill_holes(torch.zeros(0, 8, 8), 16).shape == (0, 8, 8)


@pytest.mark.parametrize("limit", [0.1, 0.3, 0.6])
def test_duplicates_are_suppressed_as_in_transformers(limit: float) -> None:
    random = torch.Generator().manual_seed(3)
    logits = torch.nn.functional.interpolate(
        torch.randn(40, 1, 3, 3, generator=random), (16, 16), mode="bilinear"
    )[:, 0]
    scores = torch.rand(40, generator=random)
    with stock.as_it_came():
        expected = modeling_sam3_video.nms_masks(scores, logits, 0.0, limit)
    binary = logits > 0
    rivals = (cleanup.mask_iou(binary, binary) > limit).numpy()
    kept = cleanup.keep_best(rivals, scores.numpy())
    assert kept == expected.nonzero().flatten().tolist()
    assert 0 < len(kept) < 40


def test_mask_iou_equals_that_of_transformers() -> None:
    masks = speckled(7, 30, 41, 0.3)
    masks[2] = False
    expected = modeling_sam3_video.mask_iou(masks, masks[:3])
    assert torch.equal(cleanup.mask_iou(masks, masks[:3]), expected)
    assert expected[2, 2] == 0


@pytest.mark.parametrize("width", [1, 7, 8, 9, 80, 83])
def test_packed_bits_unpack_to_the_same_masks(width: int) -> None:
    masks = speckled(4, 21, width, 0.02 if width > 9 else 0.2)
    masks[0] = False
    masks[1] = True
    for full, bits in zip(masks.numpy(), pack(masks).numpy(), strict=True):
        assert bits.shape == (21, -(-width // 8))
        window, expected = unpack(bits), Mask.from_full(full)
        assert (window.x, window.y) == (expected.x, expected.y)
        assert np.array_equal(window.bits, expected.bits)
