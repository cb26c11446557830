"""For how long does one request hold the API's event loop?

``python benchmarks/loop_watch.py [--limit-ms 100] [--tries N] [--json]``: a Valkey and an API of
its own, and the requests of tests/security/nasty.py, one after the other. Of each counts the best
of its tries: what is more in another one, the machine has done. Ends with 1 above the limit.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from shoal.local.stack import free_port
from shoal.local.valkey import Valkey
from shoal.settings import Settings
from tests.events import Signer
from tests.security.loop_watch import LoopWatch, send, watched
from tests.security.nasty import Nasty, requests

SHOWN = 5
SETTLE_S = 0.02  # for what a request leaves to do after its answer


def held_ms(url: str, watch: LoopWatch, nasty: Nasty, tries: int) -> float:
    best = float("inf")
    for _ in range(tries):
        watch.take()
        send(url, nasty)
        time.sleep(SETTLE_S)
        best = min(best, 1000 * watch.take())
    return round(best, 1)


def measure(folder: Path, tries: int) -> dict[str, float]:
    """Milliseconds by request, the longest first."""
    valkey = Valkey(folder / "valkey", free_port())
    server = subprocess.Popen(valkey.command())
    try:
        valkey.wait_ready(server).close()
        signer = Signer()
        settings = Settings(
            redis_url=valkey.url, data_dir=folder / "data", work_dir=folder / "work"
        )
        with watched(settings, signer) as (url, watch):
            found = {each.name: held_ms(url, watch, each, tries) for each in requests(signer)}
    finally:
        server.terminate()
        server.wait()
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit-ms", type=float, default=100.0)
    parser.add_argument("--tries", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), options.tries)
    worst = dict(list(found.items())[:SHOWN])
    if options.json:
        print(json.dumps({"requests": len(found), "worst_ms": worst, "limit_ms": options.limit_ms}))
    else:
        print(f"{len(found)} requests; the loop was held for at most:")
        for name, milliseconds in worst.items():
            print(f"{milliseconds:8.1f} ms  {name}")
    return int(max(found.values()) > options.limit_ms)


if __name__ == "__main__":
    sys.exit(main())
