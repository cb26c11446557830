"""Split jobs, faster and the same: ``python benchmarks/split.py [--json]``.

Speed: one video, unsplit on one worker and split over several, with a model that only waits per
frame, from the submit to the published result with its overlay. Agreement: real clips with the cpu
engine, cut into four, against the unsplit run as the truth: IDF1 (Ristani et al., Performance
Measures and a Data Set for Multi-Target, Multi-Camera Tracking, ECCV workshops 2016), of all
objects and of those that are visible at the cuts.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import motmetrics
import numpy as np
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parent.parent
if not __package__:  # run by its path: benchmarks are not installed
    sys.path.insert(0, str(ROOT))

from benchmarks.clip import write
from benchmarks.cpu_quality import TRUTH, _distances, fetch
from benchmarks.options import clip_parser, parse
from benchmarks.report import machine, print_table
from benchmarks.scaling import PACKAGES, valkey, workers
from shoal.model.job import JobSpec, Options, Role, Split, State
from shoal.queue.connection import connect
from shoal.queue.queue import JobQueue, open_queue
from shoal.queue.split import Splits
from shoal.results.layout import masks_name, split_prefix
from shoal.settings import Settings
from shoal.storage import storage_for
from worker.pipeline.split.plan import OVERLAP, SplitPlan

COUNTS = (1, 2, 4, 7)
CLIPS = {"bikes.mp4": "bicycle", "walk.mp4": "person", "juggle.mp4": "person", "coffee.mp4": "cup"}
SEGMENTS = 4  # of a real clip
SIZE = (640, 360)


Boxes = dict[int, dict[int, tuple[float, float, float, float]]]  # x0, y0, x1, y1, by frame, object


class Agreement(NamedTuple):
    """Of a split run with an unsplit one.

    Attributes:
        boxes, objects: of the unsplit run.
        hidden: objects that are hidden at a cut.
        all, visible: IDF1, with these and without.
    """

    boxes: int
    objects: int
    hidden: int
    all: float
    visible: float


class Outcome(NamedTuple):
    """A finished job.

    Attributes:
        seconds: from the submit to its success.
        masks: the mask table.
        tracked: frames that its segments have tracked, together.
        cuts: numbers of the last frames before cuts.
    """

    seconds: float
    masks: Path
    tracked: int
    cuts: tuple[int, ...] = ()

    def boxes(self) -> Boxes:
        """What was found."""
        found: Boxes = defaultdict(dict)
        for row in pq.read_table(self.masks).to_pylist():
            sides = (row["box_x0"], row["box_y0"], row["box_x1"], row["box_y1"])
            found[row["frame"]][row["object_id"]] = sides
        return found


def run(
    clip: Path, prompt: str, split: Split | int, settings: Settings, queue: JobQueue
) -> Outcome:
    """
    Raises:
        RuntimeError: the job failed.
    """
    source = storage_for(clip.as_uri(), settings).stat(clip.as_uri())
    started = time.monotonic()
    spec = JobSpec(
        uri=source.uri,
        version=source.version,
        size=source.size,
        prompts=(prompt,),
        options=Options(sample_fps=0, split=split),
        results=f"{settings.results_root}/{clip.stem}-{started}",
    )
    queue.submit(spec)
    cuts: tuple[int, ...] = ()
    while (record := queue.records.get(spec.id)).state != State.SUCCEEDED:
        if record.state == State.FAILED:
            raise RuntimeError(f"{record.error}: see {settings.data_dir / 'workers.log'}")
        if record.plan and not cuts:
            uri = split_prefix(spec) + record.plan
            content = b"".join(storage_for(uri, settings).read(uri))
            planned = SplitPlan.model_validate_json(content).segments
            cuts = tuple(each.own.index for each in planned[1:])
        time.sleep(0.05)
    spent = time.monotonic() - started
    tracked = [s for s in Splits(queue).status(record) if s.role is Role.TRACK]
    return Outcome(
        spent,
        Path(spec.results_prefix.removeprefix("file://")) / masks_name(spec),
        sum(each.progress.frames for each in tracked),
        cuts,
    )


def measure_speed(
    clip: Path, counts: tuple[int, ...], wait_s: float, settings: Settings, queue: JobQueue
) -> tuple[float, dict[int, Outcome]]:
    """Seconds unsplit on one worker, and split into as many segments as workers."""
    with workers(1, settings, queue, wait_s):
        whole = run(clip, "1 worker", Split.OFF, settings, queue).seconds
        print(f"unsplit: {whole:.1f} s", file=sys.stderr)
    split = {}
    for count in counts:
        with workers(count, settings, queue, wait_s):
            # On one worker the segments show what splitting costs.
            split[count] = run(clip, f"{count} workers", max(count, 2), settings, queue)
        print(f"split over {count}: {split[count].seconds:.1f} s", file=sys.stderr)
    return whole, split


def measure_agreement(
    folder: Path, frames: int, settings: Settings, queue: JobQueue
) -> dict[str, Agreement]:
    """By clip and prompt."""
    known = json.loads(TRUTH.read_text())
    found = {}
    with workers(2, settings, queue, 0.0, engine="cpu"):
        for name, prompt in CLIPS.items():
            source = fetch(name, known[name], folder)
            if source is None:
                print(f"{name} is not in {folder}: left out")
                continue
            clip = settings.data_dir / name
            write(str(source), str(clip), frames, *SIZE)
            truth = run(clip, prompt, Split.OFF, settings, queue).boxes()
            split = run(clip, prompt, SEGMENTS, settings, queue)
            found[f"{name} {prompt}"] = agreement = agree(truth, split.boxes(), split.cuts)
            print(f"{name}: {agreement}, cuts {split.cuts}", file=sys.stderr)
    return found


def agree(truth: Boxes, found: Boxes, cuts: Sequence[int]) -> Agreement:
    """An object is hidden at a cut if it is there before and after, but not on any frame of the
    overlap to one of its sides."""
    frames: dict[int, list[int]] = defaultdict(list)
    for frame in sorted(truth):
        for each in truth[frame]:
            frames[each].append(frame)
    half = OVERLAP // 2
    hidden = {
        each
        for each, seen in frames.items()
        for cut in cuts
        if seen[0] <= cut < seen[-1]
        and not (
            any(cut - half < frame <= cut for frame in seen)
            and any(cut < frame <= cut + half for frame in seen)
        )
    }
    return Agreement(
        boxes=sum(map(len, truth.values())),
        objects=len(frames),
        hidden=len(hidden),
        all=idf1(truth, found),
        visible=idf1(*_without(truth, found, hidden)),
    )


def _without(truth: Boxes, found: Boxes, hidden: set[int]) -> tuple[Boxes, Boxes]:
    """Both without some objects of the truth; in what was found, a box of theirs goes with them."""
    left: Boxes = {}
    for frame, objects in found.items():
        theirs, ours = truth.get(frame, {}), list(objects)
        distances = _distances(list(theirs.values()), list(objects.values()))
        gone = {
            ours[int(np.nanargmin(row))]
            for each, row in zip(theirs, distances, strict=True)
            if each in hidden and not np.isnan(row).all()
        }
        left[frame] = {each: box for each, box in objects.items() if each not in gone}
    kept = {f: {o: box for o, box in on.items() if o not in hidden} for f, on in truth.items()}
    return kept, left


def idf1(truth: Boxes, found: Boxes) -> float:
    """Of boxes by frame and object; two are the same from an IoU of 0.5 on."""
    matches = motmetrics.MOTAccumulator()
    for frame in sorted(truth.keys() | found.keys()):
        ours, theirs = truth.get(frame, {}), found.get(frame, {})
        distances = _distances(list(ours.values()), list(theirs.values()))
        matches.update(list(ours), list(theirs), distances, frameid=frame)
    summary = motmetrics.metrics.create().compute(matches, metrics=["idf1"])
    return float(np.asarray(summary["idf1"])[0])


def main() -> None:
    parser = clip_parser(__doc__, "what the waiting model's video is made of")
    parser.add_argument("--frames", type=int, default=4000, help="of the waiting model's video")
    parser.add_argument("--wait", type=float, default=0.1, help="seconds per frame")
    parser.add_argument("--real-frames", type=int, default=300, help="of a real clip")
    parser.add_argument("--only", choices=("speed", "agreement"), help="one part")
    parser.add_argument("--clips", type=Path, default=ROOT / "demo/quality", help="real clips")
    args = parse(parser)
    print(machine(PACKAGES))
    with tempfile.TemporaryDirectory() as name, valkey(Path(name)) as settings:
        settings.data_dir.mkdir()
        queue = open_queue(settings, connect(settings))
        agreement: dict[str, Agreement] = {}
        whole, split = 0.0, dict[int, Outcome]()
        if args.only != "speed":
            agreement = measure_agreement(args.clips, args.real_frames, settings, queue)
        if args.only != "agreement":
            clip = settings.data_dir / "waiting.mp4"
            write(str(args.clip), str(clip), args.frames, 64, 48)
            whole, split = measure_speed(clip, COUNTS, args.wait, settings, queue)
    overlap = {n: each.tracked / args.frames - 1 for n, each in split.items()}
    print(f"\n{args.frames} frames, {args.wait:g} s a frame; unsplit on one worker {whole:.1f} s\n")
    print_tables(whole, split, overlap, agreement)
    if args.json:
        figures = {
            "speedup": {str(n): round(whole / each.seconds, 3) for n, each in split.items()},
            "agreement": {name: each._asdict() for name, each in agreement.items()},
            "overlap_cost": {str(n): round(cost, 4) for n, cost in overlap.items()},
        }
        print(json.dumps(figures))


def print_tables(
    whole: float,
    split: dict[int, Outcome],
    overlap: dict[int, float],
    agreement: dict[str, Agreement],
) -> None:
    """
    Args:
        whole: seconds of the unsplit job.
        split: by the number of workers.
        overlap: share of the frames that was tracked twice.
        agreement: with the unsplit job, by clip and prompt.
    """
    print_table(
        ("workers", "segments", "seconds", "speedup", "frames tracked twice"),
        [
            (
                str(n),
                str(max(n, 2)),
                f"{each.seconds:.1f}",
                f"{whole / each.seconds:.2f}",
                f"{overlap[n]:.1%}",
            )
            for n, each in split.items()
        ],
    )
    print()
    print_table(
        ("clip and prompt", "boxes", "objects", "hidden at a cut", "IDF1", "without these"),
        [
            (
                name,
                str(each.boxes),
                str(each.objects),
                str(each.hidden),
                f"{each.all:.3f}",
                f"{each.visible:.3f}",
            )
            for name, each in agreement.items()
        ],
    )


if __name__ == "__main__":
    main()
