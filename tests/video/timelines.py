"""Videos whose stamps do what those of real ones do, and the truth about each.

A ``Plan`` says which pictures follow each other when, and where the stamps jump, repeat or leave a
hole; ``author`` writes it with PyAV alone. ``check`` reads the file as a job does and compares with
the plan: which picture, when, with the sound at its place, forward, backward, and continued in the
middle. Every picture carries its number in binary along the top, every beep lies at a known time.

    python -m tests.video.timelines 1000 --seed 7
"""

from __future__ import annotations

import argparse
import random
import struct
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np

from worker.video import reverse
from worker.video.demux import Demuxer
from worker.video.frame import Frame
from worker.video.planes import fingerprint
from worker.video.probe import VideoLimits
from worker.video.reverse import Backward, survey
from worker.video.source import Source, open_source

WIDTH, HEIGHT, CELL = 128, 32, 16
RATE = 48_000
BEEP_S = 0.04
SYNC_S = 0.025
TICK = Fraction(1, 90_000)
CLUSTER = bytes.fromhex("1f43b675")

FORMATS = {  # suffix -> (FFmpeg's name, options, codec of the pictures, that of the sound)
    "mp4": ("mp4", {"movie_timescale": "90000"}, "libx264", "aac"),
    "mov": ("mov", {"movie_timescale": "90000"}, "libx264", "aac"),
    "fmp4": (
        "mp4",
        {"movflags": "frag_keyframe+empty_moov+default_base_moof"},
        "libx264",
        "aac",
    ),
    "mkv": ("matroska", {}, "libx264", "aac"),
    "live.mkv": ("matroska", {"live": "1"}, "libx264", "mp2"),
    "webm": ("webm", {}, "libvpx", "libopus"),
    "live.webm": ("webm", {"live": "1"}, "libvpx", "libopus"),
    "avi": ("avi", {}, "mpeg4", "mp2"),
    "h264.avi": ("avi", {}, "libx264", "pcm_s16le"),
    "ts": ("mpegts", {"muxdelay": "0"}, "libx264", "aac"),
    "mp2.ts": ("mpegts", {"muxdelay": "0"}, "mpeg2video", "mp2"),
    "flv": ("flv", {"flvflags": "no_duration_filesize+no_metadata"}, "libx264", "aac"),
}
AVI = ("avi", "h264.avi")
JOINED = ("fmp4", "live.mkv", "live.webm", "ts", "mp2.ts", "flv")  # can be put end to end
EDITED = ("mp4", "mov")
REPEATING = ("mkv", "live.mkv", "webm", "live.webm", "flv")


@dataclass(frozen=True)
class Part:
    """One recording of a file.

    Attributes:
        frames: how many pictures it has.
        start_s: its first stamp.
        hole: (picture, seconds): how long the stamps pause before a picture.
        repeats: every so many stamps one is that of the picture before; 0 for none.
        jitter: of each picture's time, as a share of a step.
        sound_late_s: when its sound begins; negative: before the pictures.
    """

    frames: int
    start_s: float = 0.0
    hole: tuple[int, float] = (0, 0.0)
    repeats: int = 0
    jitter: float = 0.0
    sound_late_s: float = 0.0


@dataclass(frozen=True)
class Plan:
    """A file.

    Attributes:
        kind: of ``FORMATS``.
        fps: pictures a second.
        gop, b_frames: how they are coded.
        parts: put end to end.
        sound: whether there is any.
        edits: (seconds, first picture or -1 for nothing) of an mp4's edit list.
        stands_s: how much longer than the others the last picture stands.
        seed: of what else is drawn.
    """

    kind: str
    fps: int = 25
    gop: int = 12
    b_frames: int = 0
    parts: tuple[Part, ...] = (Part(40),)
    sound: bool = True
    edits: tuple[tuple[float, int], ...] = ()
    stands_s: float = 0.0
    seed: int = 0


