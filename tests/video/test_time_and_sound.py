"""Files as people have them, through the worker's whole pipeline: pictures and sound in time.

Inputs are authored here; what is expected follows from how, never from the code under test.
"""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from shoal.errors import Stopped, TruncatedVideo
from shoal.results.layout import result_name
from tests import media
from tests.attempts import Job, Line
from tests.fakes import Fake
from tests.video.timelines.author import author
from tests.video.timelines.pictures import number_of
from tests.video.timelines.plan import Part, Plan, Truth, draw
from worker.video.source import open_source

OVERLAY = ({"kind": "overlay", "labels": False},)  # labels would hide the numbers
SYNC_S = 0.025


def job_of(path: Path, **options: Any) -> Job:
    folder = path.parent / f"job-{len(list(path.parent.iterdir()))}"
    folder.mkdir()
    return Job(path, folder, Fake, ("red",), **{"outputs": OVERLAY} | options)


def done(path: Path, **options: Any) -> Job:
    job = job_of(path, **options)
    job.attempt()
    return job


def overlay_of(job: Job) -> Path:
    return job.results / result_name(job.spec, "overlay")


def shown(path: Path) -> list[tuple[int, float]]:
    """The number and time of each picture of a video."""
    with av.open(str(path)) as container:
        return [(number_of(each), each.time) for each in container.decode(video=0)]


def heard(path: Path) -> list[float] | None:
    """Onsets of the beeps in the first sound track, in seconds; None if there is no track."""
    found, last = [], -9.0
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return None
        for frame in container.decode(audio=0):
            samples = frame.to_ndarray()
            if samples.dtype.kind == "i":
                samples = samples / np.iinfo(samples.dtype).max
            if not frame.format.is_planar:
                samples = samples.reshape(-1, frame.layout.nb_channels).T
            loud = np.abs(samples).max(0)
            for sample in np.flatnonzero(loud > 0.2):
                at_s = frame.time + sample / frame.sample_rate
                if at_s - last > 0.06:
                    found.append(at_s)
                last = at_s
    return found


def length_s(path: Path) -> float:
    with av.open(str(path)) as container:
        return (container.duration or 0) / av.time_base


def assert_true(job: Job, truth: Truth, fps: float) -> None:
    """The overlay shows and sounds what it should, when it should."""
    overlay = overlay_of(job)
    seen = shown(overlay)
    assert [number for number, _ in seen] == truth.numbers
    assert [at_s for _, at_s in seen] == pytest.approx(truth.times, abs=0.5 / fps)
    sounds = heard(overlay)
    if truth.beeps:
        assert sounds == pytest.approx(truth.beeps, abs=SYNC_S)
    assert length_s(overlay) == pytest.approx(truth.end_s, abs=0.5 / fps + 0.07)


# --- timelines ------------------------------------------------------------------------------------

LATE = [
    Plan(kind, parts=(Part(33, start_s=late_s),))
    for kind in ("fmp4", "mkv", "live.webm", "flv", "ts", "mp2.ts")
    for late_s in (90.0, 30_000.0)
]
JOINED = [
    Plan(kind, parts=(Part(33, start_s=10.0), Part(33, start_s=second_s)))
    for kind in ("ts", "mp2.ts", "flv", "live.mkv", "fmp4")
    for second_s in (10.0, 9.0, 25_200.0)
]
DISORDERED = [Plan(kind, b_frames=b_frames) for kind in ("avi", "h264.avi") for b_frames in (1, 2)]
OTHERS = [
    Plan("ts", parts=(Part(33, start_s=10.0, hole=(20, 20.0)),)),
    Plan("live.mkv", parts=(Part(33, hole=(20, 2.0)),)),  # its sound is encoded anew
    Plan("mp4", stands_s=5.0),
    Plan("flv", parts=(Part(48, repeats=5),)),
    Plan("mp4", edits=((0.5, -1), (1.0, 10))),
    *(draw(seed) for seed in range(900, 905)),
]


