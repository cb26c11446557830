"""Reading a file as a job does, and comparing with the truth."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np

from tests.video.timelines.author import author
from tests.video.timelines.pictures import number_of
from tests.video.timelines.plan import Plan
from worker.video.demux import Demuxer
from worker.video.frame import Frame
from worker.video.planes import fingerprint
from worker.video.probe import VideoLimits
from worker.video.reverse import Backward, survey
from worker.video.source import Source, open_source

SYNC_S = 0.025


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
