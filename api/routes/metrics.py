"""``/metrics`` for Prometheus, read from Redis at scrape time.

Workers have no metrics endpoint: their data is in their records and in the totals.
"""

from __future__ import annotations

import collections
from collections.abc import Iterator

from fastapi import APIRouter, Response
from prometheus_client import CollectorRegistry, Counter, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from api.deps import QueueDep
from shoal.model.filter import Filter
from shoal.model.job import State
from shoal.model.record import now
from shoal.queue.queue import JobQueue
from shoal.queue.unreadable import counts
from shoal.queue.workers import list_workers

RUNNING_SEEN = 500  # running jobs considered, at most

# Counted by this process: each API is scraped, and Prometheus sums them.
OWN = CollectorRegistry(auto_describe=False)
INGESTED = Counter(
    "shoal_ingest_uploads",
    "Announced uploads by sender and outcome: queued, known, a skip reason, or an error code.",
    ["sender", "outcome"],
    registry=OWN,
)
ProcessCollector(registry=OWN)

# The totals in Redis by the first word of their names: name, help and labels of the metric.
TOTALS = {
    "jobs": ("shoal_jobs_ended", "Ended jobs by state and error code.", ("state", "cause")),
    "segments": (
        "shoal_segments_ended",
        "Ended segments of split jobs by state and error code.",
        ("state", "cause"),
    ),
    "attempts": ("shoal_attempts", "Ended attempts by outcome.", ("outcome",)),
    "seconds": (
        "shoal_attempt_seconds",
        "Compute time of attempts by outcome, in seconds.",
        ("outcome",),
    ),
    "cost": (
        "shoal_cost_dollars",
        "Cost of the compute time, for workers with an hourly price.",
        ("outcome",),
    ),
    "wasted": ("shoal_wasted", "Seconds and dollars lost to preemption.", ("unit",)),
    "stage": (
        "shoal_stage_seconds",
        "Seconds by stage of succeeded jobs; stages within 'process' overlap.",
        ("stage",),
    ),
    "deletions": ("shoal_deletions", "Deleted jobs and expired uploads.", ("what",)),
    "deletion_files": ("shoal_deleted_files", "Files deleted with them.", ("what",)),
    "deletion_bytes": ("shoal_deleted_bytes", "Size of these files.", ("what",)),
}

router = APIRouter(tags=["health"])


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {"description": "Metrics in the text format.", "content": {CONTENT_TYPE_LATEST: {}}}
    },
)
def metrics(queue: QueueDep) -> Response:
    """Metrics of queue, jobs and workers, for Prometheus."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(QueueCollector(queue))
    return Response(
        generate_latest(registry) + generate_latest(OWN), media_type=CONTENT_TYPE_LATEST
    )


class QueueCollector(Collector):
    """Collects the state of one queue at scrape time."""

    def __init__(self, queue: JobQueue) -> None:
        self.queue = queue

    def collect(self) -> Iterator[Metric]:
        yield from self._depth()
        yield from self._totals()
        yield from self._work()
        yield from self._workers()
        unreadable = GaugeMetricFamily(
            "shoal_unreadable",
            "What this process has met in Redis and left out, as it cannot be read.",
            labels=["kind"],
        )
        for kind, count in counts().items():
            unreadable.add_metric([kind], count)
        yield unreadable

    def _depth(self) -> Iterator[Metric]:
        depth = self.queue.depth()
        jobs = GaugeMetricFamily("shoal_jobs", "Stored jobs by state.", labels=["state"])
        for state, count in depth.jobs.items():
            jobs.add_metric([state.value], count)
        yield jobs
        segments = GaugeMetricFamily(
            "shoal_segments",
            "Segments of split jobs by state; not in shoal_jobs.",
            labels=["state"],
        )
        for state, count in depth.segments.items():
            segments.add_metric([state.value], count)
        yield segments
        causes = GaugeMetricFamily(
            "shoal_jobs_failed", "Stored failed jobs by error code.", labels=["cause"]
        )
        for code, count in self.queue.records.indexes.by_cause().items():
            causes.add_metric([code], count)
        yield causes
        yield GaugeMetricFamily(
            "shoal_queue_oldest_seconds",
            "Waiting time of the oldest queued job.",
            depth.oldest_queued_s,
        )
        yield GaugeMetricFamily(
            "shoal_queue_paused", "1 if the queue is paused.", float(depth.paused)
        )

    def _totals(self) -> Iterator[Metric]:
        totals = self.queue.records.totals.read()
        families = {
            kind: CounterMetricFamily(name, words, labels=labels)
            for kind, (name, words, labels) in TOTALS.items()
        }
        for name, value in sorted(totals.items()):
            kind, _, rest = name.partition(":")
            if kind in families:
                first, _, second = rest.partition(":")
                labels = [first, second] if len(TOTALS[kind][2]) > 1 else [rest]
                families[kind].add_metric(labels, value)
        yield from families.values()
        yield CounterMetricFamily(
            "shoal_frames", "Processed frames of succeeded jobs.", totals.get("frames", 0)
        )
        yield CounterMetricFamily(
            "shoal_video_seconds",
            "Total video length of succeeded jobs.",
            totals.get("video_seconds", 0),
        )

    def _work(self) -> Iterator[Metric]:
        running, _ = self.queue.records.page(Filter(state=State.RUNNING), limit=RUNNING_SEEN)
        at = now()
        moved = [record.progress.moved_at or record.started_at or at for record in running]
        yield GaugeMetricFamily(
            "shoal_standstill_seconds",
            "Longest time that a running job has made no progress.",
            max((at - each for each in moved), default=0.0),
        )
        yield GaugeMetricFamily(
            "shoal_frames_per_second",
            "Processed frames per second of all workers.",
            sum(record.progress.fps for record in running),
        )

    def _workers(self) -> Iterator[Metric]:
        workers = list_workers(self.queue.redis, self.queue.name)
        family = GaugeMetricFamily(
            "shoal_workers", "Connected workers.", labels=["state", "engine", "device"]
        )
        for labels, count in collections.Counter(
            (w.state, w.engine, w.device) for w in workers
        ).items():
            family.add_metric(list(labels), count)
        yield family
        beats = GaugeMetricFamily(
            "shoal_worker_beat_age_seconds",
            "Age of the last heartbeat of a worker.",
            labels=["worker"],
        )
        for worker in workers:
            beats.add_metric([worker.name], max(0.0, now() - worker.beat_at))
        yield beats
        yield GaugeMetricFamily(
            "shoal_price_dollars_per_hour",
            "Hourly price of all connected workers with a known price.",
            sum(worker.hourly_price for worker in workers),
        )