@pytest.mark.parametrize("plan", LATE + JOINED + DISORDERED + OTHERS, ids=str)
def test_a_timeline_through_the_pipeline(tmp_path: Path, plan: Plan) -> None:
    path = tmp_path / f"video.{plan.kind}"
    truth = author(plan, path)
    job = done(path)
    assert_true(job, truth, plan.fps)
    video = job.metadata()["video"]
    assert video["duration_s"] == pytest.approx(truth.times[-1], abs=0.5 / plan.fps)
    assert (video["missing_s"], video["truncated"], video["left_out"]) == (0, False, [])


def test_backward_has_the_same_times(tmp_path: Path) -> None:
    plan = Plan("ts", parts=(Part(33, start_s=10.0), Part(33, start_s=10.0)))
    truth = author(plan, tmp_path / "video.ts")
    assert_true(done(tmp_path / "video.ts", direction="backward"), truth, plan.fps)


def test_a_part_that_is_shown_twice_is_continued_exactly(tmp_path: Path) -> None:
    plan = Plan("mp4", gop=48, edits=((0.6, 10), (0.6, 10)))
    truth = author(plan, tmp_path / "video.mp4")
    undisturbed = done(tmp_path / "video.mp4")
    job = job_of(tmp_path / "video.mp4")
    for stop_at in (7, 22):
        with pytest.raises(Stopped):
            job.attempt(Line(stop_at=stop_at))
    job.attempt()
    assert job.metadata()["resumed"] == 2
    assert_true(job, truth, plan.fps)
    assert job.rows() == undisturbed.rows()


def test_an_interrupted_job_over_a_seam_is_as_undisturbed(tmp_path: Path) -> None:
    plan = Plan("ts", parts=(Part(33, start_s=10.0), Part(33, start_s=10.0)))
    truth = author(plan, tmp_path / "video.ts")
    job = job_of(tmp_path / "video.ts")
    for stop_at in (20, 40):
        with pytest.raises(Stopped):
            job.attempt(Line(stop_at=stop_at))
    job.attempt()
    assert_true(job, truth, plan.fps)


# --- how it begins and ends -----------------------------------------------------------------------


def cut_head(path: Path, cut_s: float) -> None:
    """A transport stream that was tuned into: its tables, then from a picture on."""
    data = path.read_bytes()
    with av.open(str(path)) as container:
        first = None
        for packet in container.demux(video=0):
            first = packet.pts if first is None else first
            if float((packet.pts - first) * packet.time_base) >= cut_s:
                break
        at = packet.pos // 188 * 188
    path.write_bytes(data[: 188 * 3] + data[at:])


@pytest.mark.parametrize("kind", ["ts", "mp2.ts"])
def test_a_head_without_its_key_frame_is_left_out_in_sync(tmp_path: Path, kind: str) -> None:
    plan = Plan(kind, gop=20, parts=(Part(48, start_s=10.0),))
    path = tmp_path / "video.ts"
    truth = author(plan, path)
    cut_head(path, 0.4)  # the next key frame is at 0.8 s
    job = done(path)
    truth = Truth(
        truth.numbers[20:],
        [at_s - 0.8 for at_s in truth.times[20:]],
        [at_s - 0.8 for at_s in truth.beeps if at_s > 0.8],
        truth.end_s - 0.8,
    )
    assert_true(job, truth, plan.fps)
    video = job.metadata()["video"]
    assert video["missing_s"] == pytest.approx(0.4, abs=0.05)
    assert not video["truncated"]
    assert "first 0.4 s" in video["left_out"][0]


def test_a_long_head_without_its_key_frame_is_told_and_not_refused(tmp_path: Path) -> None:
    plan = Plan("ts", fps=10, gop=80, parts=(Part(120, start_s=10.0),), sound=False)
    author(plan, tmp_path / "video.ts")
    cut_head(tmp_path / "video.ts", 2.0)
    metadata = done(tmp_path / "video.ts").metadata()
    assert metadata["video"]["frames_read"] == 40
    assert metadata["video"]["missing_s"] == pytest.approx(6.0, abs=0.1)


