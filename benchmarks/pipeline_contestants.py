"""The contestants of ``benchmarks.pipeline``, each in a process of its own.

``python -m benchmarks.pipeline_contestants NAME CLIP OBJECTS`` prints one line of JSON: frames,
seconds (imports and model loading left out) and the peak resident memory in MB.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from worker.engines import load
from worker.engines.base import FrameResult, Mask, ObjectResult, Query
from worker.outputs.masks import MasksSink
from worker.outputs.overlay import OverlaySink
from worker.pipeline.destination import WholeDestination
from worker.pipeline.run import process
from worker.video.frame import Frame, VideoInfo
from worker.video.source import open_source

PROMPTS = ("person", "car")
ELLIPSE_HEIGHT = 1 / 5  # of the frame's
COLOURS = ((230, 25, 75), (66, 212, 244))


class Ellipses:
    """A predictor that knows its answers: one ellipse per object, moving to the right."""

    name = device = "none"
    steps_again = False
    versions: dict[str, str]

    def __init__(self, objects: int) -> None:
        self.versions = {}
        self._objects = objects

    def tracking_fps(self, video: VideoInfo) -> float:
        return 0.0

    def open(self, video: VideoInfo, query: Query, state: bytes | None = None) -> Ellipses:
        self._size = video.width, video.height
        height = round(video.height * ELLIPSE_HEIGHT)
        self._bits = np.zeros((height, height // 2), np.uint8)
        axes = (height // 4 - 1, height // 2 - 1)
        cv2.ellipse(self._bits, (height // 4, height // 2), axes, 0, 0, 360, 1, -1)
        return self

    def step(self, frames: Sequence[Frame]) -> list[FrameResult]:
        return [self.result(frame.index) for frame in frames]

    def result(self, index: int) -> FrameResult:
        height, width = self._bits.shape
        objects = []
        for number in range(self._objects):
            x = (number * 119 + 3 * index) % (self._size[0] - width)
            y = (number * 57) % (self._size[1] - height)
            objects.append(
                ObjectResult(
                    object_id=number + 1,
                    prompt=PROMPTS[number % len(PROMPTS)],
                    score=0.9,
                    box=(x, y, x + width, y + height),
                    mask=Mask(x, y, self._bits),
                )
            )
        return FrameResult(index, objects)

    def finish(self) -> list[FrameResult]:
        return []

    def state(self) -> bytes:
        return b""

    def close(self) -> None:
        pass


def limit(clip: Path, out: Path, objects: int) -> int:
    """Decode and encode, nothing between: no pipeline on these libraries can be faster."""
    frames = 0
    with av.open(str(clip)) as source, av.open(str(out / "limit.mp4"), "w") as target:
        video = source.streams.video[0]
        video.thread_type = "AUTO"
        stream = target.add_stream("libx264", video.average_rate, {"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = video.width, video.height, "yuv420p"
        for picture in source.decode(video):
            picture.pict_type = 0
            target.mux(stream.encode(picture))
            frames += 1
        target.mux(stream.encode())
    return frames


def ours(clip: Path, out: Path, objects: int) -> int:
    """The worker's pipeline with overlay and masks."""
    with open_source(clip, sample_fps=0) as source:
        sinks = (
            OverlaySink(out / "ours.mp4", source.info, PROMPTS, source.info.fps),
            MasksSink(out / "ours.parquet", source.info),
        )
        summary = process(source, Ellipses(objects), Query(PROMPTS), WholeDestination(sinks))
    busy = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in summary.busy_s.items())
    print(f"ours, {objects} objects: busy {busy}", file=sys.stderr)
    return summary.frames_written


def plain(clip: Path, out: Path, objects: int) -> int:
    """What a script does at first: all frames as PIL images, all masks as float32, then blend."""
    with av.open(str(clip)) as source:
        rate = float(source.streams.video[0].average_rate or 25)
        pictures: Iterator[Any] = source.decode(video=0)  # to_image has no types
        images = [picture.to_image() for picture in pictures]
    width, height = images[0].size
    predictor = Ellipses(objects)
    predictor.open(VideoInfo(width, height, rate, 0, len(images), "h264"), Query(PROMPTS))
    masks = [
        [item.mask.to_full(height, width).astype(np.float32) for item in result.objects]
        for result in map(predictor.result, range(len(images)))
    ]
    fourcc = cv2.VideoWriter.fourcc(*"mp4v")
    writer = cv2.VideoWriter(str(out / "plain.mp4"), fourcc, rate, (width, height))
    for image, layers in zip(images, masks, strict=True):
        blended = np.array(image).astype(np.float32)
        for number, layer in enumerate(layers):
            colour = np.array(COLOURS[number % len(COLOURS)], np.float32)
            alpha = layer[..., None] * 0.45
            blended = blended * (1 - alpha) + colour * alpha
        writer.write(cv2.cvtColor(blended.astype(np.uint8), cv2.COLOR_RGB2BGR))
    writer.release()
    return len(images)


def cpu_predictor(clip: Path, prompt: str) -> tuple[int, float]:
    """Frames, and the seconds spent in ``step``: one prompt, every frame."""
    predictor = load("cpu")
    seconds, frames = 0.0, 0
    with open_source(clip, sample_fps=0) as source:
        session = predictor.open(source.info, Query((prompt,)))
        for frame in source.frames():
            start = time.perf_counter()
            session.step([frame])
            seconds += time.perf_counter() - start
            frames += 1
        session.close()
    return frames, seconds


CONTESTANTS = {"limit": limit, "ours": ours, "plain": plain}


def main() -> None:
    name, clip, objects = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    if name == "cpu_predictor":
        frames, seconds = cpu_predictor(clip, PROMPTS[0])
    else:
        with tempfile.TemporaryDirectory(prefix="shoal-benchmark-") as out:
            start = time.perf_counter()
            frames = CONTESTANTS[name](clip, Path(out), objects)
            seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB on Linux, bytes on macOS
    peak_mb = peak / (2**20 if sys.platform == "darwin" else 2**10)
    print(json.dumps({"frames": frames, "seconds": seconds, "peak_rss_mb": peak_mb}))


if __name__ == "__main__":
    main()
