"""Memory over a long video: ``python benchmarks/long_video.py [--json] [--engine NAME]``.

One process takes a looped clip of small pictures through the worker's pipeline, with overlay and
masks, and notes its resident memory as it goes. As in a worker, a part is closed from time to
time, with the engine's state. After the first 500 frames nothing may be left that grows with the
video.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if not __package__:  # run by its path: benchmarks are not installed
    sys.path.insert(0, str(ROOT))

import psutil

from benchmarks.options import clip_parser, parse
from benchmarks.report import machine, print_json, print_table
from worker.engines import load
from worker.engines.base import Query
from worker.outputs.base import Sink
from worker.outputs.masks import MasksSink
from worker.outputs.overlay import OverlaySink
from worker.pipeline.run import process
from worker.pipeline.run_state import RunState
from worker.video.frame import VideoInfo
from worker.video.source import open_source

PACKAGES = ("av", "numpy", "pyarrow")
WIDTH, HEIGHT = 160, 90
SETTLED = 500  # frames, after which memory counts
EVERY = 500  # frames between two looks
PART = 250  # frames


class Memory:
    """The resident memory of this process, in MB by frame."""

    def __init__(self) -> None:
        self.by_frame: dict[int, float] = {}
        self._process = psutil.Process()

    def note(self, frames: int) -> None:
        if frames % EVERY == 0:
            self.by_frame[frames] = self._process.memory_info().rss / 1e6
            print(f"{frames} frames: {self.by_frame[frames]:.1f} MB", file=sys.stderr, flush=True)


class Parts:
    """Closes a part every ``PART`` frames; of each kind of file only the last is kept."""

    def __init__(self, folder: Path, video: VideoInfo, prompts: list[str]) -> None:
        self._folder = folder
        self._video = video
        self._prompts = prompts
        self._asked = 0
        self.state_bytes = 0

    def open_part(self, backward: bool) -> Sequence[Sink]:
        return (
            OverlaySink(self._folder / "overlay.mp4", self._video, self._prompts, self._video.fps),
            MasksSink(self._folder / "masks.parquet", self._video),
        )

    def is_part_due(self) -> bool:
        self._asked += 1  # once for each frame
        return self._asked % PART == 0

    def close_part(self, checkpoint: RunState) -> None:
        (self._folder / "state").write_bytes(checkpoint.session)
        self.state_bytes = max(self.state_bytes, len(checkpoint.session))


def make_clip(sample: Path, path: Path, frames: int) -> None:
    """The sample made small and repeated; in a child, whose memory is not ours."""
    size = map(str, (frames, WIDTH, HEIGHT))
    command = [sys.executable, "-m", "benchmarks.clip", str(sample), str(path), *size]
    subprocess.run(command, check=True, cwd=ROOT)


def measure(engine: str, prompts: list[str], video: Path, folder: Path) -> dict[str, float]:
    """The keys of the JSON line."""
    predictor = load(engine)
    memory = Memory()
    start = time.perf_counter()
    with open_source(video, sample_fps=0) as source:
        parts = Parts(folder, source.info, prompts)
        summary = process(source, predictor, Query(tuple(prompts)), parts, on_progress=memory.note)
    seconds = time.perf_counter() - start
    settled = memory.by_frame[SETTLED]
    last = max(memory.by_frame)
    return {
        "frames": summary.frames_written,
        "objects": summary.objects_detected,
        "objects_per_frame": round(summary.detections / summary.frames_written, 2),
        "state_mb": round(parts.state_bytes / 1e6, 2),
        "frames_per_s": round(summary.frames_written / seconds, 1),
        f"rss_mb_at_{SETTLED}": round(settled, 1),
        f"rss_mb_at_{last}": round(memory.by_frame[last], 1),
        "rss_growth": round(memory.by_frame[last] / settled, 3),
        "rss_growth_highest": round(
            max(mb for frame, mb in memory.by_frame.items() if frame >= SETTLED) / settled, 3
        ),
    }


def main() -> None:
    parser = clip_parser(__doc__, f"any video; scaled to {WIDTH} by {HEIGHT}")
    parser.add_argument("--engine", default="cpu", help="as SHOAL_ENGINE [default: cpu]")
    parser.add_argument("--prompts", default="car", help="comma-separated [default: car]")
    parser.add_argument("--frames", type=int, default=20_000, help="[default: 20000]")
    options = parse(parser)
    if options.frames < SETTLED:
        parser.error(f"--frames must be at least {SETTLED}")
    print(machine(PACKAGES), flush=True)
    with tempfile.TemporaryDirectory(prefix="shoal-benchmark-") as name:
        folder = Path(name)
        video = folder / "long.mp4"
        make_clip(options.clip, video, options.frames)
        figures = measure(options.engine, options.prompts.split(","), video, folder)
    print_table(("figure", "measured"), [(name, str(value)) for name, value in figures.items()])
    if options.json:
        print_json(figures)


if __name__ == "__main__":
    main()
