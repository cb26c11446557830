"""Sound never costs the pictures: what can be kept is kept at its place, the rest is told."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests import media
from tests.video.test_time_and_sound import SYNC_S, done, heard, length_s, overlay_of, shown
from tests.video.timelines.author import RATE, author
from tests.video.timelines.plan import Part, Plan
from worker.video.source import open_source

SECONDS, FPS = 4, 25
BEEPS = [1.0, 3.0]


def write(
    path: Path,
    codec: str,
    format_name: str,
    *,
    rate: int = RATE,
    layout: str = "mono",
    pictures: str = "libx264",
    hole: tuple[float, float] = (9.0, 9.0),
) -> None:
    """Four seconds with two beeps.

    Args:
        hole: the packets of sound that begin between are lost.
    """
    with av.open(str(path), "w", format=format_name) as container:
        video = container.add_stream(pictures, rate=FPS)
        video.width, video.height, video.pix_fmt = media.WIDTH, media.HEIGHT, "yuv420p"
        sound = container.add_stream(codec, rate=rate, layout=layout)
        sound.codec_context.options = {"strict": "experimental"}
        sound.bit_rate = 128_000
        at = np.arange(SECONDS * rate) / rate
        wave = np.zeros_like(at, np.float32)
        for beep_s in BEEPS:
            on = (at >= beep_s) & (at < beep_s + 0.05)
            wave[on] = 0.7 * np.sin(2 * np.pi * 1000 * at[on])
        channels = 1 if layout == "mono" else 2
        frame = av.AudioFrame.from_ndarray(
            np.repeat(wave[None], channels, 0), format="fltp", layout=layout
        )
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        packets: list[Any] = []
        for number in range(SECONDS * FPS):
            shown = av.VideoFrame.from_ndarray(media.picture(number), format="rgb24")
            shown.pts, shown.time_base = number, Fraction(1, FPS)
            packets += video.encode(shown)
        packets += video.encode()
        form, size = sound.codec_context.format.name, sound.codec_context.frame_size or 1024
        resampler = av.AudioResampler(form, layout, rate, size)
        for block in [*resampler.resample(frame), *resampler.resample(None)]:
            packets += sound.encode(block)
        packets += sound.encode()
        packets = [
            packet
            for packet in packets
            if packet.stream is video
            or not hole[0] <= float(packet.pts * packet.time_base) < hole[1]
        ]
        for packet in sorted(packets, key=lambda each: float(each.dts * each.time_base)):
            container.mux(packet)


def sound_of(path: Path) -> dict[str, str]:
    """What the metadata says of a job's sound."""
    job = done(path)
    found: dict[str, str] = job.metadata()["audio"]
    assert len(shown(overlay_of(job))) == SECONDS * FPS
    return found | {"overlay": str(overlay_of(job))}


CODECS = {
    # codec: (container, layout, rate, what becomes of it)
    "aac": ("matroska", "mono", RATE, "copied"),
    "libmp3lame": ("matroska", "stereo", RATE, "copied"),
    "libopus": ("matroska", "stereo", RATE, "copied"),
    "flac": ("matroska", "stereo", 44_100, "copied"),
    "ac3": ("mpegts", "stereo", RATE, "encoded"),
    "eac3": ("matroska", "stereo", RATE, "encoded"),
    "alac": ("mov", "stereo", 44_100, "encoded"),
    "vorbis": ("matroska", "stereo", 44_100, "encoded"),
    "pcm_s16le": ("avi", "stereo", RATE, "encoded"),
    "pcm_s24le": ("mov", "mono", RATE, "encoded"),
    "mp2": ("mpegts", "stereo", RATE, "encoded"),
    "wavpack": ("matroska", "stereo", RATE, "encoded"),
    "tta": ("matroska", "stereo", RATE, "encoded"),
    "wmav2": ("asf", "stereo", RATE, "encoded"),
    "adpcm_ms": ("avi", "mono", RATE, "encoded"),
    "pcm_mulaw": ("mov", "mono", RATE, "encoded"),
}


@pytest.mark.parametrize("codec", CODECS)
def test_sound_that_browsers_play_is_copied_and_other_encoded(tmp_path: Path, codec: str) -> None:
    container, layout, rate, state = CODECS[codec]
    pictures = "mpeg4" if container in ("avi", "asf") else "libx264"
    write(tmp_path / "a.bin", codec, container, layout=layout, rate=rate, pictures=pictures)
    found = sound_of(tmp_path / "a.bin")
    assert (found["state"], found["reason"]) == (state, "")
    assert heard(Path(found["overlay"])) == pytest.approx(BEEPS, abs=SYNC_S)
    with av.open(found["overlay"]) as overlay:
        name = overlay.streams.audio[0].codec_context.name
    assert name in ("aac", "mp3", "mp3float", "opus", "flac")


