"""Planes of a picture: views, padded copies, and turning upright."""

from __future__ import annotations

from itertools import product

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace

from tests import media
from worker.video.colour import Converter, colours_of
from worker.video.planes import Orientation, Plane, even_copy, planes, upright

SIZES = [(16, 12), (17, 13), (33, 12), (16, 13)]
ORIENTATIONS = [
    Orientation(transpose, flip_x, flip_y)
    for transpose, flip_x, flip_y in product((False, True), repeat=3)
]


def noise(width: int, height: int) -> av.VideoFrame:
    picture = av.VideoFrame(width, height, "yuv420p")
    picture.colorspace, picture.color_range = Colorspace.ITU709, ColorRange.JPEG
    random = np.random.default_rng(0)
    for plane in planes(picture):
        plane[:] = random.integers(0, 256, plane.shape)
    return picture


def turned(plane: Plane, orientation: Orientation) -> Plane:
    """What ``Orientation`` says, in NumPy."""
    result = plane.T if orientation.transpose else plane
    result = result[:, ::-1] if orientation.flip_x else result
    return result[::-1] if orientation.flip_y else result


@pytest.mark.parametrize("size", SIZES)
def test_planes_have_the_sizes_of_420(size: tuple[int, int]) -> None:
    width, height = size
    y, u, v = planes(noise(width, height))
    assert y.shape == (height, width)
    assert u.shape == v.shape == ((height + 1) // 2, (width + 1) // 2)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_all_eight_orientations(size: tuple[int, int], orientation: Orientation) -> None:
    stored = noise(*size)
    result = upright(stored, orientation)
    assert (result.width, result.height) == orientation.size(stored)
    for plane, source in zip(planes(result), planes(stored), strict=True):
        assert np.array_equal(plane, turned(source, orientation))
    assert (result.colorspace, result.color_range) == (Colorspace.ITU709, ColorRange.JPEG)


@pytest.mark.parametrize("size", SIZES)
def test_an_even_copy_repeats_the_last_row_and_column(size: tuple[int, int]) -> None:
    source = noise(*size)
    copy = even_copy(source)
    assert (copy.width % 2, copy.height % 2) == (0, 0)
    expected = np.pad(planes(source)[0], ((0, size[1] % 2), (0, size[0] % 2)), mode="edge")
    assert np.array_equal(planes(copy)[0], expected)
    for plane, chroma in zip(planes(copy)[1:], planes(source)[1:], strict=True):
        assert np.array_equal(plane, chroma)


def test_a_copy_is_not_the_source() -> None:
    source = noise(16, 12)
    before = source.to_ndarray()
    planes(even_copy(source))[0][:] = 0
    assert np.array_equal(source.to_ndarray(), before)


@pytest.mark.parametrize("pixel_format", ["yuv444p", "yuv422p10le", "nv12", "rgb24", "gray"])
def test_any_pixel_format_becomes_yuv420p(pixel_format: str) -> None:
    rgb = media.picture(37)
    stored = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format=pixel_format)
    result = Converter(colours_of(stored).sdr).convert(stored)
    assert result.format.name == "yuv420p"
    assert media.picture_number(result) == 37
