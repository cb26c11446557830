"""How fast the dashboard's pages are over many records, and what a record costs in Redis.

``python benchmarks/dashboard.py [--records N] [--json]``: a Valkey and an API of its own; the
records are made as queue and workers make them, but many in one transaction.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
from redis.client import Pipeline

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.serving import api, valkey
from shoal.errors import AudioOnly, TruncatedVideo
from shoal.model.batch import Batch, BatchWork
from shoal.model.failure import Failure
from shoal.model.filter import Filter
from shoal.model.job import JobSpec, Options, State
from shoal.model.record import Progress, Record, now, text
from shoal.queue.batches import Batches
from shoal.queue.connection import connect
from shoal.queue.lease import Lease
from shoal.queue.maintenance import Maintenance
from shoal.queue.queue import (
    JobQueue,
    open_queue,
)
from shoal.settings import Settings

GOAL_MS, GOAL_BYTES = 200, 4096
MEASURED = 500  # videos that go the whole way, for the memory of one
PARTS = 20  # of each of those: minutes of work
ROUNDS = 20
BATCH = "b" * 24
SOAK = 1500  # requests between two looks at the API's memory


def spec(number: int) -> JobSpec:
    camera = number % 40
    return JobSpec(
        uri=f"s3://acme-recordings/2026/11/{camera:02}/camera-{camera:02}-{number:07}.mp4",
        version=f'"{number:032x}"',
        size=734_003_200,
        prompts=("person", "ball") if number % 3 else ("boat",),
        options=Options(sample_fps=5),
        results=f"s3://acme-results/2026/11/{camera:02}/camera-{camera:02}-{number:07}",
    )


def summary(job: JobSpec) -> dict[str, object]:
    return {
        "frames_processed": 9000,
        "duration_s": 1800.04,
        "objects_detected": 41,
        "objects_per_prompt": dict.fromkeys(job.prompts, 20),
        "engine": "sam3",
        "seconds": 1312.4,
        "metadata": f"{job.results_prefix}{job.stem}_metadata.json",
    }


def results(job: JobSpec) -> dict[str, int]:
    endings = ("segmented.mp4", "masks.parquet", "tracks.json", "metadata.json")
    return {f"{job.stem}_{ending}": 123_456_789 for ending in endings}


def finish_one(queue: JobQueue, number: int) -> None:
    """A video as a worker does it, of ``PARTS`` parts."""
    queue.submit(spec(number))
    moved = queue.line.take()
    lease = Lease.take(queue, text(moved), f"gpu-{number % 25}-4711-a1b2", "gpu-17", 3.2)
    assert lease is not None
    for part in range(1, PARTS + 1):
        frames = part * 9000 // PARTS
        lease.heartbeat(Progress(stage="process", frames=frames, frames_expected=9000, fps=7.1))
        lease.record_event("part", number=part, frames=frames)
    lease.succeed(results(lease.record.spec), summary(lease.record.spec))
    queue.cleanup.done(lease.record.id)  # its parts are removed


def make_batch(queue: JobQueue) -> None:
    """The batch that every second record belongs to."""
    batch = Batch(
        id=BATCH,
        created_at=now(),
        work=BatchWork(globs=["gs://videos/**"], prompts=["boat"]),
        uris=0,
        expanded_at=now(),
    )
    batches = Batches(queue)
    queue.redis.set(batches.key(BATCH), batch.model_dump_json(exclude_defaults=True))
    queue.redis.zadd(batches.index_key, {BATCH: batch.created_at})


def fill(queue: JobQueue, first: int, last: int) -> None:
    """Records of all states, a month of them, each with a short timeline."""
    chance = random.Random(1)
    start = now() - 29 * 24 * 3600
    for block in range(first, last, 500):
        pipe = queue.redis.pipeline(transaction=False)
        for number in range(block, min(last, block + 500)):
            _write(queue, pipe, number, start + 25 * number, chance)
        pipe.execute()


def _write(queue: JobQueue, pipe: Pipeline, number: int, at: float, chance: random.Random) -> None:
    job = spec(number)
    state = chance.choices(
        (State.SUCCEEDED, State.FAILED, State.CANCELLED, State.QUEUED), (90, 6, 2, 2)
    )[0]
    error = chance.choice((AudioOnly("no picture"), TruncatedVideo("it ends at 12 s")))
    ended = state in (State.SUCCEEDED, State.FAILED)
    record = Record(
        id=job.id,
        spec=job,
        state=state,
        created_at=at,
        queued_at=at,
        started_at=at + 60 if ended else None,
        finished_at=at + 1400 if state.is_final else None,
        attempt=int(ended),
        worker=f"gpu-{number % 25}-4711-a1b2" if ended else "",
        progress=Progress(stage="publish", frames=9000, frames_expected=9000, fps=7.1),
        error=Failure.of(error) if state == State.FAILED else None,
        results=results(job) if state == State.SUCCEEDED else {},
        summary=summary(job) if state == State.SUCCEEDED else {},
        batches=[BATCH] if number % 2 else [],
    )
    queue.records.write(pipe, record)
    for event in ("queued", "started", state.value):
        queue.records.record_event(pipe, job.id, event)
    if ended:
        queue.records.end_attempt(pipe, record, state.value, record.error)


@contextmanager
def running(folder: Path) -> Iterator[tuple[JobQueue, str, psutil.Process]]:
    """A queue, the URL of an API over it, and the API's process."""
    with valkey(folder) as redis_url, api(redis_url, folder) as (url, process):
        settings = Settings(redis_url=redis_url)
        yield open_queue(settings, connect(settings)), url, process


