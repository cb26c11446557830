"""What is drawn on a picture, and where."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace

from shoal.colours import PALETTE, colour_of
from shoal.model.outputs import Overlay
from shoal.model.prompts import MAX_PROMPTS
from tests import media
from worker.engines.base import FrameResult, Mask, ObjectResult
from worker.outputs.colours import to_yuv
from worker.outputs.labels import Area, Style, label_text, place
from worker.outputs.overlay import OverlaySink, draw
from worker.video.frame import VideoInfo
from worker.video.planes import planes
from worker.video.source import open_source

GREY = 100
RED = colour_of(0)


def canvas(width: int = 200, height: int = 160) -> av.VideoFrame:
    """A grey picture without chroma."""
    picture = av.VideoFrame(width, height, "yuv420p")
    for plane, value in zip(planes(picture), (GREY, 128, 128), strict=True):
        plane[:] = value
    return picture


def thing(
    x: int, y: int, w: int = 40, h: int = 40, *, number: int = 1, prompt: str = "ball"
) -> ObjectResult:
    """A filled rectangle."""
    mask = Mask(x, y, np.ones((h, w), np.uint8))
    return ObjectResult(number, prompt, 0.9, (x, y, x + w, y + h), mask)


def drawn(picture: av.VideoFrame, *objects: ObjectResult) -> av.VideoFrame:
    colours = {
        prompt: colour_of(n) for n, prompt in enumerate(dict.fromkeys(o.prompt for o in objects))
    }
    draw(picture, objects, colours, Style.of(picture.height))
    return picture


def test_a_mask_is_tinted_and_outlined_and_nothing_else_is_touched() -> None:
    picture = canvas()
    colour = to_yuv(colour_of(0), picture)
    y, u, v = planes(drawn(picture, thing(80, 60)))
    assert y[80, 100] == pytest.approx(0.55 * GREY + 0.45 * colour.y, abs=1)
    assert u[40, 50] == pytest.approx(0.55 * 128 + 0.45 * colour.u, abs=1)
    assert v[40, 50] == pytest.approx(0.55 * 128 + 0.45 * colour.v, abs=1)
    assert y[99, 100] == colour.y  # the lower edge
    assert (y[100:] == GREY).all()
    assert (u[50:] == 128).all()
    assert (y[:, 160:] == GREY).all()


@pytest.mark.parametrize("corner", [(0, 0), (161, 0), (0, 121), (161, 121), (81, 61)])
def test_windows_at_oddplaces_and_the_edges(corner: tuple[int, int]) -> None:
    x, y0 = corner
    picture = canvas()
    y, u, _ = planes(drawn(picture, thing(x, y0, 39, 39)))
    assert (y[y0 + 25 : y0 + 36, x + 3 : x + 36] != GREY).all()  # the label hides the top
    assert (u[(y0 + 37) // 2, (x + 3) // 2 : (x + 37) // 2] != 128).all()


def test_an_object_without_pixels_has_a_label_only() -> None:
    empty = ObjectResult(1, "ball", 0.9, (80, 60, 120, 100), Mask(0, 0, np.zeros((0, 0), np.uint8)))
    y, _, _ = planes(drawn(canvas(), empty))
    assert (y[60:] == GREY).all()
    assert (y[:60] != GREY).any()


def test_a_hole_is_not_tinted() -> None:
    bits = np.ones((60, 60), np.uint8)
    bits[20:40, 20:40] = 0
    item = ObjectResult(1, "ball", 0.9, (60, 60, 120, 120), Mask(60, 60, bits))
    y, _, _ = planes(drawn(canvas(), item))
    assert (y[82:98, 82:98] == GREY).all()


# --- labels --------------------------------------------------------------------------------------


def test_labels_never_leave_the_frame_and_hide_no_earlier_one() -> None:
    y = np.zeros((200, 300), np.uint8)
    label = np.zeros((20, 80), np.uint8)
    corners = [(-30, -30), (290, 10), (100, 100), (102, 103), (101, 99), (290, 199), (0, 500)]
    taken: list[Area] = []
    for left, top in corners:
        area = place(label, (left, top, left + 10, top + 10), y, taken)
        assert y[area.pixels].shape == label.shape
        assert area.top % 2 == area.left % 2 == 0
        taken.append(area)
    assert not [pair for pair in combinations(taken, 2) if pair[0].overlaps(pair[1])]


def test_a_label_stays_where_there_is_no_room_below() -> None:
    y = np.zeros((30, 300), np.uint8)
    label = np.zeros((20, 80), np.uint8)
    first = place(label, (0, 0, 10, 10), y, [])
    assert place(label, (0, 0, 10, 10), y, [first]) == first


@pytest.mark.parametrize("chosen", [{}, {"person": "#0000ff"}])
def test_objects_of_a_prompt_have_colours_of_their_own(chosen: dict[str, str]) -> None:
    options = Overlay(kind="overlay", colour_by="object", colours=chosen, labels=False)
    objects = [
        thing(10 + 60 * n, 60, number=n, prompt=prompt)
        for n, prompt in enumerate(("ball", "ball", "person"))
    ]
    picture = canvas()
    by_prompt = {"ball": RED, "person": (0, 0, 255)}
    draw(picture, objects, by_prompt, Style.of(picture.height), options)
    luma = planes(picture)[0]
    third = (0, 0, 255) if chosen else colour_of(2)
    for n, rgb in enumerate((colour_of(0), colour_of(1), third)):
        assert luma[99, 30 + 60 * n] == to_yuv(rgb, picture).y  # the lower edge


def test_a_label_larger_than_the_frame_is_cut() -> None:
    small, large, style = canvas(16, 8), canvas(400, 200), Style.of(8)
    draw(small, [thing(2, 2, 4, 4, prompt="a long prompt")], {"a long prompt": RED}, style)
    draw(large, [thing(100, 100, 4, 4, prompt="a long prompt")], {"a long prompt": RED}, style)
    whole = planes(large)[0][:100, 100:]
    top = int(np.argmax(whole[:, 0] != GREY))
    assert 0 < top < 100 - 8
    assert np.array_equal(planes(small)[0], whole[top : top + 8, :16])


def test_a_label_is_cut_short_and_ascii() -> None:
    assert label_text(thing(0, 0, number=7)) == "ball #7"
    assert label_text(thing(0, 0, prompt="größe", number=7)) == "#7"
    assert label_text(thing(0, 0, prompt="x" * 100)) == "x" * 22 + ".. #1"


# --- colours -------------------------------------------------------------------------------------


def test_every_prompt_of_a_job_has_a_colour_of_its_own() -> None:
    assert len(set(PALETTE)) == len(PALETTE) == MAX_PROMPTS


@pytest.mark.parametrize("space", [Colorspace.ITU601, Colorspace.ITU709])
@pytest.mark.parametrize("span", [ColorRange.MPEG, ColorRange.JPEG])
@pytest.mark.parametrize("rgb", PALETTE)
def test_colours_are_those_that_swscale_shows(
    rgb: tuple[int, int, int], space: Colorspace, span: ColorRange
) -> None:
    picture = canvas(16, 16)
    picture.colorspace, picture.color_range = space, span
    for plane, value in zip(planes(picture), to_yuv(rgb, picture), strict=True):
        plane[:] = value
    shown = picture.reformat(format="rgb24", src_colorspace=space, src_color_range=span)
    assert shown.to_ndarray()[8, 8].tolist() == pytest.approx(rgb, abs=4)


# --- the file ------------------------------------------------------------------------------------


def overlay_of(path: Path, target: Path, prompts: tuple[str, ...] = ("ball",)) -> VideoInfo:
    """Write the overlay of every frame, with one object each."""
    with open_source(path, sample_fps=0) as source:
        sink = OverlaySink(target, source.info, prompts, source.info.fps)
        for frame in source.frames():
            sink.write(frame, FrameResult(frame.index, [thing(100, 70, 20, 20)]))
        sink.close()
        return source.info


@pytest.mark.parametrize("size", [(160, 120), (161, 121), (161, 120), (160, 121)])
def test_the_overlay_plays_in_a_browser(tmp_path: Path, size: tuple[int, int]) -> None:
    video, target = tmp_path / "a.mkv", tmp_path / "overlay.mp4"
    media.write_video(video, frames=12, size=size, codec="ffv1", pixel_format="yuv444p")
    overlay_of(video, target)
    data = target.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    with av.open(str(target)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
    assert (frames[0].width, frames[0].height) == (size[0] + size[0] % 2, size[1] + size[1] % 2)
    assert [media.picture_number(frame) for frame in frames] == list(range(12))


def test_frames_keep_their_times(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.08, 1.5, 1.6, 4.0]
    media.write_variable(tmp_path / "vfr.mp4", times)
    overlay_of(tmp_path / "vfr.mp4", tmp_path / "overlay.mp4")
    with av.open(str(tmp_path / "overlay.mp4")) as container:
        shown = [
            float((frame.pts or 0) * (frame.time_base or Fraction(0)))
            for frame in container.decode(video=0)
        ]
    assert shown == pytest.approx(times, abs=1e-3)


def test_a_rotated_source_has_an_upright_overlay(tmp_path: Path) -> None:
    media.write_rotated(tmp_path / "rotated.mp4", media.MATRICES[90])
    info = overlay_of(tmp_path / "rotated.mp4", tmp_path / "overlay.mp4")
    with open_source(tmp_path / "overlay.mp4") as overlay:
        assert (overlay.info.width, overlay.info.height) == (info.width, info.height) == (120, 160)
        assert overlay.info.rotation == 0


def test_an_anamorphic_source_is_displayed_as_it_was(tmp_path: Path) -> None:
    media.write_video(tmp_path / "a.mp4", frames=3, pixel_aspect=Fraction(4, 3))
    overlay_of(tmp_path / "a.mp4", tmp_path / "overlay.mp4")
    with av.open(str(tmp_path / "overlay.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.sample_aspect_ratio == Fraction(4, 3)
        assert (stream.width, stream.height) == (media.WIDTH, media.HEIGHT)


def test_drawing_leaves_the_sources_picture_alone(tmp_path: Path) -> None:
    media.write_video(tmp_path / "a.mp4", frames=3)
    with open_source(tmp_path / "a.mp4", sample_fps=0) as source:
        sink = OverlaySink(tmp_path / "overlay.mp4", source.info, ["ball"], 25)
        for frame in source.frames():
            before = frame.picture.to_ndarray()
            sink.write(frame, FrameResult(frame.index, [thing(60, 60)]))
            assert np.array_equal(frame.picture.to_ndarray(), before)
        sink.abort()
    assert not (tmp_path / "overlay.mp4").exists()
