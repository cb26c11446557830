"""``python -m tests.security.opening PATH...``: open videos, and say what that took.

One line of JSON for each: how it ended, and the most memory of this process meanwhile. Under a
limit of addresses, so that a bomb that goes off harms nobody else.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

from shoal.errors import ShoalError
from worker.video.source import open_source

LIMIT = 4 << 30
FRAMES = 100


def outcome(path: Path) -> str:
    """The code of the error, or how many frames were read."""
    try:
        with open_source(path, sample_fps=0, max_frames=FRAMES) as source:
            return str(sum(1 for _ in source.frames()))
    except ShoalError as error:
        return error.code
    except Exception as error:
        return repr(error)


def peak_mb() -> int:
    """The largest resident set of this process since ``reset_peak``, and of its children ever."""
    status = Path("/proc/self/status").read_text().splitlines()
    own = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    return max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) >> 10


def reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")  # proc(5)


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))
    for path in map(Path, sys.argv[1:]):
        reset_peak()
        line = {"name": path.name, "outcome": outcome(path), "peak_mb": peak_mb()}
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
