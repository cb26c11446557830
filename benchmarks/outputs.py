"""What outputs cost: ``python benchmarks/outputs.py [--json] [--rounds N]``.

The same job over and over, from the file to published results, with the CPU engine:

- usual: overlay and mask table alone
- all: every other format besides: YouTube-VIS, COCO, MOT, CSV, PNG, cut-outs, crops

``cost_of_all`` is what the second takes more than the first, as a share of the first: the median
over rounds in which both run one after the other, so that what else the machine does in the
meantime matters little. One run before is not counted. The table then tells how long each output
was busy in the last run of all; streamed ones are so while others work.
"""

from __future__ import annotations

import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).resolve().parent.parent
if not __package__:  # run by its path: benchmarks are not installed
    sys.path.insert(0, str(ROOT))

from benchmarks.options import clip_parser, parse
from benchmarks.report import machine, print_json, print_table
from shoal.model.job import JobSpec, Options
from shoal.model.outputs import KINDS
from shoal.model.record import Progress
from shoal.results.layout import Metadata, result_name
from shoal.settings import Settings
from shoal.storage import storage_for
from worker.engines import load
from worker.engines.base import Predictor
from worker.pipeline.job import VideoJob
from worker.protocol import Run, StopReason

PACKAGES = ("av", "opencv-python-headless", "numpy", "pyarrow", "pycocotools", "pillow")
PROMPTS = ("person", "bicycle", "car")
USUAL = ("overlay", "masks")
ALL = tuple(kind for kind in KINDS if kind != "redact")  # which shows no overlay beside it


class Line:
    """A parent that wants nothing."""

    why: StopReason | None = None

    def report(self, progress: Progress, *, now: bool = False) -> None: ...

    def beat(self) -> None: ...

    def record_event(self, event: Literal["part", "resumed"], **detail: int) -> None: ...

    def ask_to_commit(self) -> None: ...


def run(
    video: Path, folder: Path, engine: Predictor, outputs: Sequence[str], fps: float
) -> tuple[float, Mapping[str, float]]:
    """Seconds that one job takes, and its timings."""
    folder.mkdir()
    settings = Settings(data_dir=folder, file_roots=(video.parent,))
    info = storage_for(video.as_uri(), settings).stat(video.as_uri())
    spec = JobSpec(
        uri=info.uri,
        version=info.version,
        size=info.size,
        prompts=PROMPTS,
        options=Options.model_validate({"sample_fps": fps, "outputs": list(outputs)}),
        results=f"{settings.results_root}/video",
    )
    work_dir = folder / "work"
    work_dir.mkdir()
    order = Run(spec=spec, worker="w", attempt=1, model_loads=1, work_dir=str(work_dir))
    start = time.perf_counter()
    VideoJob(order, Line(), engine, settings).run()
    spent = time.perf_counter() - start
    metadata = folder / "results/video" / spec.id / result_name(spec, "metadata")
    return spent, Metadata.model_validate_json(metadata.read_bytes()).timings


def main() -> None:
    parser = clip_parser(__doc__, "any video")
    parser.add_argument("--rounds", type=int, default=5, help="[default: 5]")
    parser.add_argument("--fps", type=float, default=0, help="as sample_fps [default: all frames]")
    options = parse(parser)
    print(machine(PACKAGES), flush=True)
    engine, clip = load("cpu"), options.clip
    usual: list[float] = []
    full: list[float] = []
    with tempfile.TemporaryDirectory(prefix="shoal-benchmark-") as name:
        folders = (Path(name) / str(number) for number in itertools.count())
        _, timings = run(clip, next(folders), engine, ALL, options.fps)
        for _ in range(options.rounds):
            usual.append(run(clip, next(folders), engine, USUAL, options.fps)[0])
            spent, timings = run(clip, next(folders), engine, ALL, options.fps)
            full.append(spent)
    cost = statistics.median(ours / base - 1 for ours, base in zip(full, usual, strict=True))
    rows = [
        ("usual", f"{statistics.median(usual):.2f}", f"{min(usual):.2f} to {max(usual):.2f}"),
        ("all", f"{statistics.median(full):.2f}", f"{min(full):.2f} to {max(full):.2f}"),
        *((f"  {kind} busy", f"{timings[kind]:.2f}", "") for kind in ("predict", *ALL)),
    ]
    print_table(("job", "seconds", "range"), rows)
    print(f"all formats cost {100 * cost:.1f} % over overlay and masks alone")
    if options.json:
        print_json({"cost_of_all": round(cost, 3), "usual_s": statistics.median(usual)})


if __name__ == "__main__":
    main()
