"""How the API answers while it looks up a large batch, and what the batch costs.

``python benchmarks/batches.py [--videos N] [--json]``: a Valkey and an API of its own, and a folder
of so many files in a hundred folders.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import httpx
import psutil

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.dashboard import running, used

FOLDERS = 100
IDLE_S = 5
EVERY_S = 0.02
BATCHES_EVERY = 25  # requests between two looks at the batch


class Watch:
    """Asks the API for its health again and again, and notes its memory."""

    def __init__(self, http: httpx.Client, api: psutil.Process) -> None:
        self.http = http
        self.api = api
        self.peak = 0

    def ask(self, path: str) -> float:
        """Milliseconds until the answer."""
        begun = time.perf_counter()
        self.http.get(path).raise_for_status()
        self.peak = max(self.peak, self.api.memory_info().rss)
        return (time.perf_counter() - begun) * 1e3

    def idle(self) -> list[float]:
        end = time.monotonic() + IDLE_S
        taken = []
        while time.monotonic() < end:
            taken.append(self.ask("/health"))
            time.sleep(EVERY_S)
        return taken

    def until_expanded(self, batch: str) -> tuple[list[float], list[float]]:
        """Milliseconds of ``/health`` and of the batch's own page."""
        health, page = [], []
        while True:
            for _ in range(BATCHES_EVERY):
                health.append(self.ask("/health"))
                time.sleep(EVERY_S)
            page.append(self.ask(f"/batches/{batch}"))
            if self.http.get(f"/batches/{batch}").json()["state"] != "expanding":
                return health, page


def make_files(folder: Path, count: int) -> None:
    for number in range(count):
        path = folder / f"day-{number % FOLDERS:03}" / f"camera-{number:07}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"not a video")


def told(name: str, taken: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(taken, n=100)
    figures = {"median": cuts[49], "p99": cuts[98], "max": max(taken)}
    print(name, *(f"{key} {value:.1f} ms" for key, value in figures.items()), sep="  ")
    return {key: round(value, 1) for key, value in figures.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=100_000)
    parser.add_argument("--json", action="store_true", help="The figures as the last line.")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as (queue, url, api):
        videos = Path(folder, "videos")
        make_files(videos, args.videos)
        with httpx.Client(base_url=url, timeout=60, trust_env=False) as http:
            watch = Watch(http, api)
            idle = watch.idle()
            memory, redis, begun = api.memory_info().rss, used(queue), time.monotonic()
            body = {"globs": [videos.as_uri() + "/**/*.mp4"], "prompts": ["person", "car"]}
            batch = http.post("/batches", json=body).raise_for_status().json()["id"]
            health, page = watch.until_expanded(batch)
            seconds = time.monotonic() - begun
            found = http.get(f"/batches/{batch}").json()["videos"]
        figures = {
            "videos": found,
            "videos_per_s": round(found / seconds),
            "idle_ms": told("/health, idle", idle),
            "health_ms": told("/health, meanwhile", health),
            "batch_ms": told("/batches/{id}, meanwhile", page),
            "api_growth_mb": round((watch.peak - memory) / 1e6, 1),
            "redis_bytes_per_video": round((used(queue) - redis) / max(1, found)),
        }
    for name in ("videos", "videos_per_s", "api_growth_mb", "redis_bytes_per_video"):
        print(f"{name} {figures[name]}")
    if args.json:
        print(json.dumps(figures))
    sys.exit(found != args.videos)


if __name__ == "__main__":
    main()
