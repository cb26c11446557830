"""How long a preview of six 720p frames takes, and what it costs the video that a worker is at.

    .venv/bin/python benchmarks/preview.py [--clip PATH] [--rounds N] [--quick] [--json]

``idle_s`` and ``busy_s``: median seconds from the request to the last picture, of an idle and of a
busy cpu worker. ``slowdown``: the share by which a video takes longer with one preview every ten
seconds; runs with and without take turns.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.clip import write
from benchmarks.report import machine, print_json, print_table
from benchmarks.serving import valkey
from shoal.client import Client
from shoal.queue.connection import connect
from shoal.queue.queue import open_queue
from shoal.settings import Settings
from tests.ports import free_port
from tests.running import Processes, eventually, started

PROMPTS = ["person", "bicycle"]
EVERY_S = 10.0
FRAMES = 6
CLIP_S = 60
JOB_FRAMES = 750  # of the video that is timed


@contextmanager
def stack(folder: Path) -> Iterator[Processes]:
    """A Valkey, and what starts an API and a worker beside it."""
    with valkey(folder) as redis_url:
        settings = Settings(
            redis_url=redis_url,
            data_dir=folder / "data",
            work_dir=folder / "work",
            api_port=free_port(),
        )
        queue = open_queue(settings, connect(settings))
        with started(settings, queue, folder / "logs") as processes:
            yield processes


def preview_s(client: Client, uri: str) -> float:
    """Seconds from the request to all pictures."""
    start = time.perf_counter()
    found = client.previews.make(uri, PROMPTS, frames=FRAMES)
    for number in range(len(found.frames)):
        client.previews.picture(found, number)
    if found.error or len(found.frames) != FRAMES:
        raise SystemExit(f"the preview failed: {found.error}")
    return time.perf_counter() - start


def job_s(client: Client, uri: str, frames: int, *, with_previews: bool) -> float:
    """Seconds of a job with so many frames."""
    job = client.submit(uri, ["person"], sample_fps=0, max_frames=frames)
    over = threading.Event()

    def keep_asking() -> None:
        with Client(client.url) as other:
            while not over.wait(EVERY_S):
                preview_s(other, uri)

    thread = threading.Thread(target=keep_asking)
    if with_previews:
        thread.start()
    try:
        record = client.wait(job.id)
    finally:
        over.set()
        if with_previews:
            thread.join()
    assert record.started_at is not None
    assert record.finished_at is not None
    return record.finished_at - record.started_at


def measure(client: Client, uri: str, rounds: int, frames: int) -> dict[str, float]:
    preview_s(client, uri)  # the first one also warms caches
    idle = [preview_s(client, uri) for _ in range(2 * rounds)]
    job = client.submit(uri, ["person"], sample_fps=0)
    while client.get(job.id).progress.frames < 1:
        time.sleep(0.1)
    busy = [preview_s(client, uri) for _ in range(2 * rounds)]
    client.cancel(job.id)
    client.wait(job.id)
    alone, disturbed = [], []
    for number in range(rounds):  # max_frames makes each a job of its own
        alone.append(job_s(client, uri, frames + 2 * number, with_previews=False))
        disturbed.append(job_s(client, uri, frames + 2 * number + 1, with_previews=True))
    return {
        "idle_s": round(median(idle), 2),
        "busy_s": round(median(busy), 2),
        "alone_s": round(median(alone), 2),
        "slowdown": round(median(disturbed) / median(alone) - 1, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clip", default="demo/bikes.mp4", help="scaled to 720p and repeated")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one round of fewer frames")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rounds, seconds, frames = (1, 12, 100) if args.quick else (args.rounds, CLIP_S, JOB_FRAMES)
    with tempfile.TemporaryDirectory() as name:
        clip = Path(name) / "clip.mp4"
        write(args.clip, str(clip), 25 * seconds)
        with stack(Path(name)) as processes:
            client = processes.api()
            processes.worker("cpu")
            eventually(processes.idle_workers, "the worker")
            figures = measure(client, client.upload(clip).uri, rounds, frames)
    print(machine(["av", "onnxruntime"]))
    print_table(["figure", "value"], [[key, f"{value:g}"] for key, value in figures.items()])
    if args.json:
        print_json(figures)


if __name__ == "__main__":
    main()