@pytest.mark.parametrize("codec", ["mp2", "pcm_s16le", "aac", "vorbis", "flac"])
def test_a_hole_stays_a_hole(tmp_path: Path, codec: str) -> None:
    write(tmp_path / "a.mkv", codec, "matroska", layout="stereo", hole=(1.5, 2.5))
    found = sound_of(tmp_path / "a.mkv")
    assert heard(Path(found["overlay"])) == pytest.approx(BEEPS, abs=SYNC_S)


def rename_codec(path: Path) -> None:
    """Give the first sound track of an mp4 a codec that nobody knows."""
    data = bytearray(path.read_bytes())
    at = data.index(b"mp4a", data.index(b"soun", data.rindex(b"moov")))
    data[at : at + 4] = b"apac"
    config = data.index(b"esds", at)
    data[config : config + 4] = b"dapa"
    path.write_bytes(data)


def test_a_codec_that_nobody_knows_costs_only_the_sound(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", "aac", "mp4")
    rename_codec(tmp_path / "a.mp4")
    job = done(tmp_path / "a.mp4")
    assert heard(overlay_of(job)) is None
    audio = job.metadata()["audio"]
    assert audio["state"] == "lost"
    assert "no decoder" in audio["reason"]


def test_the_next_track_is_taken_instead(tmp_path: Path) -> None:
    write(tmp_path / "one.mp4", "aac", "mp4")
    with (
        av.open(str(tmp_path / "one.mp4")) as source,
        av.open(str(tmp_path / "a.mp4"), "w") as target,
    ):
        video = target.add_stream_from_template(source.streams.video[0])
        tracks = [target.add_stream_from_template(source.streams.audio[0]) for _ in range(2)]
        for packet in source.demux():
            if packet.dts is None:
                continue
            if packet.stream.type == "video":
                packet.stream = video
                target.mux(packet)
                continue
            other = av.Packet(bytes(packet))
            other.pts, other.dts, other.time_base = packet.pts, packet.dts, packet.time_base
            other.stream, packet.stream = tracks[1], tracks[0]
            target.mux([packet, other])
    rename_codec(tmp_path / "a.mp4")
    found = sound_of(tmp_path / "a.mp4")
    assert found["state"] == "copied"
    assert heard(Path(found["overlay"])) == pytest.approx(BEEPS, abs=SYNC_S)


BROKEN = {
    "aac": ("matroska", "mono", RATE),
    "libmp3lame": ("matroska", "stereo", RATE),
    "mp2": ("mpegts", "stereo", RATE),
    "nellymoser": ("flv", "mono", 44_100),
    "vorbis": ("matroska", "stereo", RATE),
    "wavpack": ("matroska", "stereo", RATE),
    "tta": ("matroska", "stereo", RATE),
    "wmav2": ("asf", "stereo", RATE),
    "flac": ("matroska", "stereo", RATE),
    "ac3": ("matroska", "stereo", RATE),
}


@pytest.mark.parametrize("codec", BROKEN)
def test_damaged_packets_cost_only_themselves(tmp_path: Path, codec: str) -> None:
    container, layout, rate = BROKEN[codec]
    path = tmp_path / "a.bin"
    pictures = "mpeg4" if container == "asf" else "libx264"
    write(path, codec, container, layout=layout, rate=rate, pictures=pictures)
    with av.open(str(path)) as source:
        packets = [
            bytes(packet)
            for packet in source.demux(audio=0)
            if packet.size and 1.5 < float(packet.pts * packet.time_base) < 2.0
        ]
    data = bytearray(path.read_bytes())
    for packet in packets[:6]:
        at = data.find(packet[:32])
        if at >= 0:
            data[at : at + min(len(packet), 60)] = b"\xff" * min(len(packet), 60)
    path.write_bytes(data)
    found = sound_of(path)
    assert found["state"] in ("copied", "encoded")
    beeps = [at_s for at_s in heard(Path(found["overlay"])) or [] if not 1.4 < at_s < 2.2]
    assert beeps == pytest.approx(BEEPS, abs=SYNC_S)


def test_sound_goes_on_to_its_own_end(tmp_path: Path) -> None:
    """Pictures that end before the sound stand until then, and all of it is kept."""
    write(tmp_path / "a.mp4", "aac", "mp4")
    with (
        av.open(str(tmp_path / "a.mp4")) as source,
        av.open(str(tmp_path / "b.mp4"), "w") as target,
    ):
        streams = {each.index: target.add_stream_from_template(each) for each in source.streams}
        for packet in source.demux():
            is_late = packet.dts is not None and float(packet.pts * packet.time_base) >= 2.0
            if packet.dts is None or (packet.stream.type == "video" and is_late):
                continue
            packet.stream = streams[packet.stream_index]
            target.mux(packet)
    job = done(tmp_path / "b.mp4")
    assert heard(overlay_of(job)) == pytest.approx(BEEPS, abs=SYNC_S)
    assert length_s(overlay_of(job)) == pytest.approx(4.0, abs=0.05)
    assert not job.metadata()["video"]["truncated"]


def test_a_format_that_changes_at_a_seam_is_encoded(tmp_path: Path) -> None:
    data = b""
    for number, rate in enumerate((48_000, 32_000)):
        write(tmp_path / f"{number}.ts", "aac", "mpegts", rate=rate)
        data += (tmp_path / f"{number}.ts").read_bytes()
    (tmp_path / "a.ts").write_bytes(data)
    job = done(tmp_path / "a.ts")
    beeps = [each + start_s for start_s in (0, SECONDS) for each in BEEPS]
    assert job.metadata()["audio"]["state"] == "encoded"
    assert heard(overlay_of(job)) == pytest.approx(beeps, abs=SYNC_S)


def test_what_is_said_of_sound_that_nobody_asked_for(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", "aac", "mp4")
    muted = done(tmp_path / "a.mp4", outputs=({"kind": "overlay", "audio": False},))
    assert muted.metadata()["audio"]["state"] == "off"
    media.write_video(tmp_path / "b.mp4")
    assert done(tmp_path / "b.mp4").metadata()["audio"]["state"] == "none"


# --- what is left out, and what was damaged ------------------------------------------------------


def test_a_second_video_stream_is_told(tmp_path: Path) -> None:
    """A sender that changes the PID of its pictures in the middle."""
    data = b""
    for number, pid in enumerate((0x100, 0x120)):
        part = tmp_path / f"{number}.ts"
        media.write_video(part, frames=50, options={"mpegts_start_pid": str(pid)})
        data += part.read_bytes()
    (tmp_path / "a.ts").write_bytes(data)
    job = done(tmp_path / "a.ts")
    metadata = job.metadata()
    assert metadata["video"]["frames_read"] == 50
    assert "stream 1 (h264) was not read" in metadata["video"]["left_out"][0]


@pytest.mark.parametrize("suffix", ["mp4", "mov", "flv"])
def test_a_second_file_behind_the_first_is_told(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    media.write_video(path, frames=50)
    path.write_bytes(path.read_bytes() * 2)
    assert done(path).metadata()["video"]["left_out"]


@pytest.mark.parametrize("suffix", ["mkv", "avi", "ts"])
def test_a_second_file_behind_the_first_is_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    media.write_video(path, frames=50, codec="mpeg4" if suffix == "avi" else "libx264")
    path.write_bytes(path.read_bytes() * 2)
    video = done(path).metadata()["video"]
    assert (video["frames_read"], video["left_out"]) == (100, [])
    assert video["duration_s"] == pytest.approx(3.96, abs=0.01)


def drop(data: bytes, at: int) -> bytes:
    return data[: at * 188] + data[at * 188 + 188 :]


def zero(data: bytes, at: int) -> bytes:
    return data[: at * 188 + 4] + bytes(184) + data[at * 188 + 188 :]


@pytest.mark.parametrize("harm", [drop, zero])
@pytest.mark.parametrize("sound", [True, False])
def test_damage_in_a_transport_stream_is_counted(
    tmp_path: Path, harm: Callable[[bytes, int], bytes], sound: bool
) -> None:
    path = tmp_path / "a.ts"
    author(Plan("ts", gop=48, parts=(Part(48, start_s=10.0),), sound=sound), path)
    data = path.read_bytes()
    starts = [
        at
        for at in range(len(data) // 188)
        if data[at * 188 + 1] & 0x5F == 0x41 and data[at * 188 + 2] == 0
    ]
    path.write_bytes(harm(data, starts[20]))
    with open_source(path, sample_fps=0) as source:
        list(source.frames())
    assert source.extent.decode_errors > 0


# --- rates ----------------------------------------------------------------------------------------


def test_a_recorder_that_tells_no_rate(tmp_path: Path) -> None:
    """A browser's: stamps of arrival, in milliseconds, and no duration."""
    steps = np.random.default_rng(1).integers(36, 65, 119)
    times = [0.0, *(np.cumsum(steps) / 1000)]
    path = tmp_path / "a.webm"
    with av.open(str(path), "w", options={"live": "1"}) as container:
        stream = container.add_stream("libvpx", rate=1000)
        stream.width, stream.height, stream.pix_fmt = media.WIDTH, media.HEIGHT, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, at_s in enumerate(times):
            frame = av.VideoFrame.from_ndarray(media.picture(number), format="rgb24")
            frame.pts, frame.time_base = round(at_s * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    nearest = [
        min(range(len(times)), key=lambda number: abs(times[number] - second))
        for second in range(int(times[-1]) + 1)
    ]
    with open_source(path, sample_fps=1) as source:
        assert [frame.index for frame in source.frames()] == nearest
    rate = (len(times) - 1) / times[-1]
    assert done(path).metadata()["original_fps"] == pytest.approx(rate, abs=0.01)
    assert source.info.fps == pytest.approx(rate, rel=0.2)
