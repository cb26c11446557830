"""Writing what a plan says with PyAV alone, and the truth of it."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np

from tests.video.timelines.mp4 import delay_fragments, with_edit_list
from tests.video.timelines.pictures import HEIGHT, WIDTH, coded, coder_options
from tests.video.timelines.plan import AVI, FORMATS, Part, Plan, Truth, beep_times, picture_times

RATE = 48_000
BEEP_S = 0.04
TICK = Fraction(1, 90_000)
CLUSTER = bytes.fromhex("1f43b675")


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
        data = with_edit_list(data, plan)
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
        data = delay_fragments(data, part.start_s)
        return data[data.index(b"moof") - 4 :] if number else data
    if number == 0:
        return data
    if kind.startswith("live"):
        return data[data.index(CLUSTER) :]
    return data[13:] if kind == "flv" else data


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
