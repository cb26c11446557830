"""Probes, and what the API says of itself."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse

from api.deps import QueueDep, RulesDep
from api.problems import documented
from shoal import __version__
from shoal.errors import RedisUnavailable
from shoal.queue import redis_errors

probes = APIRouter(tags=["health"])
index = APIRouter(tags=["health"])


@probes.get("/healthz")
async def alive() -> dict[str, str]:
    """The process lives."""
    return {"status": "alive"}


@probes.get("/readyz", responses=documented(RedisUnavailable))
def ready(queue: QueueDep) -> dict[str, str]:
    """Redis answers: requests can be served."""
    queue.redis.ping()
    return {"status": "ready"}


@index.get("/health")
def health(queue: QueueDep, rules: RulesDep) -> dict[str, Any]:
    """What is in order, and what is not. The probes tell less and need no token."""
    current = rules.current()
    redis_fault = ""
    try:
        with redis_errors():
            queue.redis.ping()
    except RedisUnavailable as error:
        redis_fault = str(error)
    faults = list(rules.fault.faults) if rules.fault else []
    return {
        "status": "degraded" if faults or redis_fault else "ok",
        "redis": {"error": redis_fault},
        "rules": {
            "file": str(rules.path or ""),
            "in_force": [rule.name for rule in current.items],
            "loaded_at": rules.loaded_at,
            "faults": faults,
        },
    }


@index.get("/", response_model=None)
async def about(request: Request) -> dict[str, Any] | RedirectResponse:
    """Name, version and where things are; a browser is led to the dashboard."""
    if "text/html" in request.headers.get("accept", ""):
        return RedirectResponse("/ui")
    return {
        "name": "shoal",
        "version": __version__,
        "links": {
            "videos": "/videos",
            "uploads": "/uploads/{name}",
            "queue": "/queue",
            "engines": "/engines",
            "metrics": "/metrics",
            "dashboard": "/ui",
            "events": ["/events/gcs", "/events/s3"],
            "skipped events": "/events/skipped",
            "reconcile": "/reconcile",
            "callbacks": "/callbacks",
            "tokens": "/tokens",
            "health": "/health",
            "documentation": "/docs",
            "openapi": "/openapi.json",
        },
    }
