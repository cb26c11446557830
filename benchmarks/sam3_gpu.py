"""Speed and memory of SAM3 on a GPU: ``python benchmarks/sam3_gpu.py [--json] [--quick] [--tiny]``.

Two contestants on the same full-size checkpoint with random weights, the same 1080p frames of a
real clip and the same number of objects, each in a process of its own:

- reference: all frames loaded, all prompts in one session, transformers' own propagation, masks
  to the host as float32
- ours: the engine ``sam3``, frame by frame

Each case is printed when it is done. ``--contestant`` and ``--case`` (such as ``p2_o10``) choose
some; ``--quick`` measures 2 prompts and 10 objects only, in a few minutes; ``--profile`` runs a few
frames of each case again, and prints the kernels that take the time and where the host waits for
the device. Without a GPU, what a frame costs at full size is counted instead
(``benchmarks.sam3_counts``).

``--tiny`` takes a tiny checkpoint, a few small frames and whatever device there is: it shows that
the benchmark runs, and measures nothing.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if not __package__:  # run by its path: benchmarks are not installed
    sys.path.insert(0, str(ROOT))

from benchmarks.options import clip_parser, parse
from benchmarks.report import machine, print_table
from benchmarks.sam3_cases import PROFILED, Case, Measured
from worker.engines import cuda

CONTESTANTS = ("reference", "ours")
Measurements = Iterator[tuple[str, Measured]]

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
        marks = self.marks if contestant == "ours" else self.marks[:-1] or self.marks
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
QUICK = Plan((2,), (10,), 60, 16, (2, 10), (60,), (1920, 1080))


@dataclass(frozen=True)
class Chosen:
    """
    Attributes:
        contestants: by name.
        case: the name of the only one; empty for all.
        profile: whether to print where the time goes, after what was measured.
    """

    contestants: tuple[str, ...]
    case: str
    profile: bool


def run(
    contestant: str, cases: list[Case], checkpoint: Path, clip: Path, profile: bool
) -> Measurements:
    """The cases of a contestant in a child process; each as soon as it is done."""
    command = [sys.executable, "-m", "benchmarks.sam3_contestants", contestant]
    command += [str(checkpoint), str(clip), json.dumps([asdict(case) for case in cases])]
    command += ["--profile"] * profile
    left = list(cases)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if left and line.startswith("{"):
                yield left.pop(0).name, Measured(**json.loads(line))
    if child.returncode or left:
        raise SystemExit(f"{contestant} ended with {len(left)} cases left")


def measure(
    plan: Plan, sample: Path, tiny: bool, chosen: Chosen, folder: Path
) -> dict[str, dict[str, Measured]]:
    """What every contestant did with every case; each is printed when it is done."""
    clip, checkpoint = folder / "clip.mp4", folder / "checkpoint"
    size = [str(pixels) for pixels in plan.size]
    make_clip = ["benchmarks.clip", str(sample), str(clip), "100", *size]
    make_checkpoint = ["benchmarks.sam3_checkpoint", str(checkpoint), *(["--tiny"] * tiny)]
    for module in (make_clip, make_checkpoint):
        subprocess.run([sys.executable, "-m", *module], check=True, cwd=ROOT)
    measured: dict[str, dict[str, Measured]] = {}
    for name in chosen.contestants:
        cases = [case for case in plan.cases(name) if chosen.case in ("", case.name)]
        for case, each in run(name, cases, checkpoint, clip, chosen.profile):
            measured.setdefault(case, {})[name] = each
            print_measured({case: {name: each}})
    return measured


def figures(measured: dict[str, dict[str, Measured]]) -> dict[str, float | None]:
    """The keys of the JSON line; what could not be measured is null."""
    known: dict[str, float | None] = {}
    for case, contestants in measured.items():
        for name, each in contestants.items():
            prefix = "" if name == "ours" else f"{name}_"
            known[f"{prefix}fps_{case}"] = each.fps or None
            known[f"{prefix}busy_{case}"] = each.busy
            known |= {f"{prefix}peak_mb_{case}_{frame}": mb for frame, mb in each.peak_mb.items()}
        if len(contestants) > 1:
            known[f"ratio_{case}"] = ratio(contestants["ours"], contestants["reference"])
    return known


def ratio(ours: Measured, reference: Measured) -> float | None:
    """How much faster ours is; unknown where memory ran out."""
    return round(ours.fps / reference.fps, 2) if ours.fps and reference.fps else None


def print_measured(measured: dict[str, dict[str, Measured]]) -> None:
    rows = [
        (
            f"{case} {name}",
            f"{each.fps:.2f}" if each.fps else "no memory",
            "-" if each.busy is None else f"{each.busy:.0%}",
            ", ".join(f"{frame}: {mb:.0f}" for frame, mb in each.peak_mb.items()) or "-",
        )
        for case, contestants in measured.items()
        for name, each in contestants.items()
    ]
    print_table(("prompts, objects", "frames/s", "busy", "peak MB at frame"), rows)
    sys.stdout.flush()


def announce(plan: Plan, chosen: Chosen) -> None:
    """Say what a machine with a GPU would measure."""
    print("Nothing is measured without a GPU. On a machine with one, this command measures:")
    for name in chosen.contestants:
        for case in plan.cases(name):
            if chosen.case not in ("", case.name):
                continue
            marks = " and ".join(map(str, case.marks))
            print(
                f"  {name} {case.name}: frames/s and use of the GPU over "
                f"{case.frames - case.discarded} frames of {plan.size[0]}x{plan.size[1]}"
                + (f", peak memory up to frame {marks}" if marks else "")
            )
    if chosen.profile:
        print(
            f"  and, over {PROFILED} more frames of each: the kernels that take the time, "
            "and where the host waits for the device"
        )


def count() -> None:
    """Print what a frame costs, which needs no GPU."""
    print("\nCounted instead on the CPU, which takes a minute or more:", flush=True)
    subprocess.run([sys.executable, "-m", "benchmarks.sam3_counts"], check=True, cwd=ROOT)


def gpu() -> str:
    """The first GPU, its driver, and in which precision it computes; empty if there is none.

    Raises:
        SystemExit: there is one, but this build of torch cannot use it.
    """
    import torch

    if obstacle := cuda.find_obstacle():
        raise SystemExit(f"{obstacle}. {obstacle.hint}")
    if not torch.cuda.is_available():
        return ""
    found = cuda.device()
    return f"{found}, driver {cuda.driver()}, {found.dtype}, attention: {found.attention}"


def main() -> None:
    parser = clip_parser(__doc__, "any video; it is scaled")
    parser.add_argument("--tiny", action="store_true", help="only show that it runs")
    parser.add_argument("--quick", action="store_true", help="2 prompts and 10 objects only")
    parser.add_argument("--contestant", choices=CONTESTANTS, help="only this one")
    parser.add_argument("--case", default="", help="only this one, such as p2_o10")
    parser.add_argument("--profile", action="store_true", help="print where the time goes")
    options = parse(parser)
    found = gpu()
    print(machine(PACKAGES), f"GPU     {found or 'none'}", sep="\n", flush=True)
    plan = TINY if options.tiny else QUICK if options.quick else FULL
    contestants = (options.contestant,) if options.contestant else CONTESTANTS
    chosen = Chosen(contestants, options.case, options.profile)
    if not (options.tiny or found):
        announce(plan, chosen)
        count()
        if options.json:
            print(json.dumps(figures({})))
        return
    with tempfile.TemporaryDirectory(prefix="shoal-benchmark-") as folder:
        measured = measure(plan, options.clip, options.tiny, chosen, Path(folder))
    for case, each in measured.items():
        if len(each) > 1 and (times := ratio(each["ours"], each["reference"])):
            print(f"{case}: ours is {times:.2f} times as fast")
    if options.json:
        print(json.dumps(figures(measured)))


if __name__ == "__main__":
    main()
