"""Speed and memory of the pipeline: ``python benchmarks/pipeline.py [--json] [--quick]``.

Contestants on the same 720p clip, each in a process of its own, in several rounds:

- limit: decode and x264 veryfast, nothing between
- ours: the worker's pipeline, overlay and masks, a predictor that answers at once
- plain: all frames as PIL images, float32 masks of every object and frame, float blending, mp4v

- long: ours, with ten times the frames
- cpu_predictor: the CPU engine's steps alone, looking for people

A ratio is the median of those within a round, so that what else the machine does in the meantime
matters little. The peak resident memory is each process's own.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if not __package__:  # run by its path: benchmarks are not installed
    sys.path.insert(0, str(ROOT))

from benchmarks.options import clip_parser, parse
from benchmarks.report import machine, print_json, print_table

PACKAGES = ("av", "opencv-python-headless", "numpy", "pyarrow", "pycocotools")
OBJECTS = (2, 10)


@dataclass(frozen=True)
class Plan:
    """How many frames and how often."""

    frames: int  # of ours and the limit; the long clip has ten times as many
    plain_frames: int  # fewer: all of its frames and masks are in memory at once
    predictor_frames: int
    rounds: int


FULL = Plan(frames=250, plain_frames=50, predictor_frames=100, rounds=5)
QUICK = Plan(frames=100, plain_frames=20, predictor_frames=30, rounds=2)


@dataclass(frozen=True)
class Measured:
    """Runs of one contestant on one clip, by round."""

    frames: int
    fps: list[float]
    peak_rss_mb: float  # the highest

    @property
    def median_fps(self) -> float:
        return statistics.median(self.fps)


def run_once(name: str, clip: Path, objects: int) -> Measured:
    """Run a contestant in a child process."""
    command = [sys.executable, "-m", "benchmarks.pipeline_contestants", name, str(clip)]
    child = subprocess.run([*command, str(objects)], stdout=subprocess.PIPE, check=True, cwd=ROOT)
    result = json.loads(child.stdout.splitlines()[-1])
    fps = result["frames"] / result["seconds"]
    return Measured(result["frames"], [fps], result["peak_rss_mb"])


def measure(plan: Plan, sample: Path, folder: Path) -> dict[tuple[str, int], Measured]:
    """All contestants by name and number of objects; 'long' is ours on ten times the frames."""
    clip = make_clip(sample, folder / "clip.mp4", plan.frames)
    long_clip = make_clip(sample, folder / "long.mp4", 10 * plan.frames)
    short = make_clip(sample, folder / "short.mp4", plan.plain_frames)
    tracked = make_clip(sample, folder / "tracked.mp4", plan.predictor_frames)
    turns = [
        ("limit", clip, 0),
        *(("ours", clip, count) for count in OBJECTS),
        *(("plain", short, count) for count in OBJECTS),
        ("cpu_predictor", tracked, 0),
    ]
    runs: dict[tuple[str, int], list[Measured]] = {}
    for _ in range(plan.rounds):
        for name, path, count in turns:
            runs.setdefault((name, count), []).append(run_once(name, path, count))
    runs["long", OBJECTS[0]] = [run_once("ours", long_clip, OBJECTS[0])]
    return {key: _together(each) for key, each in runs.items()}


def _together(runs: list[Measured]) -> Measured:
    fps = [value for run in runs for value in run.fps]
    return Measured(runs[0].frames, fps, max(run.peak_rss_mb for run in runs))


def make_clip(sample: Path, path: Path, frames: int) -> Path:
    """The sample scaled to 720p and repeated; in a child, to keep this process small."""
    command = [sys.executable, "-m", "benchmarks.clip", str(sample), str(path), str(frames)]
    subprocess.run(command, check=True, cwd=ROOT)
    return path


def figures(measured: dict[tuple[str, int], Measured]) -> dict[str, float]:
    """The keys of the JSON line; the goals are in docs/benchmarks.md."""
    ours = {count: measured["ours", count] for count in OBJECTS}
    few = OBJECTS[0]
    to_limit = {
        f"ratio_to_limit_{n}": round(ratio(ours[n], measured["limit", 0]), 3) for n in OBJECTS
    }
    to_plain = {
        f"ratio_to_plain_{n}": round(ratio(ours[n], measured["plain", n]), 2) for n in OBJECTS
    }
    growth = measured["long", few].peak_rss_mb / ours[few].peak_rss_mb
    return {
        **to_limit,
        **to_plain,
        "peak_rss_mb": round(max(each.peak_rss_mb for each in ours.values()), 1),
        "rss_growth_10x": round(growth, 3),
        "cpu_predictor_fps": round(measured["cpu_predictor", 0].median_fps, 1),
    }


def ratio(one: Measured, other: Measured) -> float:
    """The median over all rounds of how much faster ``one`` was."""
    return statistics.median(a / b for a, b in zip(one.fps, other.fps, strict=True))


def print_measured(measured: dict[tuple[str, int], Measured]) -> None:
    rows = [
        (
            name,
            str(count or "-"),
            str(each.frames),
            str(len(each.fps)),
            f"{each.median_fps:.1f}",
            f"{min(each.fps):.1f}..{max(each.fps):.1f}",
            f"{each.peak_rss_mb:.0f}",
        )
        for (name, count), each in measured.items()
    ]
    header = ("contestant", "objects", "frames", "runs", "frames/s", "range", "peak RSS, MB")
    print_table(header, rows)


def main() -> None:
    parser = clip_parser(__doc__, "any video; scaled to 1280 by 720")
    parser.add_argument("--quick", action="store_true", help="fewer frames and runs")
    options = parse(parser)
    print(machine(PACKAGES), flush=True)
    with tempfile.TemporaryDirectory(prefix="shoal-benchmark-") as folder:
        plan = QUICK if options.quick else FULL
        measured = measure(plan, options.clip, Path(folder))
    print_measured(measured)
    if options.json:
        print_json(figures(measured))


if __name__ == "__main__":
    main()
