"""What an API serves while many look on: mixed requests, live pages, and a batch that is cancelled.

``python benchmarks/mixed.py [--rate N] [--pages N] [--seconds N] [--jobs N] [--json]``: a Valkey
and an API of its own. ``--tree PATH`` measures the API of another checkout, for a comparison.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.http_load import Answer, Connection, Pool
from benchmarks.report import machine, print_table
from benchmarks.serving import api, valkey

GOALS = {"served_per_s": 300.0, "p99_ms": 250.0, "live_gap_s": 3.0, "cancel_per_s": 2000.0}
BEFORE = 500  # jobs that are there before
LIVE = ("/live/overview", "/live/videos", "/live/videos?state=queued", "/live/overview?hours=1")


class Load:
    """Requests at a rate, whether earlier ones are answered or not, and pages that stay open."""

    def __init__(self, port: int, folder: Path, seed: int) -> None:
        self.port = port
        self.http = Pool(port)
        self.folder = folder
        self.chance = random.Random(seed)
        self.ids: list[str] = []
        self.taken: list[float] = []  # seconds until the answer
        self.failed = 0
        self.since = 0.0  # when jobs began to come in
        self.gaps: list[float] = []  # between two signs of life of a page
        self._number = 0

    async def submit(self) -> Answer:
        self._number += 1
        path = self.folder / f"camera-{self._number:06}.mp4"
        path.write_bytes(b"not a video")
        body = {"uri": path.as_uri(), "prompts": ["person"]}
        answer = await self.http.request("POST", "/videos", body)
        if answer.status < 300:
            self.ids.append(answer.json()["id"])
        return answer

    async def request(self) -> Answer:
        kind = self.chance.random()
        job = self.chance.choice(self.ids)
        if kind < 0.3:
            return await self.submit()
        if kind < 0.7:
            return await self.http.request("GET", f"/videos/{job}")
        if kind < 0.8:
            return await self.http.request("GET", "/videos?limit=20")
        if kind < 0.85:
            return await self.http.request("GET", f"/videos/{job}/timeline")
        if kind < 0.9:
            return await self.http.request("GET", "/queue")
        if kind < 0.95:
            return await self.http.request("GET", "/health")
        return await self.http.request("DELETE", f"/videos/{job}")

    async def timed(self) -> None:
        begun = time.perf_counter()
        answer = await self.request()
        self.taken.append(time.perf_counter() - begun)
        self.failed += answer.status >= 500

    async def at_rate(self, rate: float, seconds: float) -> float:
        """Send for so long, wait for all answers; gives the answers per second."""
        begun, tasks = time.perf_counter(), []
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, begun + number / rate - time.perf_counter()))
            tasks.append(asyncio.create_task(self.timed()))
        await asyncio.gather(*tasks)
        return len(self.taken) / (time.perf_counter() - begun)

    async def look_on(self, path: str) -> None:
        """Hold a live page open, and note how long it shows nothing new while jobs come in."""
        last = 0.0
        connection = await Connection.open(self.port)
        try:
            async for chunk in connection.stream(path):
                if b"data:" in chunk:
                    self.gaps.append(time.perf_counter() - max(last, self.since))
                    last = time.perf_counter()
        finally:
            connection.close()

    async def cancel_batch(self, jobs: int) -> float:
        """Cancel a batch of so many jobs; gives the jobs per second."""
        folder = self.folder / "batch"
        folder.mkdir()
        for number in range(jobs):
            (folder / f"{number:06}.mp4").write_bytes(b"not a video")
        batch = await self.http.request(
            "POST", "/batches", {"globs": [f"{folder.as_uri()}/*.mp4"], "prompts": ["dog"]}
        )
        path = f"/batches/{batch.json()['id']}"
        while (await self.http.request("GET", path)).json()["state"] == "expanding":
            await asyncio.sleep(0.2)
        begun = time.perf_counter()
        (await self.http.request("DELETE", path)).json()
        while (await self.http.request("GET", path)).json()["state"] != "cancelled":
            await asyncio.sleep(0.05)
        return jobs / (time.perf_counter() - begun)


def cpu_s(process: psutil.Process) -> float:
    """CPU time of a process so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


async def measure(
    args: argparse.Namespace, url: str, api: psutil.Process, folder: Path
) -> dict[str, float]:
    load = Load(int(url.rpartition(":")[2]), folder, args.seed)
    with closing(load.http):
        for _ in range(BEFORE):
            (await load.submit()).json()
        pages = [asyncio.create_task(load.look_on(LIVE[n % len(LIVE)])) for n in range(args.pages)]
        await asyncio.sleep(2)
        load.gaps.clear()
        load.since, before = time.perf_counter(), cpu_s(api)
        served = await load.at_rate(args.rate, args.seconds)
        cpu = cpu_s(api) - before
        gap = max(load.gaps, default=float("inf"))
        for page in pages:
            page.cancel()
        await asyncio.gather(*pages, return_exceptions=True)
        cancelled = await load.cancel_batch(args.jobs)
    cuts = statistics.quantiles(load.taken, n=100)
    return {
        "served_per_s": round(served, 1),
        "p50_ms": round(1000 * cuts[49], 1),
        "p99_ms": round(1000 * cuts[98], 1),
        "live_gap_s": round(gap, 2),
        "api_cpu_ms_per_request": round(1000 * cpu / len(load.taken), 3),
        "cancel_per_s": round(cancelled, 1),
        "failed": load.failed,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=300.0, help="requests a second")
    parser.add_argument("--pages", type=int, default=100, help="live pages that are open meanwhile")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--jobs", type=int, default=10_000, help="of the batch that is cancelled")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tree", type=Path, default=ROOT, help="the checkout whose API it is")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="shoal-mixed-") as name,
        valkey(Path(name)) as redis_url,
        api(redis_url, Path(name), args.tree.resolve()) as (url, process),
    ):
        found = asyncio.run(measure(args, url, process, Path(name)))
    print(machine(["fastapi", "uvicorn", "redis"]))
    rows = [(key, f"{value:g}", f"{GOALS.get(key, '')}") for key, value in found.items()]
    print_table(("", "measured", "goal"), rows)
    if args.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
