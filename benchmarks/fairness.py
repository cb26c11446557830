"""Who waits for whom, and what taking a job costs with a long line.

``python benchmarks/fairness.py [--json]``: a Valkey of its own, and workers that are simulated: one
takes a job, and has it for one step of time.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.report import machine, print_json, print_table
from benchmarks.serving import valkey
from shoal.model.job import JobSpec
from shoal.model.record import text
from shoal.model.share import Share
from shoal.queue.connection import connect
from shoal.queue.lease import Lease
from shoal.queue.queue import JobQueue, open_queue
from shoal.settings import Settings

PAGE = 500
BATCH = 10_000
WORKERS = 4
WAITING, SOURCES = 100_000, 1000
TAKES = 2000


@contextmanager
def fresh_queue() -> Iterator[JobQueue]:
    """A queue on a server of its own."""
    with tempfile.TemporaryDirectory() as folder, valkey(Path(folder)) as redis_url:
        settings = Settings(redis_url=redis_url)
        yield open_queue(settings, connect(settings))


def spec(name: str) -> JobSpec:
    uri = f"file:///videos/{name}.mp4"
    return JobSpec(uri=uri, version="1", size=1, prompts=("person",), results="file:///out/a")


def fill(queue: JobQueue, source: str, count: int, weight: int = 1) -> None:
    share = Share(source=source, weight=weight)
    for first in range(0, count, PAGE):
        numbers = range(first, min(first + PAGE, count))
        queue.submit_new([spec(f"{source}/{number}") for number in numbers], share=share)


def take(queue: JobQueue) -> Lease:
    job_id = queue.line.take()
    assert job_id is not None
    lease = Lease.take(queue, text(job_id), "gpu-1")
    assert lease is not None
    return lease


def single_behind_batch(queue: JobQueue) -> int:
    """Videos of the batch that a worker starts after the single one was submitted, before it."""
    fill(queue, "batch:large", BATCH)
    leases = [take(queue) for _ in range(WORKERS)]
    wanted, _ = queue.submit(spec("single"), share=Share(source="token:t"))
    before = 0
    while True:
        leases.pop(0).succeed({}, {})  # a worker is free
        lease = take(queue)
        if lease.record.id == wanted.id:
            return before
        before += 1
        leases.append(lease)


def shares(queue: JobQueue) -> float:
    """How many videos of a batch of weight 3 start for each one of weight 1."""
    fill(queue, "batch:three", BATCH, 3)
    fill(queue, "batch:one", BATCH)
    turns = Counter(take(queue).record.share.source for _ in range(1000))
    return turns["batch:three"] / turns["batch:one"]


class TakeCost(NamedTuple):
    """Milliseconds for the step from the line to the intermediate list.

    Attributes:
        client: each, as the worker waits for it, with the way there and back.
        server_mean, server_max: in Redis alone, by its own clock.
    """

    client: list[float]
    server_mean: float
    server_max: float


def take_ms(queue: JobQueue) -> TakeCost:
    for number in range(SOURCES):
        fill(queue, f"batch:{number}", WAITING // SOURCES)
    queue.redis.config_set("slowlog-log-slower-than", 0)
    queue.redis.config_set("slowlog-max-len", TAKES + 10)
    queue.redis.config_resetstat()
    queue.redis.slowlog_reset()
    taken = []
    for _ in range(TAKES):
        begun = time.perf_counter()
        assert queue.line.take() is not None
        taken.append((time.perf_counter() - begun) * 1e3)
    used: Any = queue.redis.info("commandstats")
    calls: Any = queue.redis.slowlog_get(TAKES + 10)
    longest = max(each["duration"] for each in calls if each["command"].startswith(b"EVALSHA"))
    return TakeCost(taken, used["cmdstat_evalsha"]["usec_per_call"] / 1e3, longest / 1e3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one line of JSON at the end")
    asked = parser.parse_args()
    with fresh_queue() as queue:
        before = single_behind_batch(queue)
        queue.redis.flushall()
        ratio = shares(queue)
        queue.redis.flushall()
        taken = take_ms(queue)
    median = statistics.median(taken.client)
    p99 = statistics.quantiles(taken.client, n=100)[-1]
    print(machine(("redis", "rq")), end="\n\n")
    rows = [
        (f"videos of a batch of {BATCH:,} started before a single one", str(before)),
        ("starts of weight 3 for each of weight 1", f"{ratio:.3f}"),
        (f"take, {WAITING:,} waiting in {SOURCES:,} sources, median, ms", f"{median:.3f}"),
        ("take, p99, ms", f"{p99:.3f}"),
        ("take, in Redis alone, mean, ms", f"{taken.server_mean:.3f}"),
        ("take, in Redis alone, longest, ms", f"{taken.server_max:.3f}"),
    ]
    print_table(("", "measured"), rows)
    if asked.json:
        print_json(
            {
                "started_before_single": before,
                "ratio_3_to_1": round(ratio, 4),
                "take_ms_median": round(median, 4),
                "take_ms_p99": round(p99, 4),
                "take_ms_redis_mean": round(taken.server_mean, 4),
                "take_ms_redis_max": round(taken.server_max, 4),
            }
        )


if __name__ == "__main__":
    main()
