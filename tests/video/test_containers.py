"""Containers that the timelines leave out, and tracks that are neither pictures nor sound."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.container import OutputContainer
from av.stream import Disposition

from tests.video.test_time_and_sound import done, heard, length_s, overlay_of, shown
from tests.video.timelines.pictures import HEIGHT, WIDTH, picture

FPS, FRAMES, RATE = 25, 50, 48_000
ASS = b"[Script Info]\nScriptType: v4.00+\n"  # what FFmpeg's encoders of text ask for
BEEP_S = 1.0

CONTAINERS = {  # suffix -> (FFmpeg's name, codec of the pictures, that of the sound)
    "mpg": ("mpeg", "mpeg2video", "mp2"),
    "mpeg1.mpg": ("mpeg", "mpeg1video", "mp2"),
    "vob": ("vob", "mpeg2video", "ac3"),
    "m2ts": ("mpegts", "libx264", "ac3"),
    "wmv": ("asf", "wmv2", "wmav2"),
    "ogv": ("ogg", "vp8", "libopus"),
    "mxf": ("mxf", "mpeg2video", "pcm_s16le"),
    "mov": ("mov", "prores_ks", "pcm_s16le"),
    "mkv": ("matroska", "ffv1", "flac"),
    "hevc.mp4": ("mp4", "libx265", "aac"),
    "msmpeg4.avi": ("avi", "msmpeg4", "mp2"),
    "m4v": ("mp4", "mpeg4", "alac"),
}


def write(
    path: Path, suffix: str, add: Callable[[OutputContainer], list[Any]] = lambda output: []
) -> None:
    """
    Args:
        add: adds a track before the others, and gives its packets.
    """
    name, codec, sound_codec = CONTAINERS[suffix]
    with av.open(str(path), "w", format=name) as output:
        others = add(output)
        stream = output.add_stream(codec, rate=FPS)
        stream.width, stream.height = WIDTH, HEIGHT
        stream.pix_fmt = {"prores_ks": "yuv422p10le"}.get(codec, "yuv420p")
        stream.bit_rate = 4_000_000
        sound = output.add_stream(sound_codec, rate=RATE, layout="mono")
        sound.bit_rate = 128_000
        for packet in others:
            output.mux(packet)
        for number in range(FRAMES):
            shot = picture(number).reformat(format=stream.pix_fmt)
            shot.pts, shot.time_base = number, Fraction(1, FPS)
            output.mux(stream.encode(shot))
            output.mux(sound.encode(tone(number)))
        output.mux(stream.encode())
        output.mux(sound.encode())


def tone(number: int) -> av.AudioFrame:
    """The sound of a picture's time: silence, or 40 ms of 1 kHz."""
    count = RATE // FPS
    at = np.arange(count) / RATE
    loud = number == round(BEEP_S * FPS)
    samples = (20_000 * loud * np.sin(2 * np.pi * 1000 * at)).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
    frame.rate, frame.pts, frame.time_base = RATE, number * count, Fraction(1, RATE)
    return frame


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_a_container(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"video.{suffix}"
    write(path, suffix)
    assert_whole(path)


def assert_whole(path: Path) -> None:
    job = done(path)
    seen = shown(overlay_of(job))
    assert [number for number, _ in seen] == list(range(FRAMES))
    assert [at_s for _, at_s in seen] == pytest.approx(np.arange(FRAMES) / FPS, abs=0.5 / FPS)
    assert heard(overlay_of(job)) == pytest.approx([BEEP_S], abs=0.025)
    assert length_s(overlay_of(job)) == pytest.approx(FRAMES / FPS, abs=0.1)
    video = job.metadata()["video"]
    assert (video["missing_s"], video["truncated"], video["left_out"]) == (0, False, [])


def subtitles(codec: str, text: bytes) -> Callable[[OutputContainer], list[Any]]:
    """A subtitle that stands for long after the pictures have ended."""

    def add(output: OutputContainer) -> list[Any]:
        packet: Any = av.Packet(text)
        packet.stream = stream = output.add_stream(codec)
        stream.codec_context.subtitle_header = ASS
        packet.time_base = Fraction(1, 1000)
        packet.pts = packet.dts = 500
        packet.duration = 60_000
        return [packet]

    return add


def cover(codec: str) -> Callable[[OutputContainer], list[Any]]:
    """A picture that players show beside the title, as the file's first track."""

    def add(output: OutputContainer) -> list[Any]:
        stream = output.add_stream(codec, rate=1)
        stream.width, stream.height = 320, 240
        stream.pix_fmt = "rgb24" if codec == "png" else "yuvj420p"
        stream.disposition = Disposition.attached_pic
        shot = av.VideoFrame(320, 240, stream.pix_fmt)
        shot.pts, shot.time_base = 0, Fraction(1)
        return [*stream.encode(shot), *stream.encode()]

    return add


def attachment(output: OutputContainer) -> list[Any]:
    output.add_attachment("font.ttf", "application/x-truetype-font", b"not a font")
    return []


ACCESSORIES = {
    "text of mp4": ("hevc.mp4", subtitles("mov_text", b"\x00\x05hello")),
    "text of Matroska": ("mkv", subtitles("subrip", b"hello")),
    "PNG cover of mp4": ("hevc.mp4", cover("png")),
    "JPEG cover of mp4": ("m4v", cover("mjpeg")),
    "attachment of Matroska": ("mkv", attachment),
}


@pytest.mark.parametrize("name", ACCESSORIES)
def test_other_tracks_change_nothing(tmp_path: Path, name: str) -> None:
    suffix, add = ACCESSORIES[name]
    path = tmp_path / f"video.{suffix}"
    write(path, suffix, add)
    assert_whole(path)


def test_a_subtitle_does_not_prolong_a_video_without_statistics(tmp_path: Path) -> None:
    path = tmp_path / "video.mkv"
    write(path, "mkv", subtitles("subrip", b"hello"))
    data = path.read_bytes()
    assert data.count(b"DURATION") == 3  # one for each track
    path.write_bytes(data.replace(b"DURATION", b"OTHERTAG"))
    assert_whole(path)
