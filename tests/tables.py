"""A job's tables with known objects, as the sinks write them."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from shoal.model.job import Options
from shoal.results.formats.tables import Tables
from shoal.results.layout import EngineMetadata, Metadata, VideoMetadata, WorkerMetadata
from worker.engines.base import FrameResult, Mask, ObjectResult
from worker.outputs.frames import FramesSink
from worker.outputs.masks import MasksSink
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
    x, y = 10 + frame % 40, 12 + object_id % 5 * 4
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
        uri="file:///match.mp4",
        width=WIDTH,
        height=HEIGHT,
        fps=FPS,
        duration_s=2.9,
    )


def write_results(folder: Path, stem: str = "match") -> dict[str, bytes]:
    """The files that are read of a finished job, in a folder; and their contents by name."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = write_tables(folder)
    tables.masks.rename(folder / f"{stem}_masks.parquet")
    tables.frames.rename(folder / f"{stem}_frames.parquet")
    metadata = Metadata(
        job_id="0" * 24,
        created_at="2026-01-01T00:00:00+00:00",
        video=VideoMetadata(
            uri="file:///match.mp4",
            version="1",
            bytes=1,
            width=WIDTH,
            height=HEIGHT,
            duration_s=2.9,
            frames_read=30,
            codec="h264",
            rotation=0,
            truncated=False,
            missing_s=0,
            decode_errors=0,
        ),
        prompts=list(LABELS),
        options=Options(),
        frames_processed=len(WRITTEN),
        original_fps=FPS,
        parts=1,
        resumed=0,
        output_fps=FPS,
        objects_detected=3,
        objects_per_prompt={"person": 2, "ball": 1, "dog": 0},
        outputs={},
        engine=EngineMetadata(name="cpu", device="cpu", versions={}),
        timings={},
        worker=WorkerMetadata(name="w", host="h", model_loads=1, attempt=1),
        shoal_version="0",
    )
    (folder / f"{stem}_metadata.json").write_text(metadata.model_dump_json())
    return {path.name: path.read_bytes() for path in folder.iterdir()}