@dataclass
class Truth:
    """What a viewer sees and hears.

    Attributes:
        numbers, times: of the pictures, in seconds since the first.
        beeps: in seconds since the first picture.
        end_s: when the last picture has been shown.
    """

    numbers: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    beeps: list[float] = field(default_factory=list)
    end_s: float = 0.0


def draw(seed: int) -> Plan:
    """A plan at random."""
    r = random.Random(seed)
    kind = r.choice(list(FORMATS))
    fps = r.choice((10, 15, 25, 30, 50)) if kind != "mp2.ts" else 25  # its header says so
    b_frames = r.choice((0, 0, 1, 2)) if "web" not in kind else 0
    is_joined = kind in JOINED and r.random() < 0.5
    is_edited = kind in EDITED and r.random() < 0.5
    count = r.choice((2, 2, 3)) if is_joined else 1
    sound = r.random() < 0.7
    parts: list[Any] = []
    end_s = 0.0
    for number in range(count):
        frames = r.choice((20, 33, 48))
        start_s = 0.0
        if kind not in AVI + EDITED:
            start_s = r.choice((0.0, 1.4, 90.0, 30_000.0))
        if number:
            start_s = _jump(r, parts[-1].start_s, end_s, kind)
        hole = (0, 0.0)
        if not is_edited and kind not in AVI and r.random() < 0.3:
            hole = (r.randrange(6, frames - 6), r.choice((0.5, 2.0, 20.0)))
        repeats = 0
        if kind in REPEATING and not b_frames and not hole[1] and r.random() < 0.3:
            repeats = r.choice((3, 5, 7))  # every second one leaves the rate open
        is_plain = not repeats and not is_edited and kind not in AVI
        jitter = 0.2 if is_plain and r.random() < 0.3 else 0.0
        late_s = r.choice((0.0, 0.0, 0.1, 0.3)) if kind not in AVI and not is_edited else 0.0
        if late_s and count == 1 and not is_edited and start_s and r.random() < 0.5:
            late_s = -late_s
        if kind == "fmp4":  # FFmpeg's muxer writes no start of a track there
            late_s = 0.0
        parts.append(Part(frames, start_s, hole, repeats, jitter, late_s))
        end_s = start_s + frames / fps + hole[1]
    edits: tuple[tuple[float, int], ...] = ()
    if is_edited:
        edits = _edits(r, parts[0].frames, fps)
    stands_s = r.choice((0.0, 3.0)) if kind in EDITED and not edits and not b_frames else 0.0
    gop = r.choice((6, 12, 48))
    return Plan(kind, fps, gop, b_frames, tuple(parts), sound, edits, stands_s, seed)


def _jump(r: random.Random, start_s: float, end_s: float, kind: str) -> float:
    """Where the stamps go on after a seam."""
    length_s = end_s - start_s
    limit_s = 60 if kind.endswith("ts") else 3600
    back = [start_s, max(0.0, start_s - 1), start_s + length_s / 2]
    return r.choice([*back, end_s + 2 * limit_s, end_s + 25_200.0])


