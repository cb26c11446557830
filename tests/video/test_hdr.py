"""HDR becomes SDR by the documented tone map, and stays HDR where that is asked for.

The expected values are worked out here, from the standards' own formulas: SMPTE ST 2084, ITU-R
BT.2100 (HLG), BT.2390 (EETF), BT.2408 (diffuse white) and BT.1886.
"""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from shoal.errors import Stopped
from shoal.results.layout import overlay_name
from tests.attempts import Job, Line
from tests.video.authored import Square, encode, frame_of
from worker.video.source import open_source

PQ, HLG, SDR_2020 = 16, 18, 14
KR, KB = 0.2627, 0.0593
# Linear light of patches on an HDR display, cd/m², in BT.709 primaries.
PATCHES = {
    "black": (0, 0, 0),
    "shadow": (1, 1, 1),
    "skin": (60, 38, 28),
    "grass": (12, 30, 8),
    "red shirt": (70, 6, 6),
    "blue sky": (40, 70, 120),
    "paper": (203, 203, 203),
    "lamp": (800, 800, 800),
    "sun": (1000, 1000, 1000),
}
WIDTH, HEIGHT = 32 * len(PATCHES), 64
TO_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])


def pq(light: np.ndarray) -> np.ndarray:
    """ST 2084: the signal of cd/m²."""
    m1, m2 = 0.1593017578125, 78.84375
    c1, c2, c3 = 0.8359375, 18.8515625, 18.6875
    y = (light / 10_000) ** m1
    return ((c1 + c2 * y) / (1 + c3 * y)) ** m2


def pq_inverse(signal: float) -> float:
    """By bisection, so that no second formula is needed."""
    low, high = 0.0, 10_000.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if pq(np.array(middle)) < signal else (low, middle)
    return low


def hlg(light: np.ndarray) -> np.ndarray:
    """BT.2100, table 5: the signal whose light on a display of 1000 cd/m² this is."""
    display = light / 1000
    luminance = 0.2627 * display[0] + 0.6780 * display[1] + 0.0593 * display[2]
    scene = display * luminance ** (1 / 1.2 - 1) if luminance else display
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.array([(3 * e) ** 0.5 if e <= 1 / 12 else a * np.log(12 * e - b) + c for e in scene])


def eetf(light: float) -> float:
    """BT.2390, 5.4.1: 1000 cd/m² to 203."""
    top = float(pq(np.array(1000.0)))
    most = float(pq(np.array(203.0))) / top
    start = 1.5 * most - 0.5
    e = min(1.0, float(pq(np.array(light))) / top)
    if e >= start:
        t = (e - start) / (1 - start)
        e = (
            (2 * t**3 - 3 * t**2 + 1) * start
            + (t**3 - 2 * t**2 + t) * (1 - start)
            + (-2 * t**3 + 3 * t**2) * most
        )
    return pq_inverse(e * top)


def expected(light: tuple[float, float, float]) -> list[float]:
    """8-bit R, G, B of a patch in SDR: hue kept, the largest of its channels compressed."""
    largest = max(np.array(light) @ TO_2020.T)
    if not largest:
        return [0.0, 0.0, 0.0]
    linear = np.array(light) * eetf(largest) / largest / 203
    return [float(value) for value in 255 * np.clip(linear, 0, 1) ** (1 / 2.4)]


def stored(transfer: int, bits: int = 10) -> av.VideoFrame:
    """The patches side by side as limited-range BT.2020 planes."""
    signal = np.zeros((HEIGHT, WIDTH, 3))
    for number, light in enumerate(PATCHES.values()):
        wide = np.array(light) @ TO_2020.T
        encoded = pq(wide) if transfer == PQ else hlg(wide)
        signal[:, 32 * number : 32 * (number + 1)] = encoded
    r, g, b = (signal[..., channel] for channel in range(3))
    y = KR * r + (1 - KR - KB) * g + KB * b
    u, v = (b - y) / (2 - 2 * KB), (r - y) / (2 - 2 * KR)
    unit = 1 << (bits - 8)
    planes = 16 + 219 * y, 128 + 224 * u[::2, ::2], 128 + 224 * v[::2, ::2]
    return frame_of(
        [np.rint(unit * plane).astype(np.uint16) for plane in planes], f"yuv420p{bits}le"
    )


