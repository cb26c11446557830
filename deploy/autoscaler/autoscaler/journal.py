"""Makes decisions known: in the log, in Redis for dashboard and API, and as metrics."""

from __future__ import annotations

import logging

from prometheus_client import CollectorRegistry, Counter, Gauge
from redis import Redis

from shoal.model.scaling import ScalingDecision, ScalingStatus
from shoal.queue import scaling
from shoal.queue.connection import redis_errors

log = logging.getLogger("autoscaler")

GAUGES = {
    "want": "Machines that the work justifies, within the limits.",
    "machines": "Machines that exist or are being made.",
    "ready": "Machines that are ready.",
    "pending": "Consumers that wait for a machine.",
    "started": "Consumers on a machine.",
    "cap": "Machines, at most.",
    "queued": "Jobs that wait, as the autoscaler saw them.",
    "running": "Jobs on a worker, as the autoscaler saw them.",
    "price_per_hour": "Price of all machines together.",
}


class Journal:
    """What the controller says of itself."""

    def __init__(self, redis: Redis, namespace: str, ttl_s: float) -> None:
        self.registry = CollectorRegistry()
        self._redis = redis
        self._namespace = namespace
        self._ttl_s = ttl_s
        self._last_action = ""
        self._gauges = {
            name: Gauge(f"shoal_autoscaler_{name}", text, registry=self.registry)
            for name, text in GAUGES.items()
        }
        self._leads = Gauge(
            "shoal_autoscaler_leads", "1 where this one decides.", registry=self.registry
        )
        self._ticks = Counter(
            "shoal_autoscaler_decisions",
            "Looks at the queue, by what came of them.",
            ["action"],
            registry=self.registry,
        )
        self._done = Counter(
            "shoal_autoscaler_consumers",
            "Consumers launched and PENDING ones cancelled.",
            ["deed"],
            registry=self.registry,
        )

    def stands_by(self) -> None:
        if self._last_action != "standby":
            log.info("another autoscaler leads: standing by")
        self._last_action = "standby"
        self._leads.set(0)

    def write(self, status: ScalingStatus, *, launched: int = 0, cancelled: int = 0) -> None:
        """
        Raises:
            RedisUnavailable
        """
        self._leads.set(1)
        for name, gauge in self._gauges.items():
            gauge.set(getattr(status, name))
        self._ticks.labels(status.action).inc()
        self._done.labels("launched").inc(launched)
        self._done.labels("cancelled").inc(cancelled)
        with redis_errors():
            scaling.publish(self._redis, self._namespace, status, self._ttl_s)
            if status.action == self._last_action and not launched and not cancelled:
                return
            self._last_action = status.action
            decision = ScalingDecision(
                at=status.at,
                action=status.action,
                reason=status.reason,
                launched=launched,
                cancelled=cancelled,
            )
            scaling.tell(self._redis, self._namespace, decision)
        deeds = f" (launched {launched}, cancelled {cancelled})" if launched or cancelled else ""
        log.info("%s%s: %s", status.action, deeds, status.reason)
