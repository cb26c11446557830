"""``/metrics``: what Prometheus asks for, read from Redis when it asks.

Workers have no address of their own: what they do is in their records, and in the totals.
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
from shoal.indexes import Filter
from shoal.jobs import State
from shoal.queue import JobQueue
from shoal.records import now
from shoal.workers import list_workers

RUNNING_SEEN = 500  # jobs; more are not looked at

# What this process has counted itself: each API is scraped, so Prometheus adds them up.
OWN = CollectorRegistry(auto_describe=False)
INGESTED = Counter(
    "shoal_ingest_uploads",
    "Announced uploads, by sender and what became of them: queued, known, the reason of a skip, "
    "or the code of an error.",
    ["sender", "outcome"],
    registry=OWN,
)
ProcessCollector(registry=OWN)

router = APIRouter(tags=["health"])


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"description": "The text format.", "content": {CONTENT_TYPE_LATEST: {}}}},
)
def metrics(queue: QueueDep) -> Response:
    """Queue, jobs, workers and work done, for Prometheus."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(QueueCollector(queue))
    return Response(
        generate_latest(registry) + generate_latest(OWN), media_type=CONTENT_TYPE_LATEST
    )


class QueueCollector(Collector):
    """The state of one queue at the moment of the scrape."""

    def __init__(self, queue: JobQueue) -> None:
        self.queue = queue

    def collect(self) -> Iterator[Metric]:
        yield from self._depth()
        yield from self._totals()
        yield from self._work()
        yield from self._workers()

    def _depth(self) -> Iterator[Metric]:
        depth = self.queue.depth()
        jobs = GaugeMetricFamily("shoal_jobs", "Jobs remembered, by state.", labels=["state"])
        for state, count in depth.jobs.items():
            jobs.add_metric([state.value], count)
        yield jobs
        causes = GaugeMetricFamily(
            "shoal_jobs_failed", "Failed jobs remembered, by cause.", labels=["cause"]
        )
        for code, count in self.queue.records.indexes.by_cause().items():
            causes.add_metric([code], count)
        yield causes
        yield GaugeMetricFamily(
            "shoal_queue_oldest_seconds",
            "How long the first in line has waited.",
            depth.oldest_queued_s,
        )
        yield GaugeMetricFamily(
            "shoal_queue_paused", "1 while the workers take nothing new.", float(depth.paused)
        )

    def _totals(self) -> Iterator[Metric]:
        totals = self.queue.records.totals.read()
        ended = CounterMetricFamily(
            "shoal_jobs_ended", "Jobs that ended, by state and cause.", labels=["state", "cause"]
        )
        attempts = CounterMetricFamily(
            "shoal_attempts", "Attempts that ended, by outcome.", labels=["outcome"]
        )
        seconds = CounterMetricFamily(
            "shoal_attempt_seconds",
            "Seconds that workers spent on attempts: of a GPU each, where they have one.",
            labels=["outcome"],
        )
        cost = CounterMetricFamily(
            "shoal_cost_dollars",
            "What these seconds cost, where the price per hour is known.",
            labels=["outcome"],
        )
        wasted = CounterMetricFamily(
            "shoal_wasted",
            "Of seconds and dollars: lost with machines that were taken away.",
            labels=["unit"],
        )
        stages = CounterMetricFamily(
            "shoal_stage_seconds",
            "Seconds by stage of jobs that succeeded; those within 'process' overlap.",
            labels=["stage"],
        )
        by_kind = {
            "attempts": attempts, "seconds": seconds, "cost": cost, "wasted": wasted,
            "stage": stages,
        }  # fmt: skip
        for name, value in sorted(totals.items()):
            kind, _, rest = name.partition(":")
            state, _, cause = rest.partition(":")
            if kind == "jobs":
                ended.add_metric([state, cause], value)
            elif kind in by_kind:
                by_kind[kind].add_metric([rest], value)
        yield from (ended, *by_kind.values())
        yield CounterMetricFamily(
            "shoal_frames", "Frames written by jobs that succeeded.", totals.get("frames", 0)
        )
        yield CounterMetricFamily(
            "shoal_video_seconds",
            "Length of the videos of jobs that succeeded.",
            totals.get("video_seconds", 0),
        )

    def _work(self) -> Iterator[Metric]:
        running, _ = self.queue.records.page(Filter(state=State.RUNNING), limit=RUNNING_SEEN)
        at = now()
        moved = [record.progress.moved_at or record.started_at or at for record in running]
        yield GaugeMetricFamily(
            "shoal_standstill_seconds",
            "For how long the running job that has not moved for longest has not.",
            max((at - each for each in moved), default=0.0),
        )
        yield GaugeMetricFamily(
            "shoal_frames_per_second",
            "Frames that all workers together write each second.",
            sum(record.progress.fps for record in running),
        )

    def _workers(self) -> Iterator[Metric]:
        workers = list_workers(self.queue.redis, self.queue.name)
        family = GaugeMetricFamily(
            "shoal_workers", "Workers alive.", labels=["state", "engine", "device"]
        )
        for labels, count in collections.Counter(
            (w.state, w.engine, w.device) for w in workers
        ).items():
            family.add_metric(list(labels), count)
        yield family
        beats = GaugeMetricFamily(
            "shoal_worker_beat_age_seconds", "Since a worker was last heard of.", labels=["worker"]
        )
        for worker in workers:
            beats.add_metric([worker.name], max(0.0, now() - worker.beat_at))
        yield beats
        yield GaugeMetricFamily(
            "shoal_price_dollars_per_hour",
            "Of all workers alive, where the price is known.",
            sum(worker.hourly_price for worker in workers),
        )