def test_a_gif_lasts_as_its_delays_say(tmp_path: Path) -> None:
    from PIL import Image

    delays = [500, 100, 100, 1000, 200, 2000]
    pictures = [Image.fromarray(media.picture(number)) for number in range(6)]
    pictures[0].save(
        tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=delays, loop=0
    )
    job = done(tmp_path / "a.gif")
    times = [sum(delays[:number]) / 1000 for number in range(6)]
    assert [at_s for _, at_s in shown(overlay_of(job))] == pytest.approx(times, abs=1e-3)
    assert length_s(overlay_of(job)) == pytest.approx(3.9, abs=1e-3)
    assert job.metadata()["video"]["end_s"] == pytest.approx(3.9)


def write_avi(path: Path, pattern: list[bool]) -> None:
    """Motion JPEG at 25 pictures a second; False repeats the picture by an empty chunk."""
    at, movi, index = 0, b"movi", b""
    for is_picture in pattern:
        data = media.jpeg(at) if is_picture else b""
        at += is_picture
        index += struct.pack("<4sIII", b"00dc", 16 if is_picture else 0, len(movi), len(data))
        movi += b"00dc" + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)
    size = media.WIDTH, media.HEIGHT

    def chunk(name: bytes, data: bytes) -> bytes:
        return name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)

    count = len(pattern)
    avih = struct.pack("<14I", 40_000, 0, 0, 16, count, 0, 1, 0, *size, 0, 0, 0, 0)
    strh = b"vidsMJPG" + struct.pack(
        "<IHHIIIIIIII4H", 0, 0, 0, 0, 1, 25, 0, count, 0, 2**32 - 1, 0, 0, 0, *size
    )
    strf = struct.pack(
        "<IiiHH4sIiiII", 40, *size, 1, 24, b"MJPG", size[0] * size[1] * 3, 0, 0, 0, 0
    )
    hdrl = b"hdrl" + chunk(b"avih", avih)
    hdrl += chunk(b"LIST", b"strl" + chunk(b"strh", strh) + chunk(b"strf", strf))
    body = chunk(b"LIST", hdrl) + chunk(b"LIST", movi) + chunk(b"idx1", index)
    path.write_bytes(chunk(b"RIFF", b"AVI " + body))


@pytest.mark.parametrize(
    "pattern",
    [[True] * 20 + [False] * 55, [True] * 10 + [False] * 30 + [True] * 10, [True, False] * 20],
    ids=["end", "middle", "every other"],
)
def test_repeated_pictures_of_an_avi(tmp_path: Path, pattern: list[bool]) -> None:
    write_avi(tmp_path / "a.avi", pattern)
    job = done(tmp_path / "a.avi")
    times = [number / 25 for number, is_picture in enumerate(pattern) if is_picture]
    assert [at_s for _, at_s in shown(overlay_of(job))] == pytest.approx(times, abs=1e-3)
    assert length_s(overlay_of(job)) == pytest.approx(len(pattern) / 25, abs=1e-3)
    assert job.metadata()["video"]["missing_s"] == 0


@pytest.mark.parametrize("suffix", ["avi", "flv", "mkv", "mov"])
@pytest.mark.parametrize("share", [0.33, 0.6])
def test_a_file_that_was_cut_is_told_apart_from_one_that_stands_still(
    tmp_path: Path, suffix: str, share: float
) -> None:
    path = tmp_path / f"cut.{suffix}"
    options = {"movflags": "faststart"} if suffix == "mov" else {}
    codec = "mpeg4" if suffix == "avi" else "libx264"
    media.write_video(path, frames=200, codec=codec, options=options)
    media.cut(path, share)
    with pytest.raises(TruncatedVideo), open_source(path, sample_fps=0) as source:
        list(source.frames())
    with open_source(path, sample_fps=0, allow_truncated=True) as source:
        read = len(list(source.frames()))
    assert source.extent.truncated
    assert source.extent.missing_s == pytest.approx((200 - read) / 25, abs=0.3)


# --- oddities of single formats ------------------------------------------------------------------


