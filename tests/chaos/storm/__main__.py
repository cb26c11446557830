"""``python -m tests.chaos.storm``: faults of all kinds at once, for minutes or hours.

Two APIs, three workers with the ``cpu`` engine, Valkey and emulators of S3 and Google Cloud
Storage, a proxy between each process and each of them. It storms in rounds; after each, all
invariants are checked. The same seed gives the same rounds. It exits with 1 if one was violated,
and leaves the logs of that round.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
from pathlib import Path

from tests.chaos.storm.storm import storm
from tests.chaos.storm.table import print_round, print_storm
from tests.running import ROOT


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.storm", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", default=str(random.randrange(10**6)))
    parser.add_argument("--round-s", type=float, default=200, help="how long a round storms")
    parser.add_argument("--videos", type=int, default=45, help="of a round")
    args = parser.parse_args()
    sample = Path(os.environ.get("SHOAL_SAMPLE_CLIP", ROOT / "demo/bikes.mp4"))
    folder = Path(tempfile.mkdtemp(prefix="shoal-storm-"))
    print(f"seed {args.seed}", flush=True)
    outcomes = []
    for outcome in storm(
        folder,
        sample,
        args.seed,
        seconds=args.minutes * 60,
        round_s=args.round_s,
        videos=args.videos,
    ):
        outcomes.append(outcome)
        print_round(outcome)
    print_storm(args.seed, outcomes)
    if any(outcome.violations for outcome in outcomes):
        print(f"logs: {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
