"""What is hidden is gone: how pictures look where something was hidden."""

from __future__ import annotations

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pycocotools import mask as coco

from shoal.model.outputs import Redact
from worker.engines.base import Mask
from worker.outputs import rle
from worker.outputs.redact.bridge import Box, Cover, CoverReason
from worker.outputs.redact.cover import Cloak, dilated
from worker.video.planes import even_copy, planes

STYLES = ("blur", "pixelate", "solid")


def noise(width: int, height: int) -> av.VideoFrame:
    """Fine detail everywhere, in luma and chroma."""
    rgb = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    return av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuv420p")


def ellipse(box: Box, height: int, width: int) -> str:
    full = np.zeros((height, width), np.uint8)
    x0, y0, x1, y1 = (round(side) for side in box)
    centre, axes = ((x0 + x1) // 2, (y0 + y1) // 2), ((x1 - x0) // 2, (y1 - y0) // 2)
    cv2.ellipse(full, centre, axes, 0, 0, 360, 1, -1)
    return rle.encode(Mask.from_full(full), height, width)


def hidden(picture: av.VideoFrame, box: Box, counts: str, output: Redact) -> av.VideoFrame:
    canvas = even_copy(picture)
    Cloak(output, picture.height, picture.width).hide(
        canvas, Cover(CoverReason.FOUND, "face", 1, box, counts)
    )
    return canvas


def changed(before: av.VideoFrame, after: av.VideoFrame) -> NDArray[np.bool_]:
    """Where luma differs."""
    old, new = planes(even_copy(before))[0], planes(after)[0]
    return np.not_equal(old, new, dtype=np.bool_)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("size", [(320, 240), (321, 239)])
def test_all_of_the_mask_and_a_margin_is_hidden_and_nothing_far_from_it(
    style: str, size: tuple[int, int]
) -> None:
    width, height = size
    box = (100.0, 60.0, 160.0, 140.0)
    picture = noise(width, height)
    counts = ellipse(box, height, width)
    after = hidden(picture, box, counts, Redact(kind="redact", style=style))
    mask = coco.decode({"size": [height, width], "counts": counts}).astype(bool)
    touched = changed(picture, after)[:height, :width]
    assert touched[mask].mean() > 0.95  # by chance a pixel keeps its value
    larger = coco.decode(
        {"size": [height, width], "counts": ellipse((91.0, 48.0, 169.0, 152.0), height, width)}
    ).astype(bool)
    assert touched[larger].mean() > 0.9
    far = np.ones_like(touched)
    far[46:154, 88:172] = False
    assert not touched[far].any()


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("side", [24, 96, 400])
def test_what_is_left_does_not_grow_with_the_object(style: str, side: int) -> None:
    """However large a face is, a handful of values is all that is kept of it."""
    box = (40.0, 40.0, 40.0 + side, 40.0 + side)
    after = hidden(noise(480, 480), box, "", Redact(kind="redact", style=style, dilate=1))
    luma, *chroma = planes(after)
    inner = luma[44 : 36 + side, 44 : 36 + side].astype(np.float64)
    assert inner.std() < 20  # of 74 before
    assert np.abs(np.diff(inner, axis=1)).mean() < 6  # no detail, of 85 before
    for plane in chroma:
        half = plane[22 : 18 + side // 2, 22 : 18 + side // 2].astype(np.float64)
        assert half.std() < 12
    if style == "pixelate":
        assert len(np.unique(inner)) <= 49
    if style == "solid":
        assert np.unique(inner).tolist() == [16]


@pytest.mark.parametrize("style", STYLES)
def test_pictures_that_differ_below_it_look_the_same(style: str) -> None:
    """Two faces of the same mean leave nothing to tell them apart."""
    box = (64.0, 64.0, 160.0, 160.0)
    output = Redact(kind="redact", style=style, dilate=1)
    rows = np.indices((240, 240)).sum(axis=0) // 2 % 2
    pair = []
    for pattern in (rows, 1 - rows):
        grey = (80 + 100 * pattern).astype(np.uint8)
        rgb = np.stack([grey] * 3, axis=2)
        picture = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuv420p")
        pair.append(planes(hidden(picture, box, "", output))[0][64:160, 64:160].astype(int))
    assert np.abs(pair[0] - pair[1]).max() <= 2


@pytest.mark.parametrize(
    "box",
    [
        (-50, -50, 30, 30),
        (300, 200, 400, 300),
        (-10, 100, 400, 120),
        (0, 0, 1, 1),
        (319, 239, 320, 240),
    ],
)
def test_boxes_that_reach_over_the_edge(box: Box) -> None:
    picture = noise(320, 240)
    touched = changed(picture, hidden(picture, box, "", Redact(kind="redact", style="solid")))
    x0, y0, x1, y1 = (max(0, round(side)) for side in box)
    assert touched[y0:y1, x0:x1].all()


def test_a_box_outside_of_the_picture_hides_nothing() -> None:
    picture = noise(320, 240)
    after = hidden(picture, (500.0, 10.0, 520.0, 30.0), "", Redact(kind="redact"))
    assert not changed(picture, after).any()


@pytest.mark.parametrize("side", [10, 300])
def test_dilation_is_by_the_margin_and_no_more(side: int) -> None:
    bits = np.zeros((side * 2, side * 2), np.uint8)
    bits[side // 2 : side * 3 // 2, side // 2 : side * 3 // 2] = 1
    by = side // 5
    rows = np.flatnonzero(dilated(bits, by, by).any(axis=1))
    slack = 1 + 3 * side // 96  # of the size at which large masks are dilated
    assert rows[0] == pytest.approx(side // 2 - by, abs=slack)
    assert rows[-1] == pytest.approx(side * 3 // 2 - 1 + by, abs=slack)
