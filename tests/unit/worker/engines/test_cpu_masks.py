"""How the CPU engine cuts an object out of its box."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from worker.engines.base import Mask
from worker.engines.cpu import masks, predictor

WIDTH, HEIGHT = 640, 360


def inside_frame(mask: Mask, width: int, height: int) -> bool:
    h, w = mask.bits.shape
    return min(mask.x, mask.y) >= 0 and mask.x + w <= width and mask.y + h <= height


@pytest.fixture(scope="module")
def person_masks() -> masks.PersonMasks:
    return masks.PersonMasks(predictor.WEIGHTS / "selfie_256_fp16.onnx", threads=1)


@pytest.mark.parametrize(
    "box",
    [
        (0.0, 0.0, 640.0, 360.0),
        (10.2, 10.7, 11.9, 12.0),
        (638.9, 358.9, 640.0, 360.0),
        (0.0, 100.0, 3.0, 360.0),
        (200.5, 0.0, 420.5, 360.0),
        (50.0, 50.0, 51.0, 300.0),
    ],
)
@pytest.mark.parametrize("texture", ["plain", "noise"])
def test_any_box_gives_a_mask_inside_the_frame(
    person_masks: masks.PersonMasks, box: tuple[float, float, float, float], texture: str
) -> None:
    bgr = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    if texture == "noise":
        bgr = np.random.default_rng(1).integers(0, 256, bgr.shape, np.uint8)
    for mask in (masks.cut_out(bgr, box), person_masks.segment(bgr, box)):
        assert mask.bits.any()
        assert set(np.unique(mask.bits)) <= {0, 1}
        assert inside_frame(mask, WIDTH, HEIGHT)
        # Tight: the window's first and last rows and columns hold object.
        edges = (mask.bits[0], mask.bits[-1], mask.bits[:, 0], mask.bits[:, -1])
        assert all(edge.any() for edge in edges)


@pytest.mark.parametrize("size", [(1, 1), (4000, 2), (3, 3000)])
def test_a_frame_that_is_hardly_one_is_cut_out_all_the_same(size: tuple[int, int]) -> None:
    width, height = size
    bgr = np.random.default_rng(3).integers(0, 256, (height, width, 3), np.uint8)
    for box in ((0.0, 0.0, width, height), (width / 2, height / 2, width, height)):
        mask = masks.cut_out(bgr, box)
        assert mask.bits.any()
        assert inside_frame(mask, width, height)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((1.5, 2.5, 3.2, 4.0), (1, 2, 4, 4)),
        ((-5.0, -5.0, 700.0, 400.0), (0, 0, 640, 360)),
        ((640.0, 360.0, 650.0, 365.0), (639, 359, 640, 360)),
        ((7.0, 7.0, 7.0, 7.0), (7, 7, 8, 8)),
    ],
)
def test_window(
    box: tuple[float, float, float, float], expected: tuple[int, int, int, int]
) -> None:
    assert masks.window(box, (HEIGHT, WIDTH, 3)) == expected


def test_grabcut_is_repeatable_whatever_was_drawn_before() -> None:
    noise = np.random.default_rng(2).integers(0, 256, (200, 200, 3), np.uint8)
    bgr = np.asarray(cv2.GaussianBlur(noise, (0, 0), 4), np.uint8)
    box = (40.0, 40.0, 160.0, 160.0)
    cv2.setRNGSeed(7)
    first = masks.cut_out(bgr, box)
    cv2.setRNGSeed(12345)
    second = masks.cut_out(bgr, box)
    assert (first.x, first.y) == (second.x, second.y)
    np.testing.assert_array_equal(first.bits, second.bits)


def test_clean_keeps_the_largest_part_and_fills_small_holes_only() -> None:
    bits = np.zeros((60, 60), np.uint8)
    bits[5:45, 5:45] = 1
    bits[10:12, 10:12] = 0  # a speckle
    bits[20:40, 20:40] = 0  # a real hole
    bits[50:55, 50:55] = 1  # another part
    cleaned = masks.clean(bits)
    assert cleaned[10:12, 10:12].all()
    assert not cleaned[20:40, 20:40].any()
    assert not cleaned[50:55, 50:55].any()


def test_the_ellipse_fills_pi_quarters_and_never_nothing() -> None:
    assert masks.ellipse((200, 100)).mean() == pytest.approx(np.pi / 4, abs=0.01)
    assert all(masks.ellipse((h, w)).any() for h in range(1, 6) for w in range(1, 6))
