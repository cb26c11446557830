"""Run lengths from a mask's window are those of the whole frame."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from pycocotools import mask as coco

from worker.engines.base import Mask
from worker.outputs import rle

FRAME = st.tuples(st.integers(1, 12), st.integers(1, 12))  # height, width


def reference(full: NDArray[np.uint8]) -> str:
    """What pycocotools makes of the whole frame's mask."""
    return str(coco.encode(np.asfortranarray(full))["counts"], "ascii")


@st.composite
def frames(draw: st.DrawFn) -> NDArray[np.uint8]:
    """A whole frame's mask."""
    return draw(arrays(np.uint8, draw(FRAME), elements=st.integers(0, 1)))


@st.composite
def windows(draw: st.DrawFn) -> tuple[Mask, int, int]:
    """A mask in any window of a frame, also one larger than it need be; height and width."""
    height, width = draw(FRAME)
    top, left = draw(st.integers(0, height)), draw(st.integers(0, width))
    shape = draw(st.integers(0, height - top)), draw(st.integers(0, width - left))
    bits = draw(arrays(np.uint8, shape, elements=st.integers(0, 1)))
    return Mask(left, top, bits), height, width


@given(frames())
def test_a_cropped_mask_is_encoded_as_the_whole_frame(full: NDArray[np.uint8]) -> None:
    assert rle.encode(Mask.from_full(full), *full.shape) == reference(full)


@given(windows())
def test_any_window_is_encoded_as_the_whole_frame(case: tuple[Mask, int, int]) -> None:
    mask, height, width = case
    counts = rle.encode(mask, height, width)
    assert counts == reference(mask.to_full(height, width))
    decoded = coco.decode({"size": [height, width], "counts": counts})
    assert np.array_equal(decoded, mask.to_full(height, width))


@given(windows())
def test_run_lengths_cover_the_frame(case: tuple[Mask, int, int]) -> None:
    mask, height, width = case
    runs = rle.run_lengths(mask, height, width)
    assert runs.sum() == height * width
    assert (runs[1:] > 0).all()
    assert runs[1::2].sum() == mask.bits.sum()


@pytest.mark.parametrize("fill", [0, 1])
def test_an_empty_and_a_full_frame(fill: int) -> None:
    full = np.full((7, 5), fill, np.uint8)
    assert rle.encode(Mask(0, 0, full), 7, 5) == reference(full)
    assert rle.encode(Mask.from_full(full), 7, 5) == reference(full)


def test_a_large_frame() -> None:
    full = np.zeros((2160, 3840), np.uint8)
    full[300:1500, 3000:] = np.random.default_rng(0).integers(0, 2, (1200, 840))
    assert rle.encode(Mask.from_full(full), 2160, 3840) == reference(full)
