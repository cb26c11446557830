"""The crop that a container asks for is applied, as FFmpeg's own programs and players do."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from tests.video.authored import QUARTERS, corners, encode, insert_clap, insert_pixel_crop, quarters
from worker.video.crop import NONE, container_crop
from worker.video.source import open_source

EDGES = (8, 4, 16, 12)  # left, top, right, bottom
LIVE = {"live": "1", "write_crc32": "0"}
MATRICES = {0: (1, 0, 0, 1), 90: (0, -1, 1, 0)}


def framed() -> np.ndarray:
    """The quarters with a black edge around, that is to be cut off: 88 by 64 pixels."""
    left, top, right, bottom = EDGES
    return np.pad(quarters(), ((top, bottom), (left, right), (0, 0)))


def write(path: Path, **settings: object) -> None:
    picture = av.VideoFrame.from_ndarray(framed(), format="rgb24").reformat(format="yuv420p")
    encode(path, [picture] * 5, **settings)


def write_clap(path: Path, **settings: object) -> None:
    write(path, **settings)
    left, top, right, bottom = EDGES
    insert_clap(path, 64, 48, left - right, top - bottom)


def write_pixel_crop(path: Path) -> None:
    write(path, container=LIVE)
    insert_pixel_crop(path, *EDGES)


def first_picture(path: Path) -> np.ndarray:
    with open_source(path, sample_fps=0) as source:
        frame = next(source.frames())
        assert (source.info.width, source.info.height) == (
            frame.picture.width,
            frame.picture.height,
        )
        return frame.picture.to_ndarray(format="rgb24").astype(int)


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv"])
def test_what_players_do_not_show_is_cut_off(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    (write_pixel_crop if name == "a.mkv" else write_clap)(path)
    shown = first_picture(path)
    assert shown.shape == (48, 64, 3)
    assert np.abs(np.array(corners(shown)) - QUARTERS).max() <= 8
    assert shown[[0, -1]].max(axis=-1).min() > 100  # no black row is left
    assert shown[:, [0, -1]].max(axis=-1).min() > 100


def test_the_stored_picture_is_cut_before_it_is_turned(tmp_path: Path) -> None:
    a, b, c, d = MATRICES[90]
    matrix = [a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30]
    write_clap(tmp_path / "a.mp4", setup=lambda stream: stream.set_display_matrix(matrix))
    shown = first_picture(tmp_path / "a.mp4")
    assert shown.shape == (64, 48, 3)
    turned = np.rot90(quarters())
    assert np.abs(np.array(corners(shown)) - corners(turned)).max() <= 8


@pytest.mark.parametrize("clap", [(0, 0, 0, 0), (200, 48, 0, 0), (64, 48, 999, 0)])
def test_a_crop_that_makes_no_sense_is_ignored(
    tmp_path: Path, clap: tuple[int, int, int, int]
) -> None:
    write(tmp_path / "a.mp4")
    insert_clap(tmp_path / "a.mp4", *clap)
    assert first_picture(tmp_path / "a.mp4").shape == (64, 88, 3)


@pytest.fixture(scope="module", params=["a.mp4", "a.mkv"])
def cropped(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("crop") / str(request.param)
    (write_pixel_crop if path.suffix == ".mkv" else write_clap)(path)
    return path


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_headers_of_any_content_end_the_search(cropped: Path, data: st.DataObject) -> None:
    """Damaged sizes and fields: a crop or none, and never an error or a long search."""
    content = bytearray(cropped.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    damaged = cropped.with_name("damaged" + cropped.suffix)
    damaged.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    with av.open(str(cropped)) as container:  # what the stream says is sound
        found = container_crop(damaged, container.streams.video[0])
    left, top, right, bottom = found
    assert found == NONE or (left + right < 88 and top + bottom < 64)