def _edits(r: random.Random, frames: int, fps: int) -> tuple[tuple[float, int], ...]:
    first, last = r.randrange(0, frames // 2), r.randrange(frames // 2 + 2, frames)
    one = ((last - first) / fps, first)
    match r.randrange(3):
        case 0:
            return (one,)
        case 1:
            return ((0.5, -1), one)
    return (one, one)


# --- writing --------------------------------------------------------------------------------------


def picture(number: int) -> av.VideoFrame:
    rgb = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
    for bit in range(8):
        rgb[:CELL, bit * CELL : (bit + 1) * CELL] = 235 if number >> bit & 1 else 16
    x = 3 * number % (WIDTH - 16)
    rgb[CELL:, x : x + 16] = (220, 20, 20)
    return av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuv420p")


def number_of(shown: av.VideoFrame) -> int:
    grey = shown.to_ndarray(format="gray")
    return sum(1 << bit for bit in range(8) if grey[CELL // 2, CELL // 2 + bit * CELL] > 120)


@dataclass(frozen=True)
class Coded:
    """A packet; stamps in pictures."""

    data: bytes
    pts: int
    dts: int
    is_key: bool


@lru_cache(maxsize=256)
def coded(
    codec: str, first: int, frames: int, gop: int, b_frames: int, is_global: bool
) -> list[Coded]:
    """Packets of pictures numbered from ``first``."""
    context = av.CodecContext.create(codec, "w")
    assert isinstance(context, av.VideoCodecContext)
    context.width, context.height, context.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    context.time_base, context.framerate = Fraction(1, 25), Fraction(25)
    context.options = coder_options(codec, gop, b_frames)
    if is_global:
        context.options |= {"flags": "+global_header"}
    packets = []
    for index in range(frames):
        shown = picture(first + index)
        shown.pts, shown.time_base = index, Fraction(1, 25)
        packets += context.encode(shown)
    packets += context.encode(None)
    return [
        Coded(bytes(each), each.pts or 0, each.dts if each.dts is not None else 0, each.is_keyframe)
        for each in packets
    ]


def coder_options(codec: str, gop: int, b_frames: int) -> dict[str, str]:
    options = {"threads": "1", "g": str(gop)}
    if codec == "libx264":
        options |= {"preset": "ultrafast", "bf": str(b_frames), "b_strategy": "0"}
        options |= {"x264-params": f"scenecut=0:keyint={gop}:min-keyint={gop}:rc-lookahead=4"}
    elif codec == "libvpx":
        options |= {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}
    else:
        options |= {"bf": str(b_frames), "b_strategy": "0", "qmin": "2", "qmax": "4"}
    return options


def picture_times(plan: Plan, part: Part, number: int) -> list[float]:
    """When each picture of a part is shown, from its first; holes counted."""
    r, step = random.Random(f"{plan.seed}.{number}"), 1 / plan.fps
    times = []
    for index in range(part.frames):
        is_inner = 0 < index < part.frames - 6
        moved = r.uniform(-1, 1) * part.jitter * step if is_inner else 0.0
        late_s = part.hole[1] if part.hole[1] and index >= part.hole[0] else 0.0
        times.append(index * step + moved + late_s)
    return times


def beep_times(plan: Plan, part: Part) -> list[float]:
    """In seconds of material: without the hole."""
    length_s, hole_s = part.frames / plan.fps, part.hole[0] / plan.fps
    found = [length_s * 0.45, length_s * 0.75]
    if part.hole[1]:
        found = [each for each in found if not -0.12 < each - hole_s < 0.12]
    return [each for each in found if each > part.sound_late_s + 0.1]


def author(plan: Plan, path: Path) -> Truth:
    """Write the file; returns what is true of it."""
    truth, data, shown_s, first = Truth(), b"", 0.0, 0
    for number, part in enumerate(plan.parts):
        times = picture_times(plan, part, number)
        data += _follow(plan.kind, _mux(plan, part, times, first), part, number)
        truth.numbers += range(first, first + part.frames)
        truth.times += [shown_s + each for each in times]
        if plan.sound:
            for at_s in beep_times(plan, part):
                late_s = part.hole[1] if at_s * plan.fps >= part.hole[0] else 0.0
                truth.beeps.append(shown_s + at_s + late_s)
        shown_s += part.frames / plan.fps + part.hole[1]
        first += part.frames
    truth.end_s = shown_s + plan.stands_s
    if plan.edits:
        data = _edit(data, plan)
        truth = _edited(plan, truth)
    path.write_bytes(data)
    return truth


def _mux(plan: Plan, part: Part, times: list[float], first: int) -> bytes:
    name, options, codec, sound_codec = FORMATS[plan.kind]
    is_global = name not in ("mpegts", "avi")
    packets = coded(codec, first, part.frames, plan.gop, plan.b_frames, is_global)
    start_s = part.start_s if plan.kind != "fmp4" else 0.0  # its boxes are changed afterwards
    buffer = BytesIO()
    step = 1 / plan.fps
    with av.open(buffer, "w", format=name, container_options=options) as container:
        stream = container.add_stream(
            codec, rate=plan.fps, options=coder_options(codec, plan.gop, plan.b_frames)
        )
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        time_base = Fraction(1, plan.fps) if plan.kind in AVI else TICK
        stream.time_base = time_base
        if codec != "mpeg2video":
            stream.codec_context.time_base = time_base
        sound = container.add_stream(sound_codec, rate=RATE, layout="mono") if plan.sound else None
        container.start_encoding()
        work: list[tuple[float, int, Any]] = []
        for order, each in enumerate(packets):
            packet = av.Packet(each.data)
            packet.stream, packet.time_base, packet.is_keyframe = stream, time_base, each.is_key
            if plan.kind in AVI:
                packet.pts = packet.dts = order
                packet.duration = 1
                work.append((order * step, 0, packet))
                continue
            dts = times[each.dts] if each.dts >= 0 else each.dts * step
            shown_s = times[each.pts]
            if part.repeats and each.pts and each.pts % part.repeats == 0:
                dts = shown_s = times[each.pts - 1]
            packet.pts = round((start_s + shown_s) / TICK)
            packet.dts = min(packet.pts, round((start_s + dts) / TICK))
            packet.duration = round(step / TICK)
            if plan.stands_s and order == len(packets) - 1:
                packet.duration += round(plan.stands_s / TICK)
            work.append((dts, 0, packet))
        if sound:
            work += [(at_s, 1, each) for at_s, each in _sound(plan, part, sound, start_s)]
        for _, _, packet in sorted(work, key=lambda item: item[:2]):
            container.mux(packet)
    return buffer.getvalue()


def _sound(plan: Plan, part: Part, stream: Any, start_s: float) -> Iterator[tuple[float, Any]]:
    """Packets with beeps; the hole is one in the sound, too."""
    length_s = part.frames / plan.fps
    at = np.arange(round(part.sound_late_s * RATE), round(length_s * RATE)) / RATE
    samples = np.zeros_like(at)
    for beep_s in beep_times(plan, part):
        on = (at >= beep_s) & (at < beep_s + BEEP_S)
        samples[on] = 0.8 * np.sin(2 * np.pi * 1000 * at[on])
    size = stream.codec_context.frame_size or 1024
    resampler = av.AudioResampler(stream.codec_context.format.name, "mono", RATE, size)
    first = round((start_s + part.sound_late_s) * RATE)
    frame = av.AudioFrame.from_ndarray(
        samples[None].astype(np.float32), format="fltp", layout="mono"
    )
    frame.sample_rate, frame.pts, frame.time_base = RATE, first, Fraction(1, RATE)
    packets = [
        each
        for block in [*resampler.resample(frame), *resampler.resample(None)]
        for each in stream.codec_context.encode(block)
    ]
    packets += stream.codec_context.encode(None)
    hole_s = part.hole[0] / plan.fps
    for packet in packets:
        at_s = float(packet.pts * packet.time_base) - start_s
        if plan.kind == "fmp4" and at_s < 0:
            continue  # the encoder's priming
        if part.hole[1] and at_s >= hole_s:
            by = round(part.hole[1] / packet.time_base)
            packet.pts, packet.dts = packet.pts + by, packet.dts + by
            at_s += part.hole[1]
        packet.stream = stream
        yield at_s, packet


def _follow(kind: str, data: bytes, part: Part, number: int) -> bytes:
    """A part as it follows the one before."""
    if kind == "fmp4":
        data = _late(data, part.start_s)
        return data[data.index(b"moof") - 4 :] if number else data
    if number == 0:
        return data
    if kind.startswith("live"):
        return data[data.index(CLUSTER) :]
    return data[13:] if kind == "flv" else data


def _late(data: bytes, late_s: float) -> bytes:
    """A fragmented mp4 whose fragments begin later (tfdt, ISO/IEC 14496-12, 8.8.12)."""
    changed = bytearray(data)
    scales, at = [], 0
    while (at := data.find(b"mdhd", at + 4)) > 0:
        scales.append(struct.unpack(">I", data[at + 16 : at + 20])[0])
    at = 0
    while (at := data.find(b"tfhd", at + 4)) > 0:
        track = struct.unpack(">I", data[at + 8 : at + 12])[0]
        by, box = round(late_s * scales[track - 1]), data.index(b"tfdt", at)
        form = ">Q" if data[box + 4] else ">I"
        span = slice(box + 8, box + 8 + struct.calcsize(form))
        changed[span] = struct.pack(form, struct.unpack(form, data[span])[0] + by)
    return bytes(changed)


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    while start + 8 <= end:
        length = struct.unpack(">I", data[start : start + 4])[0]
        yield data[start + 4 : start + 8], start, length
        start += length


def _edit(data: bytes, plan: Plan) -> bytes:
    """With the edit list in all tracks, which no chunk offset minds: the index is last."""
    changed = bytearray(data)
    moov = next(start for kind, start, _ in _boxes(data, 0, len(data)) if kind == b"moov")
    clock = struct.unpack(">I", data[data.index(b"mvhd") + 16 : data.index(b"mvhd") + 20])[0]
    at = moov + 8
    while at < len(changed):
        length = struct.unpack(">I", changed[at : at + 4])[0]
        if changed[at + 4 : at + 8] == b"trak":
            track = bytes(changed[at : at + length])
            edited = _edited_track(track, plan, clock)
            changed[at : at + length] = edited
            grown = len(edited) - length
            size = struct.unpack(">I", changed[moov : moov + 4])[0] + grown
            changed[moov : moov + 4] = struct.pack(">I", size)
            length += grown
        at += length
    return bytes(changed)


def _edited_track(track: bytes, plan: Plan, clock: int) -> bytes:
    at = track.index(b"mdhd")
    scale = struct.unpack(">I", track[at + 16 : at + 20])[0]
    place = track.find(b"edts") - 4
    old, lead = b"", 0
    if place > 0:  # the encoder's delay
        old = track[place : place + struct.unpack(">I", track[place : place + 4])[0]]
        lead = max(0, struct.unpack(">i", old[28:32])[0])
    else:
        place = track.index(b"mdia") - 4
    body = b"".join(
        struct.pack(
            ">iiI",
            round(length_s * clock),
            -1 if first < 0 else round(first / plan.fps * scale) + lead,
            1 << 16,
        )
        for length_s, first in plan.edits
    )
    elst = struct.pack(">I4sII", 16 + len(body), b"elst", 0, len(plan.edits)) + body
    edts = struct.pack(">I4s", 8 + len(elst), b"edts") + elst
    edited = bytearray(track[:place] + edts + track[place + len(old) :])
    edited[:4] = struct.pack(">I", len(edited))
    return bytes(edited)


def _edited(plan: Plan, truth: Truth) -> Truth:
    edited, shown_s = Truth(), 0.0
    for length_s, first in plan.edits:
        if first < 0:
            continue  # nothing is shown yet: the first picture is what counts as 0
        from_s = first / plan.fps
        for number, at_s in zip(truth.numbers, truth.times, strict=True):
            if from_s - 1e-6 <= at_s < from_s + length_s - 1e-6:
                edited.numbers.append(number)
                edited.times.append(shown_s + at_s - from_s)
        for at_s in truth.beeps:
            if from_s + 0.1 <= at_s < from_s + length_s - 0.1:
                edited.beeps.append(shown_s + at_s - from_s)
        shown_s += length_s
    edited.end_s = shown_s
    return edited


# --- checking -------------------------------------------------------------------------------------


def opened(path: Path) -> Source:
    return open_source(path, sample_fps=0)


def seen(frame: Frame) -> tuple[int, float, int]:
    return frame.index, frame.time_s, fingerprint(frame.picture)


def beeps_of(path: Path, start_s: float) -> list[float]:
    """Onsets in the first sound track, as the sound's pass places its packets."""
    demuxer = Demuxer(path, VideoLimits())
    found: list[float] = []
    try:
        track = demuxer.container.streams.audio[0]
        last = -9.0
        for packet in demuxer.packets(track):
            if packet.stream_index != track.index:
                continue
            for frame in track.codec_context.decode(packet):
                samples = frame.to_ndarray().astype(np.float32)
                loud = np.abs(samples).max(0) / (32768 if frame.format.name[0] == "s" else 1)
                for sample in np.flatnonzero(loud > 0.2):
                    at_s = float(frame.time) + sample / frame.sample_rate - start_s
                    if at_s - last > 0.06:
                        found.append(at_s)
                    last = at_s
    finally:
        demuxer.close()
    return found


def check(plan: Plan, path: Path) -> None:
    """Raises AssertionError where what is read is not the truth."""
    truth = author(plan, path)
    with opened(path) as source:
        straight, numbers, places = [], [], []
        for frame in source.frames():
            straight.append(seen(frame))
            numbers.append(number_of(frame.picture))
            places.append(source.position())
        extent, info = source.extent, source.info
    assert numbers == truth.numbers, f"pictures {numbers}"
    half = 0.5 / plan.fps
    off = [
        (index, at_s, true_s)
        for (index, at_s, _), true_s in zip(straight, truth.times, strict=True)
        if abs(at_s - true_s) > half
    ]
    assert not off, f"times {off[:6]}"
    assert abs(extent.end_s - truth.end_s) <= half + 0.01, f"ends at {extent.end_s}"
    assert extent.whole
    assert not extent.truncated
    assert extent.missing_s == 0, f"missing {extent.missing_s}"
    holes = sum(part.hole[1] > 0 for part in plan.parts) if plan.kind.endswith("ts") else 0
    assert extent.decode_errors <= holes, f"{extent.decode_errors} errors"
    if plan.sound:
        heard = beeps_of(path, info.start_s)
        heard = [each for each in heard if each > 0.02 and each < truth.end_s]
        heard = [each for each in heard if min_gap(each, truth.beeps) < 0.1]
        assert len(heard) == len(truth.beeps), f"heard {heard}, beeps {truth.beeps}"
        late = [a - b for a, b in zip(heard, truth.beeps, strict=True)]
        assert max(map(abs, late), default=0) <= SYNC_S, f"sound is late by {late}"
    at = random.Random(plan.seed).randrange(len(straight))
    with opened(path) as source:
        source.resume(places[at], straight[at][2])
        rest = [seen(frame) for frame in source.frames()]
        assert rest == straight[at + 1 :], f"continued after {at}"
        assert source.extent == extent, f"continued after {at}: {source.extent}"
    with opened(path) as source:
        found = survey(source, 0.0, None)
    with opened(path) as source:
        back = [seen(frame) for frame in Backward(source, found).frames()]
    assert back == straight[::-1], "backward"


def min_gap(at_s: float, others: list[float]) -> float:
    return min((abs(at_s - each) for each in others), default=9.0)


def failures(
    seeds: range, folder: Path, *, report: int = 0
) -> Iterator[tuple[Plan, BaseException]]:
    """The plans of these seeds that come out otherwise than they should.

    Args:
        report: print a line after every so many.
    """
    reverse.WINDOW_BYTES = 17 * WIDTH * HEIGHT * 3 // 2
    for done, seed in enumerate(seeds):
        if report and done and done % report == 0:
            print(f"... {done}", flush=True)
        plan = draw(seed)
        path = folder / f"video.{plan.kind}"
        try:
            check(plan, path)
        except Exception as error:
            yield plan, error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    av.logging.set_level(None)
    start, failed = time.perf_counter(), 0
    with tempfile.TemporaryDirectory() as folder:
        seeds = range(options.seed, options.seed + options.count)
        for plan, error in failures(seeds, Path(folder), report=1000):
            failed += 1
            print(f"{plan}\n    {type(error).__name__}: {str(error)[:400]}", flush=True)
    print(f"{options.count - failed} of {options.count}, {time.perf_counter() - start:.0f} s")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
