"""The best pictures of each object, and how those of parts are joined."""

from __future__ import annotations

import itertools
import zipfile
from functools import partial
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from worker.engines.base import FrameResult, Mask, ObjectResult
from worker.outputs.contact_sheet import CAPTION, TILE, write_contact_sheet
from worker.outputs.crop_index import Crop, read_index
from worker.outputs.crops import CropsSink, join_crops, sharpness_of
from worker.outputs.reversed import Reversed
from worker.video.frame import Frame
from worker.video.planes import planes

WIDTH, HEIGHT, FPS, FRAMES = 160, 120, 4, 40
BEST = 2  # per object


def texture(blur: float) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    noise = np.random.default_rng(3).integers(0, 255, (HEIGHT, WIDTH)).astype(np.uint8)
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), blur), np.uint8) if blur else noise


def frame(index: int) -> Frame:
    """The sharper, the closer the index is to 13 and to 30."""
    picture = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
    blur = min(abs(index - 13), abs(index - 30)) / 2
    luma, *chroma = planes(picture)
    luma[:] = texture(blur)
    for plane, value in zip(chroma, (100, 160), strict=True):
        plane[:] = value
    return Frame(index, index / FPS, picture, wanted=True)


def result(index: int) -> FrameResult:
    """Number 1 is always there and grows, number 2 at times; number 3 is too small to show."""
    h, w = 40 + index, 31
    large = Mask(11, 7, np.ones((h, w), np.uint8))
    small = Mask(120, 60, np.ones((20, 20), np.uint8))
    tiny = Mask(80, 80, np.ones((4, 4), np.uint8))
    found = [ObjectResult(1, "person", 0.5, (11, 7, 11 + w, 7 + h), large)]
    if index % 7 < 3:
        found.append(ObjectResult(2, "ball", 0.9, (120, 60, 140, 80), small))
    return FrameResult(index, [*found, ObjectResult(3, "ball", 0.9, (80, 80, 84, 84), tiny)])


def write(path: Path, *frames: int) -> Path:
    sink = CropsSink(path, BEST)
    for index in frames:
        sink.write(frame(index), result(index))
    sink.close()
    return path


def index_of(path: Path) -> list[Crop]:
    with zipfile.ZipFile(path) as archive:
        return read_index(archive)


def test_the_best_of_different_moments(tmp_path: Path) -> None:
    crops = index_of(write(tmp_path / "crops.zip", *range(FRAMES)))
    assert [crop.object_id for crop in crops] == [1, 1, 2, 2]
    assert {crop.frame for crop in crops[:2]} == {13, 30}  # sharp, and not 12 or 14
    assert crops[0].frame == 30  # it is larger there
    for first, second in itertools.pairwise(crops):
        if first.object_id == second.object_id:
            assert first.quality > second.quality
            assert int(first.time_s) != int(second.time_s)
    assert list(tmp_path.iterdir()) == [tmp_path / "crops.zip"]


def test_a_picture_and_its_mask(tmp_path: Path) -> None:
    path = write(tmp_path / "crops.zip", 13)
    (crop,) = index_of(path)
    assert (crop.object_id, crop.prompt, crop.area) == (1, "person", 53 * 31)
    assert crop.box == (8, 2, 45, 65)  # with a margin, and even corners
    with zipfile.ZipFile(path) as archive:
        picture, mask = (
            cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_UNCHANGED)
            for name in (crop.image, crop.mask)
        )
    assert picture is not None
    assert mask is not None
    assert picture.shape == (63, 37, 3)
    assert mask.shape == (63, 37)
    rows, columns = np.nonzero(mask == 255)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (5, 57, 3, 33)
    assert np.count_nonzero(mask) == crop.area
    expected = frame(13).picture.to_ndarray(format="bgr24")[2:65, 8:45]
    assert np.abs(picture.astype(int) - expected).mean() < 12  # JPEG, of noise


