"""Speed and memory of SAM3 on a GPU: ``python benchmarks/sam3_gpu.py [--json] [--tiny]``.

Two contestants on the same full-size checkpoint with random weights, the same 1080p frames of a
real clip and the same number of objects, each in a process of its own:

- reference: all frames loaded, all prompts in one session, transformers' own propagation, masks
  to the host as float32
- ours: the engine ``sam3``, frame by frame

``--tiny`` takes a tiny checkpoint, a few small frames and whatever device there is: it shows that
the benchmark runs, and measures nothing.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if not __package__:  # run by its path: benchmarks are not installed
    sys.path.insert(0, str(ROOT))

from benchmarks.options import clip_parser, parse  # noqa: E402
from benchmarks.report import machine, print_table  # noqa: E402
from benchmarks.sam3_cases import Case, Measured  # noqa: E402

PACKAGES = ("torch", "transformers", "av", "numpy")


@dataclass(frozen=True)
class Plan:
    """
    Attributes:
        prompts, objects: to be combined.
        frames, discarded: of every case.
        long: the prompts and objects of the case in which memory is noted.
        marks: frames after which it is; the reference, which keeps all that it has seen, leaves
            out the last.
        size: of a frame, width and height in pixels.
    """

    prompts: tuple[int, ...]
    objects: tuple[int, ...]
    frames: int
    discarded: int
    long: tuple[int, int]
    marks: tuple[int, ...]
    size: tuple[int, int]

    def cases(self, contestant: str) -> list[Case]:
        marks = self.marks if contestant == "ours" else self.marks[:-1]
        cases = [
            Case(prompts, objects, self.frames, self.discarded)
            for prompts in self.prompts
            for objects in self.objects
        ]
        return [
            replace(case, frames=marks[-1], marks=marks)
            if (case.prompts, case.objects) == self.long
            else case
            for case in cases
        ]


FULL = Plan((1, 2, 4), (1, 10, 30), 120, 16, (2, 10), (100, 1000, 3000), (1920, 1080))
TINY = Plan((2,), (2,), 4, 2, (2, 2), (3, 4, 5), (96, 54))


def run(contestant: str, plan: Plan, checkpoint: Path, clip: Path) -> dict[str, Measured]:
    """All cases of a contestant, by name, in a child process."""
    cases = plan.cases(contestant)
    command = [sys.executable, "-m", "benchmarks.sam3_contestants", contestant]
    command += [str(checkpoint), str(clip), json.dumps([asdict(case) for case in cases])]
    child = subprocess.run(command, stdout=subprocess.PIPE, check=True, cwd=ROOT)
    lines = child.stdout.splitlines()[-len(cases) :]
    return {
        case.name: Measured(**json.loads(line)) for case, line in zip(cases, lines, strict=True)
    }


def measure(plan: Plan, sample: Path, tiny: bool, folder: Path) -> dict[str, dict[str, Measured]]:
    """What every contestant did with every case."""
    clip, checkpoint = folder / "clip.mp4", folder / "checkpoint"
    size = [str(pixels) for pixels in plan.size]
    make_clip = ["benchmarks.clip", str(sample), str(clip), "100", *size]
    make_checkpoint = ["benchmarks.sam3_checkpoint", str(checkpoint), *(["--tiny"] * tiny)]
    for module in (make_clip, make_checkpoint):
        subprocess.run([sys.executable, "-m", *module], check=True, cwd=ROOT)
    return {name: run(name, plan, checkpoint, clip) for name in ("reference", "ours")}


def figures(measured: dict[str, dict[str, Measured]]) -> dict[str, float | None]:
    """The keys of the JSON line; what could not be measured is null."""
    known: dict[str, float | None] = {}
    for case, ours in measured["ours"].items():
        reference = measured["reference"][case]
        known[f"fps_{case}"] = ours.fps or None
        known[f"reference_fps_{case}"] = reference.fps or None
        known[f"ratio_{case}"] = ratio(ours, reference)
        known[f"busy_{case}"] = ours.busy
        known[f"reference_busy_{case}"] = reference.busy
        known |= {f"peak_mb_{case}_{frame}": mb for frame, mb in ours.peak_mb.items()}
        known |= {
            f"reference_peak_mb_{case}_{frame}": mb for frame, mb in reference.peak_mb.items()
        }
    return known


def ratio(ours: Measured, reference: Measured) -> float | None:
    """How much faster ours is; unknown where memory ran out."""
    return round(ours.fps / reference.fps, 2) if ours.fps and reference.fps else None


def print_measured(measured: dict[str, dict[str, Measured]]) -> None:
    rows = []
    for case, ours in measured["ours"].items():
        reference = measured["reference"][case]
        for name, each in (("reference", reference), ("ours", ours)):
            rows.append(
                (
                    f"{case} {name}",
                    f"{each.fps:.2f}" if each.fps else "no memory",
                    f"{ratio(each, reference) or 0:.2f}",
                    "-" if each.busy is None else f"{each.busy:.0%}",
                    ", ".join(f"{frame}: {mb:.0f}" for frame, mb in each.peak_mb.items()) or "-",
                )
            )
    header = ("prompts, objects", "frames/s", "ratio", "busy", "peak MB at frame")
    print_table(header, rows)


def device() -> str:
    """The first GPU and its driver, as nvidia-smi names them."""
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def main() -> None:
    parser = clip_parser(__doc__, "any video; it is scaled")
    parser.add_argument("--tiny", action="store_true", help="only show that it runs")
    options = parse(parser)
    if not (options.tiny or device()):
        parser.error("there is no GPU: the full-size model takes minutes for a frame without one")
    print(machine(PACKAGES), f"GPU     {device() or 'none'}", sep="\n", flush=True)
    plan = TINY if options.tiny else FULL
    with tempfile.TemporaryDirectory(prefix="shoal-benchmark-") as folder:
        measured = measure(plan, options.clip, options.tiny, Path(folder))
    print_measured(measured)
    if options.json:
        print(json.dumps(figures(measured)))


if __name__ == "__main__":
    main()
