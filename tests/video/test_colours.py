"""Every picture has the colours that its own description gives it, wherever they come out."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import av
import numpy as np
import pytest
from PIL import Image, ImageOps

from shoal.results.layout import result_name
from tests.attempts import Job
from tests.fakes import Fake
from tests.video.authored import QUARTERS, Square, corners, encode, frame_of, quarters, yuv
from worker.video.source import open_source

BT601, BT709, BT2020 = (0.299, 0.114), (0.2126, 0.0722), (0.2627, 0.0593)
GREY, RED = (96, 96, 96), (200, 40, 40)
WITHIN = 8


def painted() -> Image.Image:
    """Grey on the left, red on the right."""
    rgb = np.zeros((120, 160, 3), np.uint8)
    rgb[:, :80], rgb[:, 80:] = GREY, RED
    return Image.fromarray(rgb)


def grey_of(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("L"))


# How each kind of picture is saved, and its name's suffix.
KINDS: dict[str, tuple[str, Callable[[Image.Image, Path], None]]] = {
    "jpeg": (".jpg", lambda im, to: im.save(to, quality=95)),
    "jpeg 4:4:4": (".jpg", lambda im, to: im.save(to, quality=95, subsampling=0)),
    "jpeg progressive": (".jpg", lambda im, to: im.save(to, quality=95, progressive=True)),
    "jpeg grey": (".jpg", lambda im, to: im.convert("L").save(to, quality=95)),
    "jpeg cmyk": (".jpg", lambda im, to: im.convert("CMYK").save(to, quality=95)),
    "jpeg rgb": (".jpg", lambda im, to: im.save(to, quality=95, keep_rgb=True)),
    "png": (".png", lambda im, to: im.save(to)),
    "png alpha": (".png", lambda im, to: im.convert("RGBA").save(to)),
    "png palette": (".png", lambda im, to: im.quantize(8).save(to)),
    "png grey": (".png", lambda im, to: im.convert("L").save(to)),
    "png grey alpha": (".png", lambda im, to: im.convert("LA").save(to)),
    "png grey 16": (
        ".png",
        lambda im, to: Image.fromarray(grey_of(im).astype(np.uint16) * 257).save(to),
    ),
    "webp": (".webp", lambda im, to: im.save(to, quality=95)),
    "webp lossless": (".webp", lambda im, to: im.save(to, lossless=True)),
    "webp alpha": (".webp", lambda im, to: im.convert("RGBA").save(to, quality=95)),
}


def save(kinds: list[str], folder: Path) -> list[list[tuple[int, int, int]]]:
    """Pictures of these kinds, and what each shows on the left and on the right."""
    folder.mkdir()
    shown = []
    for number, kind in enumerate(kinds):
        suffix, write = KINDS[kind]
        write(painted(), folder / f"{number}{suffix}")
        grey = grey_of(painted())[0, [0, -1]].tolist()
        shown.append([(v,) * 3 for v in grey] if "grey" in kind else [GREY, RED])
    return shown


def sides(picture: av.VideoFrame) -> np.ndarray:
    return picture.to_ndarray(format="rgb24").astype(int)[60, [40, 120]]


@pytest.mark.parametrize("first", ["jpeg", "png", "png grey", "jpeg cmyk", "webp"])
def test_a_mixed_folder_keeps_the_colours_of_each_picture(tmp_path: Path, first: str) -> None:
    kinds = [first, *KINDS]
    wanted = save(kinds, tmp_path / "frames")
    with open_source(tmp_path / "frames", sample_fps=0) as source:
        frames = list(source.frames())
    assert [frame.index for frame in frames] == list(range(len(kinds)))
    for kind, frame, want in zip(kinds, frames, wanted, strict=True):
        assert np.abs(sides(frame.picture) - want).max() <= WITHIN, kind
    tags = {(int(f.picture.colorspace), int(f.picture.color_range)) for f in frames}
    assert len(tags) == 1  # one video, one description


def test_the_overlay_of_a_mixed_folder_shows_them(tmp_path: Path) -> None:
    kinds = list(KINDS)
    wanted = save(kinds, tmp_path / "frames")
    job = Job(tmp_path / "frames", tmp_path, Fake, prompts=())
    job.attempt()
    with av.open(str(job.results / result_name(job.spec, "overlay"))) as overlay:
        for kind, picture, want in zip(kinds, overlay.decode(video=0), wanted, strict=True):
            assert np.abs(sides(picture) - want).max() <= WITHIN, kind


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_pictures_stand_upright_as_pillow_shows_them(
    tmp_path: Path, suffix: str, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x112] = orientation
    folder = tmp_path / "frames"
    folder.mkdir()
    path = folder / f"a.{suffix}"
    Image.fromarray(quarters()).save(path, exif=exif, quality=95)
    with Image.open(path) as image:
        wanted = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    with open_source(folder, sample_fps=0) as source:
        shown = next(source.frames()).picture.to_ndarray(format="rgb24")
    assert shown.shape == wanted.shape
    assert np.abs(np.array(corners(shown)) - corners(wanted)).max() <= WITHIN


# The matrices of the eight orientations: a b c d, with x' = a x + c y and y' = b x + d y.
MATRICES = {
    1: (1, 0, 0, 1),
    2: (-1, 0, 0, 1),
    3: (-1, 0, 0, -1),
    4: (1, 0, 0, -1),
    5: (0, 1, 1, 0),
    6: (0, 1, -1, 0),
    7: (0, -1, -1, 0),
    8: (0, -1, 1, 0),
}


@pytest.mark.parametrize("orientation", MATRICES)
@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
def test_videos_are_turned_and_mirrored_as_their_matrix_says(
    tmp_path: Path, suffix: str, orientation: int
) -> None:
    a, b, c, d = (value << 16 for value in MATRICES[orientation])
    picture = av.VideoFrame.from_ndarray(quarters(), format="rgb24").reformat(format="yuv420p")
    encode(
        tmp_path / f"a.{suffix}",
        [picture] * 3,
        setup=lambda stream: stream.set_display_matrix([a, b, 0, c, d, 0, 0, 0, 1 << 30]),
    )
    exif = Image.Exif()
    exif[0x112] = orientation
    stored = io.BytesIO()
    Image.fromarray(quarters()).save(stored, "PNG", exif=exif)
    wanted = np.asarray(ImageOps.exif_transpose(Image.open(stored)))
    with open_source(tmp_path / f"a.{suffix}", sample_fps=0) as source:
        shown = next(source.frames()).picture.to_ndarray(format="rgb24")
    assert shown.shape == wanted.shape
    assert np.abs(np.array(corners(shown)) - corners(wanted)).max() <= WITHIN


# --- which matrix, which range --------------------------------------------------------------------

SIZES = {  # width, height and what players take an untagged video for
    "sd": (640, 480, BT601),
    "pal": (720, 576, BT601),
    "hd": (1280, 720, BT709),
    "portrait": (720, 1280, BT709),
    "wide": (1280, 536, BT709),
    "low": (1278, 718, BT601),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "libvpx-vp9"])
def test_an_untagged_video_is_what_players_take_it_for(
    tmp_path: Path, size: str, codec: str
) -> None:
    width, height, weights = SIZES[size]
    stored = frame_of(yuv(quarters(width, height), weights), "yuv420p")
    options = {"q": "2"} if codec == "mpeg4" else {"cpu-used": "8", "deadline": "realtime"}
    encode(tmp_path / "a.mkv", [stored], codec=codec, options={} if "264" in codec else options)
    with open_source(tmp_path / "a.mkv", sample_fps=0) as source:
        shown = next(source.frames()).picture.to_ndarray(format="rgb24")
    assert np.abs(np.array(corners(shown)) - QUARTERS).max() <= 6


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(("matrix", "weights"), [(1, BT709), (5, BT601), (6, BT601), (9, BT2020)])
def test_tags_are_believed(
    tmp_path: Path, matrix: int, weights: tuple[float, float], full: bool
) -> None:
    stored = frame_of(yuv(quarters(), weights, full=full), "yuv420p")
    encode(tmp_path / "a.mp4", [stored], tags=(matrix, 2 if full else 1, 1, 1))
    with open_source(tmp_path / "a.mp4", sample_fps=0) as source:
        shown = next(source.frames()).picture.to_ndarray(format="rgb24")
    assert np.abs(np.array(corners(shown)) - QUARTERS).max() <= 6


def test_grey_video_of_limited_range_is_not_taken_for_full(tmp_path: Path) -> None:
    rgb = np.full((48, 64, 3), 255, np.uint8)
    rgb[:, :32] = 0
    luma, _, _ = yuv(rgb, BT601)
    encode(tmp_path / "a.mkv", [frame_of([luma], "gray")], codec="ffv1", tags=(2, 1, 2, 2))
    with open_source(tmp_path / "a.mkv", sample_fps=0) as source:
        shown = next(source.frames()).picture.to_ndarray(format="rgb24")
    assert shown[24, 16].max() <= 3
    assert shown[24, 48].min() >= 252


def test_a_video_whose_tags_change_midway_keeps_its_colours(tmp_path: Path) -> None:
    data = b""
    for number, (matrix, weights, full) in enumerate([(6, BT601, False), (1, BT709, True)]):
        part = tmp_path / f"{number}.ts"
        stored = frame_of(yuv(quarters(), weights, full=full), "yuv420p")
        encode(part, [stored] * 10, tags=(matrix, 2 if full else 1, 1, 1))
        data += part.read_bytes()
    (tmp_path / "joined.ts").write_bytes(data)
    with open_source(tmp_path / "joined.ts", sample_fps=0) as source:
        for frame in source.frames():
            shown = frame.picture.to_ndarray(format="rgb24")
            assert np.abs(np.array(corners(shown)) - QUARTERS).max() <= 6, frame.index
    plain = [{"kind": "overlay", "opacity": 0, "labels": False}]
    job = Job(tmp_path / "joined.ts", tmp_path, Fake, prompts=(), outputs=plain)
    job.attempt()
    with av.open(str(job.results / result_name(job.spec, "overlay"))) as overlay:
        pictures = list(overlay.decode(video=0))
    assert len(pictures) == 20
    for picture in pictures:
        shown = picture.to_ndarray(format="rgb24")
        assert np.abs(np.array(corners(shown)) - QUARTERS).max() <= WITHIN


# --- wherever they come out -----------------------------------------------------------------------


@pytest.mark.parametrize("size", ["sd", "hd"])
def test_crops_cutouts_overlay_and_redaction_show_what_a_player_shows(
    tmp_path: Path, size: str
) -> None:
    """Untagged, so the place that decides must be one."""
    width, height, weights = SIZES[size]
    rgb = np.empty((height, width, 3), np.uint8)
    rgb[:] = RED
    encode(tmp_path / "a.mp4", [frame_of(yuv(rgb, weights), "yuv420p")] * 5)
    outputs = [
        {"kind": "overlay", "opacity": 0, "labels": False},
        "crops",
        "webm-alpha",
        {"kind": "redact", "style": "pixelate", "strict": False},
    ]
    job = Job(tmp_path / "a.mp4", tmp_path, Square, outputs=outputs)
    job.attempt()

    def shown(kind: str) -> Path:
        return job.results / result_name(job.spec, kind)

    found = {}
    for kind in ("overlay", "redact"):
        with av.open(str(shown(kind))) as video:
            picture = next(video.decode(video=0))
            assert int(picture.colorspace) == (1 if size == "hd" else 6), kind  # it says so
            found[kind] = picture.to_ndarray(format="rgb24")[height - 8, width - 8]
    with ZipFile(shown("crops")) as archive:
        name = json.loads(archive.read("crops.json"))[0]["image"]
        crop = np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB"))
        found["crops"] = crop[crop.shape[0] // 2, crop.shape[1] // 2]
    with ZipFile(shown("webm-alpha")) as archive:
        name = next(each for each in archive.namelist() if each.endswith(".webm"))
        with av.open(io.BytesIO(archive.read(name))) as video:
            cut = next(video.decode(video=0)).to_ndarray(format="rgb24")
            found["webm-alpha"] = cut[cut.shape[0] // 2, cut.shape[1] // 2]
    for kind, colour in found.items():
        assert np.abs(colour.astype(int) - RED).max() <= 6, kind