@pytest.mark.parametrize("cuts", [(0, 20, 40), (0, 1, 13, 14, 29, 31, 40), (0, 7, 9, 40)])
def test_joined_parts_are_what_a_straight_run_keeps(tmp_path: Path, cuts: tuple[int, ...]) -> None:
    straight = write(tmp_path / "straight.zip", *range(FRAMES))
    parts = [
        write(tmp_path / f"{start}.zip", *range(start, end))
        for start, end in itertools.pairwise(cuts)
    ]
    join_crops(BEST, parts, tmp_path / "joined.zip")
    assert (tmp_path / "joined.zip").read_bytes() == straight.read_bytes()


def test_backward_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.outputs.reversed.PIECE_BYTES", 9 * WIDTH * HEIGHT * 3 // 2)
    sink = Reversed(
        tmp_path / "crops.zip", lambda path: CropsSink(path, BEST), partial(join_crops, BEST)
    )
    for index in reversed(range(FRAMES)):
        sink.write(frame(index), result(index))
    sink.close()
    assert [path.name for path in tmp_path.iterdir()] == ["crops.zip"]
    straight = write(tmp_path / "straight.zip", *range(FRAMES))
    assert (tmp_path / "crops.zip").read_bytes() == straight.read_bytes()


def test_nothing_is_left_of_what_is_given_up(tmp_path: Path) -> None:
    sink = CropsSink(tmp_path / "crops.zip", BEST)
    sink.write(frame(0), result(0))
    sink.abort()
    assert not list(tmp_path.iterdir())


def test_sharpness_tells_blur(tmp_path: Path) -> None:
    whole = np.ones((HEIGHT, WIDTH), np.uint8)
    told = [sharpness_of(texture(blur), whole) for blur in (0, 1, 3)]
    assert told[0] > 10 * told[1] > 100 * told[2] / 10


def blurred_behind(share: float) -> tuple[np.ndarray, np.ndarray]:
    """A blurred object, of whose box something sharp in front hides a share at its left."""
    picture, mask = texture(3).copy(), np.ones((HEIGHT, WIDTH), np.uint8)
    hidden = round(share * WIDTH)
    picture[:, :hidden] = texture(0)[:, :hidden]
    mask[:, :hidden] = 0
    return picture, mask


@pytest.mark.parametrize("share", [0.1, 0.4, 0.8])
def test_what_stands_in_front_is_not_the_sharpness_of_the_object(share: float) -> None:
    alone = sharpness_of(*blurred_behind(0))
    assert sharpness_of(*blurred_behind(share)) == pytest.approx(alone, rel=0.3)
    assert sharpness_of(texture(0), np.ones((HEIGHT, WIDTH), np.uint8)) > 100 * alone


def test_the_best_crop_shows_the_object(tmp_path: Path) -> None:
    """Something sharp hides half of it in the first second, nothing in the second."""
    sink = CropsSink(tmp_path / "crops.zip", 1)
    for index in (0, FPS):
        mask = np.ones((80, 60), np.uint8)
        picture = frame(20)  # blurred
        if index == 0:
            planes(picture.picture)[0][20:60, 11:71] = texture(0)[20:60, 11:71]
            mask[20:60] = 0
        moment = Frame(index, index / FPS, picture.picture, wanted=True)
        item = ObjectResult(1, "person", 0.5, (11, 0, 71, 80), Mask(11, 0, mask))
        sink.write(moment, FrameResult(index, [item]))
    sink.close()
    (best,) = index_of(tmp_path / "crops.zip")
    assert best.frame == FPS


@pytest.mark.parametrize("objects", [0, 2])
def test_the_contact_sheet_has_a_row_per_object(tmp_path: Path, objects: int) -> None:
    crops = write(tmp_path / "crops.zip", *(range(FRAMES) if objects else ()))
    write_contact_sheet(crops, tmp_path / "sheet.jpg")
    sheet = cv2.imread(str(tmp_path / "sheet.jpg"))
    assert sheet is not None
    height = objects * (CAPTION + TILE) if objects else TILE
    assert sheet.shape == (height, TILE * max(1, objects and BEST), 3)