def write_packed(path: Path, frames: int) -> None:
    """DivX's packed bitstream: a picture and the B-picture before it share a chunk of the AVI.

    An empty picture follows in the B-picture's place.
    """
    context = av.CodecContext.create("mpeg4", "w")
    assert isinstance(context, av.VideoCodecContext)
    context.width, context.height, context.pix_fmt = media.WIDTH, media.HEIGHT, "yuv420p"
    context.time_base, context.framerate = Fraction(1, 25), Fraction(25)
    context.options = {"bf": "1", "b_strategy": "0", "g": "12", "flags": "+bitexact"}
    packets = []
    for number in range(frames):
        frame = av.VideoFrame.from_ndarray(media.picture(number), format="rgb24")
        frame.pts, frame.time_base = number, Fraction(1, 25)
        packets += context.encode(frame)
    data = [bytes(packet) for packet in (*packets, *context.encode(None))]
    vop = b"\x00\x00\x01\xb6"

    def kind(picture: bytes) -> int:  # 0 I, 1 P, 2 B
        return picture[picture.index(vop) + 4] >> 6

    at = data[0].index(vop)
    data[0] = data[0][:at] + b"\x00\x00\x01\xb2DivX503b1393p" + data[0][at:]
    chunks, number = [], 0
    while number < len(data):
        has_b = number + 1 < len(data) and kind(data[number + 1]) == 2
        chunks += (
            [data[number] + data[number + 1], vop + b"\x51\x00\x00\x00"]
            if has_b
            else [data[number]]
        )
        number += 1 + has_b
    with av.open(str(path), "w", format="avi") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = media.WIDTH, media.HEIGHT, "yuv420p"
        container.start_encoding()
        for order, chunk in enumerate(chunks):
            packet = av.Packet(chunk)
            packet.stream, packet.time_base = stream, Fraction(1, 25)
            packet.pts = packet.dts = order
            packet.is_keyframe = kind(chunk) == 0
            container.mux(packet)


def test_a_packed_bitstream(tmp_path: Path) -> None:
    write_packed(tmp_path / "a.avi", 50)
    with open_source(tmp_path / "a.avi", sample_fps=0) as source:
        frames = list(source.frames())
    assert [media.picture_number(frame.picture) for frame in frames] == list(range(50))
    assert [frame.time_s for frame in frames] == pytest.approx([n / 25 for n in range(50)])
    assert source.extent.end_s == pytest.approx(2.0)


@pytest.mark.parametrize(("name", "hold_s"), [("mpegts", 80.0), ("matroska", 80.0)])
def test_a_picture_stands_as_long_as_the_sound_goes_on(
    tmp_path: Path, name: str, hold_s: float
) -> None:
    """A slide in a talk: no pictures for longer than a hole would last."""
    path = tmp_path / "a.bin"
    times = [0.0, 0.04, 0.08, 0.12, *(hold_s + number / 25 for number in range(10))]
    with av.open(str(path), "w", format=name) as container:
        video = container.add_stream("libx264", rate=25, options={"bf": "0", "g": "1"})
        video.width, video.height, video.pix_fmt = media.WIDTH, media.HEIGHT, "yuv420p"
        video.codec_context.time_base = Fraction(1, 90_000)
        sound = container.add_stream("mp2", rate=48_000, layout="mono")
        packets = []
        for number, at_s in enumerate(times):
            frame = av.VideoFrame.from_ndarray(media.picture(number), format="rgb24")
            frame.pts, frame.time_base = round(at_s * 90_000), Fraction(1, 90_000)
            packets += video.encode(frame)
        packets += video.encode()
        for start in range(0, round((hold_s + 0.4) * 48_000), 1152):
            block = av.AudioFrame.from_ndarray(
                np.zeros((1, 1152), np.int16), format="s16p", layout="mono"
            )
            block.sample_rate, block.pts = 48_000, start
            packets += sound.encode(block)
        for packet in sorted(packets, key=lambda each: float(each.dts * each.time_base)):
            container.mux(packet)
    with open_source(path, sample_fps=0) as source:
        found = [frame.time_s for frame in source.frames()]
    assert found == pytest.approx(times, abs=2e-3)


def test_a_last_slide_is_taken_for_all_ticks_that_it_stands(tmp_path: Path) -> None:
    plan = Plan("mp4", parts=(Part(33),), stands_s=20.0, sound=False)
    author(plan, tmp_path / "a.mp4")
    with open_source(tmp_path / "a.mp4", sample_fps=1) as source:
        assert [frame.index for frame in source.frames()] == [0, 25, 32]
