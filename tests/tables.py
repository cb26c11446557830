"""A job's tables with known objects, as the sinks write them."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from shoal.formats.tables import Tables
from worker.predictors.base import FrameResult, Mask, ObjectResult
from worker.sinks.frames import FramesSink
from worker.sinks.masks import MasksSink
from worker.video.frame import Frame, VideoInfo

WIDTH, HEIGHT, FPS = 64, 48, 10
VIDEO = VideoInfo(WIDTH, HEIGHT, FPS, duration_s=1, frames=10, codec="h264")
LABELS = ("person", "ball", "dog")
EVERY = 3  # of the source's frames one is written
WRITTEN = tuple(range(0, 30, EVERY))
SEEN = {  # object id -> prompt, and the written frames that it is on
    1: ("person", WRITTEN),
    2: ("ball", WRITTEN[2:7]),
    1_000_001: ("person", (WRITTEN[0], WRITTEN[1], WRITTEN[6], WRITTEN[7])),
}  # nothing but 1 is on the last two frames


def shape(object_id: int, frame: int) -> Mask:
    """A disc that moves to the right; those of different objects overlap."""
    radius = {1: 9, 2: 4}.get(object_id, 6)
    x, y = 10 + frame, 12 + object_id % 5 * 4
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return Mask.from_full((rows - y) ** 2 + (columns - x) ** 2 <= radius**2)


def item(object_id: int, frame: int) -> ObjectResult:
    mask = shape(object_id, frame)
    h, w = mask.bits.shape
    box = (float(mask.x), float(mask.y), float(mask.x + w), float(mask.y + h))
    score = 0.5 + frame / 100
    return ObjectResult(object_id, SEEN[object_id][0], score, box, mask, 0.75)


def result(frame: int) -> FrameResult:
    return FrameResult(frame, [item(each, frame) for each, (_, on) in SEEN.items() if frame in on])


def write_tables(folder: Path, frames: tuple[int, ...] = WRITTEN, empty: bool = False) -> Tables:
    """The tables of these frames, with the objects above or none."""
    sinks = (MasksSink(folder / "masks.parquet", VIDEO), FramesSink(folder / "frames.parquet"))
    for index in frames:
        frame = Frame(index, index / FPS / EVERY, av.VideoFrame(64, 48, "yuv420p"), wanted=True)
        for sink in sinks:
            sink.write(frame, FrameResult(index) if empty else result(index))
    for sink in sinks:
        sink.close()
    return Tables(
        masks=folder / "masks.parquet",
        frames=folder / "frames.parquet",
        labels=LABELS,
        stem="match",
        width=WIDTH,
        height=HEIGHT,
        fps=FPS,
        duration_s=2.9,
    )