def write(path: Path, transfer: int, bits: int = 10, frames: int = 5) -> None:
    encode(
        path,
        [stored(transfer, bits) for _ in range(frames)],
        codec="libx265",
        tags=(9, 1, 9, transfer),
        options={"x265-params": "log-level=none"},
    )


def patches(picture: av.VideoFrame) -> np.ndarray:
    rgb = picture.to_ndarray(format="rgb24").astype(int)
    return rgb[HEIGHT - 8, 16::32]


@pytest.mark.parametrize("bits", [10, 12])
@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_the_engine_sees_people_in_their_colours(tmp_path: Path, transfer: int, bits: int) -> None:
    write(tmp_path / "a.mp4", transfer, bits)
    with open_source(tmp_path / "a.mp4", sample_fps=0) as source:
        picture = next(source.frames()).picture
    assert picture.format.name == "yuv420p"
    tags = picture.colorspace, picture.color_range, picture.color_primaries, picture.color_trc
    assert [int(tag) for tag in tags] == [1, 1, 1, 1]
    wanted = [expected(light) for light in PATCHES.values()]
    for name, shown, want in zip(PATCHES, patches(picture), wanted, strict=True):
        assert np.abs(shown - want).max() <= 8, (name, shown, want)


@pytest.mark.parametrize("tags", [(2, 1, 2, PQ), (9, 1, 2, PQ), (2, 1, 9, PQ)])
def test_what_is_tagged_in_part_is_taken_for_what_goes_with_it(
    tmp_path: Path, tags: tuple[int, int, int, int]
) -> None:
    options = {"x265-params": "log-level=none"}
    encode(tmp_path / "a.mp4", [stored(PQ)] * 3, codec="libx265", tags=tags, options=options)
    with open_source(tmp_path / "a.mp4", sample_fps=0) as source:
        shown = patches(next(source.frames()).picture)
    wanted = np.array([expected(light) for light in PATCHES.values()])
    assert np.abs(shown - wanted).max() <= 8


def test_bt2020_without_hdr_gets_the_primaries_of_bt709(tmp_path: Path) -> None:
    rgb = np.array([[180, 120, 90], [60, 150, 70], [90, 90, 200]]) / 255
    wide = (rgb**2.4 @ TO_2020.T) ** (1 / 2.4)
    signal = np.repeat(wide[None], 32, axis=1).repeat(HEIGHT, axis=0)
    r, g, b = (signal[..., channel] for channel in range(3))
    y = KR * r + (1 - KR - KB) * g + KB * b
    u, v = (b - y) / (2 - 2 * KB), (r - y) / (2 - 2 * KR)
    planes = 64 + 876 * y, 512 + 896 * u[::2, ::2], 512 + 896 * v[::2, ::2]
    picture = frame_of([np.rint(plane).astype(np.uint16) for plane in planes], "yuv420p10le")
    options = {"x265-params": "log-level=none"}
    encode(
        tmp_path / "a.mp4",
        [picture] * 3,
        codec="libx265",
        tags=(9, 1, 9, SDR_2020),
        options=options,
    )
    with open_source(tmp_path / "a.mp4", sample_fps=0) as source:
        shown = next(source.frames()).picture.to_ndarray(format="rgb24")
    assert np.abs(shown[32, 16::32].astype(int) - 255 * rgb).max() <= 6