def used(queue: JobQueue) -> int:
    return int(queue.redis.info("memory")["used_memory"])


def pages(queue: JobQueue, records: int) -> dict[str, str]:
    """What is asked for, by what it is."""
    _, deep = queue.records.page(Filter(before=now() - 15 * 24 * 3600), limit=1)
    some = spec(records // 2)
    return {
        "overview": "/ui",
        "videos": "/ui/videos",
        "videos, half of the list": f"/ui/videos?cursor={deep}",
        "videos, failed": "/ui/videos?state=failed",
        "videos, error and worker": "/ui/videos?cause=audio_only&worker=gpu-3-4711-a1b2",
        "videos, prompt and state": "/ui/videos?prompt=boat&state=cancelled",
        "videos, text": "/ui/videos?text=camera-07",
        "videos, text without matches": "/ui/videos?text=xylophone",
        "a video": f"/ui/videos/{some.id}",
        "new": "/ui/new",
        "batches": "/ui/batches",
        "a batch": f"/ui/batches/{BATCH}",
        "videos of a batch": f"/ui/videos?batch={BATCH}&state=failed",
        "callbacks": "/ui/callbacks",
        "skipped": "/ui/skipped",
        "rules": "/ui/rules",
        "metrics": "/metrics",
    }


def median_ms(http: httpx.Client, path: str) -> float:
    times = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        http.get(path).raise_for_status()
        times.append(1000 * (time.perf_counter() - begun))
    return round(statistics.median(times), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--json", action="store_true", help="The figures as the last line.")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as (queue, url, process):
        finish_one(queue, 0)  # what comes with the first video comes once
        before = used(queue)
        for number in range(1, MEASURED + 1):
            finish_one(queue, number)
        bytes_per_video = round((used(queue) - before) / MEASURED)
        print(f"{bytes_per_video} bytes of Redis per video of {PARTS} parts (goal {GOAL_BYTES})")
        make_batch(queue)
        fill(queue, MEASURED + 1, args.records)
        count = queue.records.indexes.counts(["jobs"])[0]
        print(f"{count} records, {used(queue) / 1e6:.0f} MB of Redis")
        with httpx.Client(base_url=url, timeout=60) as http:
            medians = {
                name: median_ms(http, path) for name, path in pages(queue, args.records).items()
            }
            for name, each in medians.items():
                print(f"{each:8.1f} ms  {name}")
            grown = _soak(http, queue, args.records, process)
        print(f"{grown:+.1f} MB of the API's memory over {SOAK} requests")
        begun = time.perf_counter()
        forgotten = len(Maintenance(queue, retention_days=20).forget_old())
        per_s = round(forgotten / (time.perf_counter() - begun))
        print(f"{per_s} records forgotten per second")
    figures = {
        "records": count,
        "median_ms": medians,
        "bytes_per_video": bytes_per_video,
        "api_growth_mb": grown,
        "forgotten_per_s": per_s,
    }
    if args.json:
        print(json.dumps(figures))
    sys.exit(max(medians.values()) > GOAL_MS or bytes_per_video > GOAL_BYTES)


def _soak(http: httpx.Client, queue: JobQueue, records: int, api: psutil.Process) -> float:
    """MB by which the API grew over many requests, when warm."""
    paths = list(pages(queue, records).values())
    for path in paths * 10:
        http.get(path)
    before: int = api.memory_info().rss
    for number in range(SOAK):
        http.get(paths[number % len(paths)])
    grown: int = api.memory_info().rss - before
    return round(grown / 1e6, 1)


if __name__ == "__main__":
    main()
