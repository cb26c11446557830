"""``python -m tests.chaos N``: N videos, each struck once; the table comes last.

Blows and stages are covered evenly, everything else about a scenario comes from the seed. It exits
with 1 if a promise was broken, and says which.
"""

from __future__ import annotations

import argparse
import queue
import random
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

from tests import media
from tests.attempts import Job
from tests.chaos import split as split_jobs
from tests.chaos.blows import BLOWS, cells
from tests.chaos.engine import Engine
from tests.chaos.scenario import Outcome, Scenario, Straight
from tests.chaos.stack import Stack
from tests.chaos.stages import FRAMES, SPLIT_STAGES, STAGES
from tests.chaos.table import print_tables

STACKS = 3  # side by side: most of the time each of them waits


def straight_run(clip: Path, folder: Path) -> Straight:
    folder.mkdir()
    job = Job(clip, folder, Engine)
    job.attempt()
    return Straight(job.rows(), job.overlay_times())


class Run:
    """Works through the scenarios on several stacks."""

    def __init__(
        self, folder: Path, seed: str, wanted: list[tuple[int, str, str]], *, split: bool = False
    ) -> None:
        self.folder = folder
        self.seed = seed
        self.outcomes: list[Outcome] = []
        self.total = len(wanted)
        self._wanted: queue.SimpleQueue[tuple[int, str, str]] = queue.SimpleQueue()
        for each in wanted:
            self._wanted.put(each)
        self._lock = threading.Lock()
        self._clip = folder / "clip.mp4"
        media.write_video(self._clip, frames=split_jobs.FRAMES if split else FRAMES, fps=25)
        self._scenario = split_jobs.SplitScenario if split else Scenario
        straight = split_jobs.straight_run if split else straight_run
        self._straight = straight(self._clip, folder / "straight")

    def work(self, name: str) -> None:
        """One stack, as long as there are scenarios; a new one after a broken promise."""
        for tries in range(self.total):
            if self._wanted.empty():
                return
            stack = Stack(self.folder / f"{name}-{tries}", self._clip)
            try:
                self._use(stack)
            finally:
                stack.stop()

    def _use(self, stack: Stack) -> None:
        while True:
            try:
                number, blow, stage = self._wanted.get_nowait()
            except queue.Empty:
                return
            scenario = self._scenario(stack, number, blow, stage, self.seed)
            started = time.monotonic()
            try:
                outcome = scenario.run(self._straight)
            except Exception as error:
                story = f"{traceback.format_exc()}\n{scenario.log_tail()}"
                self._note(scenario, Outcome(blow, stage, failure=str(error)), started, story)
                return
            self._note(scenario, outcome, started)

    def _note(self, scenario: Scenario, outcome: Outcome, started: float, story: str = "") -> None:
        with self._lock:
            self.outcomes.append(outcome)
            spent, count = time.monotonic() - started, f"{len(self.outcomes)}/{self.total}"
            result = "BROKEN" if outcome.failure else f"again {outcome.again_s:.2f} s"
            print(f"{count} {scenario}: {result}, {spent:.1f} s {story}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("count", type=int, nargs="?", default=70, metavar="N")
    parser.add_argument("--seed", default=str(random.randrange(10**6)))
    parser.add_argument("--stacks", type=int, default=STACKS, help="how many side by side")
    parser.add_argument("--blow", choices=BLOWS, help="this one only")
    parser.add_argument("--split", action="store_true", help="split jobs")
    parser.add_argument("--stage", choices=STAGES + SPLIT_STAGES, help="this one only")
    args = parser.parse_args()
    print(f"seed {args.seed}", flush=True)
    wanted = [
        (number, args.blow or blow, args.stage or stage)
        for number, (blow, stage) in enumerate(
            cells(list(SPLIT_STAGES if args.split else STAGES), args.count)
        )
    ]
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="shoal-chaos-") as folder:
        run = Run(Path(folder), args.seed, wanted, split=args.split)
        threads = [
            threading.Thread(target=run.work, args=(f"stack-{number + 1}",))
            for number in range(min(args.stacks, args.count))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    broken = [outcome for outcome in run.outcomes if outcome.failure]
    lost = run.total - len(run.outcomes)
    minutes = (time.monotonic() - started) / 60
    print(f"\nseed {args.seed}, {len(run.outcomes)} of {run.total} run in {minutes:.1f} minutes")
    print_tables(run.outcomes)
    return 1 if broken or lost else 0


if __name__ == "__main__":
    sys.exit(main())