def test_the_overlay_is_sdr_and_says_so(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", PQ)
    job = Job(tmp_path / "a.mp4", tmp_path, Square)
    job.attempt()
    with av.open(str(job.results / overlay_name(job.spec))) as overlay:
        context = overlay.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        picture = next(overlay.decode(video=0))
    assert [int(picture.colorspace), int(picture.color_trc)] == [1, 1]
    wanted = np.array([expected(light) for light in PATCHES.values()])
    assert np.abs(patches(picture) - wanted).max() <= 10


@pytest.mark.parametrize("transfer", [PQ, HLG])
@pytest.mark.parametrize("rate", ["sampled", "original"])
def test_kept_hdr_is_ten_bit_hevc_with_its_tags(tmp_path: Path, transfer: int, rate: str) -> None:
    write(tmp_path / "a.mp4", transfer, frames=6)
    keep = {"kind": "overlay", "hdr": "keep", "rate": rate, "trails": True}
    job = Job(tmp_path / "a.mp4", tmp_path, Square, outputs=[keep])
    job.attempt()
    with av.open(str(job.results / overlay_name(job.spec))) as overlay:
        stream = overlay.streams.video[0]
        assert stream.codec_context.codec_tag == "hvc1"
        pictures = list(overlay.decode(video=0))
    assert len(pictures) == 6
    shown = pictures[-1]
    assert (stream.codec_context.name, shown.format.name) == ("hevc", "yuv420p10le")
    tags = shown.colorspace, shown.color_range, shown.color_primaries, shown.color_trc
    assert [int(tag) for tag in tags] == [9, 1, 9, transfer]
    luma = np.frombuffer(memoryview(shown.planes[0]), np.uint16).reshape(HEIGHT, -1)[:, :WIDTH]
    source = np.frombuffer(memoryview(stored(transfer).planes[0]), np.uint16)
    source = source.reshape(HEIGHT, -1)[:, :WIDTH]
    far = slice(48, None)  # from the objects that are drawn
    # Of ten bits, as its encoder has it: the very levels, not those of a tone map and back.
    assert np.abs(luma[far].astype(int) - source[far]).mean() <= 4
    assert np.abs(luma[:40, :40].astype(int) - source[:40, :40]).mean() > 40  # drawn


def test_kept_hdr_is_the_same_after_an_interruption(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", PQ, frames=12)
    keep = {"kind": "overlay", "hdr": "keep"}

    def levels(job: Job) -> list[float]:
        with av.open(str(job.results / overlay_name(job.spec))) as overlay:
            return [float(np.mean(p.to_ndarray()[:HEIGHT])) for p in overlay.decode(video=0)]

    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    whole = Job(tmp_path / "a.mp4", tmp_path / "whole", Square, outputs=[keep])
    whole.attempt()
    cut = Job(tmp_path / "a.mp4", tmp_path / "cut", Square, outputs=[keep])
    with pytest.raises(Stopped):
        cut.attempt(Line(stop_at=5))
    cut.attempt()
    assert cut.metadata()["resumed"] == 1
    assert levels(cut) == pytest.approx(levels(whole), abs=1)


def add_silence(path: Path) -> None:
    silent = path.with_name("silent.mp4")
    path.rename(silent)
    with av.open(str(silent)) as given, av.open(str(path), "w") as made:
        video = made.add_stream_from_template(given.streams.video[0])
        sound = made.add_stream("aac", rate=48_000, layout="mono")
        for packet in given.demux(video=0):
            if packet.dts is not None:
                packet.stream = video
                made.mux(packet)
        for start in range(0, 24_000, 1024):
            silence = np.zeros((1, 1024), np.float32)
            frame = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 48_000, start
            made.mux(sound.encode(frame))
        made.mux(sound.encode())


def test_kept_hdr_in_parts_and_with_sound_plays_on_apple(tmp_path: Path) -> None:
    """Its players show HEVC in an mp4 only where it is tagged 'hvc1'."""
    write(tmp_path / "a.mp4", PQ, frames=12)
    add_silence(tmp_path / "a.mp4")
    job = Job(tmp_path / "a.mp4", tmp_path, Square, outputs=[{"kind": "overlay", "hdr": "keep"}])
    with pytest.raises(Stopped):
        job.attempt(Line(stop_at=5))
    job.attempt()
    with av.open(str(job.results / overlay_name(job.spec))) as overlay:
        tags = [stream.codec_context.codec_tag for stream in overlay.streams]
        assert tags == ["hvc1", "mp4a"]
        assert len(list(overlay.decode(video=0))) == 12


def test_kept_hdr_of_a_source_that_has_none_is_the_usual_overlay(tmp_path: Path) -> None:
    picture = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 120, np.uint8), format="rgb24")
    encode(tmp_path / "a.mp4", [picture.reformat(format="yuv420p")] * 3)
    job = Job(tmp_path / "a.mp4", tmp_path, Square, outputs=[{"kind": "overlay", "hdr": "keep"}])
    job.attempt()
    with av.open(str(job.results / overlay_name(job.spec))) as overlay:
        assert overlay.streams.video[0].codec_context.name == "h264"
