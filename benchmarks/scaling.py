"""Throughput by number of workers: ``python benchmarks/scaling.py [--json]``.

Real workers on one real Valkey, with a model that only waits per frame, as one on a GPU of its own
would look to this machine's CPU. Each run has so many workers, all with their model loaded, and so
many times the same number of videos; it lasts from the first submit to the last success.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if not __package__:  # run by its path: benchmarks are not installed
    sys.path.insert(0, str(ROOT))

from benchmarks.clip import write
from benchmarks.options import clip_parser, parse
from benchmarks.report import machine, print_table
from benchmarks.waiting_engine import WAIT
from shoal.local.stack import free_port
from shoal.local.valkey import Valkey
from shoal.model.job import JobSpec, Options, State
from shoal.queue.connection import connect
from shoal.queue.queue import (
    JobQueue,
    open_queue,
)
from shoal.queue.workers import list_workers
from shoal.settings import Settings
from shoal.storage import storage_for

WORKERS = (1, 2, 4, 7)
START_S = 300  # for all workers of a run to have their model
PACKAGES = ("av", "rq", "redis")
ENGINE = "benchmarks.waiting_engine:Waiting"


@contextmanager
def valkey(folder: Path) -> Iterator[Settings]:
    """A server of its own, and the settings that lead to it."""
    server = Valkey(folder / "valkey", free_port())
    with (folder / "valkey.log").open("wb") as log:
        process = subprocess.Popen(server.command(), stdout=log, stderr=log)
    try:
        server.wait_ready(process).close()
        yield Settings(redis_url=server.url, data_dir=folder / "data", work_dir=folder / "work")
    finally:
        process.terminate()
        process.wait()


@contextmanager
def workers(
    count: int, settings: Settings, queue: JobQueue, wait_s: float, engine: str = ENGINE
) -> Iterator[None]:
    """So many workers, idle when this returns."""
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "SHOAL_REDIS_URL": settings.redis_url,
        "SHOAL_DATA_DIR": str(settings.data_dir),
        "SHOAL_WORK_DIR": str(settings.work_dir),
        "SHOAL_ENGINE": engine,
        WAIT: str(wait_s),
        "SHOAL_MODEL_ENV": WAIT,
    }
    with (settings.data_dir / "workers.log").open("ab") as log:
        running = [
            subprocess.Popen([sys.executable, "-m", "worker"], env=env, stdout=log, stderr=log)
            for _ in range(count)
        ]
    try:
        deadline = time.monotonic() + START_S
        while _idle(queue) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"workers did not start: {settings.data_dir / 'workers.log'}")
            time.sleep(0.2)
        yield
    finally:
        for process in running:
            process.send_signal(signal.SIGTERM)
        for process in running:
            process.wait()


def _idle(queue: JobQueue) -> int:
    return sum(w.state == "idle" for w in list_workers(queue.redis, queue.name))


def run(count: int, videos: int, clip: Path, settings: Settings, queue: JobQueue) -> float:
    """Seconds that ``count`` workers need for ``videos`` jobs.

    Raises:
        RuntimeError: one of them failed.
    """
    source = storage_for(clip.as_uri(), settings).stat(clip.as_uri())
    before = queue.depth().jobs.get(State.SUCCEEDED, 0)
    started = time.monotonic()
    for number in range(videos):
        spec = JobSpec(
            uri=source.uri,
            version=source.version,
            size=source.size,
            prompts=(f"{count} workers, video {number}, at {started}",),
            options=Options(sample_fps=0),
            results=f"{settings.results_root}/{count}-{number}-{started}",
        )
        queue.submit(spec)
    while (jobs := queue.depth().jobs).get(State.SUCCEEDED, 0) < before + videos:
        if jobs.get(State.FAILED, 0):
            raise RuntimeError(f"a job failed: {settings.data_dir / 'workers.log'}")
        time.sleep(0.05)
    return time.monotonic() - started


def main() -> None:
    parser = clip_parser(__doc__, "what the videos are made of")
    parser.add_argument("--frames", type=int, default=120, help="of a video")
    parser.add_argument("--wait", type=float, default=0.4, help="seconds per frame")
    parser.add_argument("--videos", type=int, default=2, help="per worker")
    parser.add_argument("--rounds", type=int, default=1)
    args = parse(parser)

    seconds: dict[int, list[float]] = {count: [] for count in WORKERS}
    with tempfile.TemporaryDirectory() as name, valkey(Path(name)) as settings:
        settings.data_dir.mkdir()
        clip = settings.data_dir / "clip.mp4"
        write(str(args.clip), str(clip), args.frames, 64, 48)
        queue = open_queue(settings, connect(settings))
        for _ in range(args.rounds):
            for count in WORKERS:
                with workers(count, settings, queue, args.wait):
                    spent = run(count, count * args.videos, clip, settings, queue)
                seconds[count].append(spent)
                print(f"{count} workers: {spent:.1f} s", file=sys.stderr)

    median = {count: statistics.median(found) for count, found in seconds.items()}
    # All runs have the same work per worker.
    speedup = {count: count * median[1] / median[count] for count in WORKERS}
    print(machine(PACKAGES))
    ideal_s = args.videos * args.frames * args.wait
    print(
        f"each worker {args.videos} videos of {args.frames} frames, "
        f"{args.wait:g} s a frame: {ideal_s:g} s of waiting\n"
    )
    print_table(
        ("workers", "videos", "seconds", "frames/s", "speedup"),
        [
            (
                str(count),
                str(count * args.videos),
                f"{median[count]:.1f}",
                f"{count * args.videos * args.frames / median[count]:.2f}",
                f"{speedup[count]:.2f}",
            )
            for count in WORKERS
        ],
    )
    if args.json:
        print(json.dumps({"speedup": {str(n): round(s, 3) for n, s in speedup.items()}}))


if __name__ == "__main__":
    main()
