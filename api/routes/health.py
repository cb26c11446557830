"""Health probes and the index of the API."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse

from api.deps import RulesDep
from api.middleware.problems import documented
from shoal import __version__
from shoal.errors import RedisUnavailable

probes = APIRouter(tags=["health"])
index = APIRouter(tags=["health"])


@probes.get("/healthz")
async def alive() -> dict[str, str]:
    """Liveness probe."""
    return {"status": "alive"}


@probes.get("/readyz", responses=documented(RedisUnavailable))
async def ready(request: Request) -> dict[str, str]:
    """Readiness probe: Redis responds."""
    await request.app.state.submitter.ping()
    return {"status": "ready"}


@index.get("/health")
async def health(request: Request, rules: RulesDep) -> dict[str, Any]:
    """Detailed health, for scope read: Redis takes changes, and the rules are valid.

    The probes return no details and need no token.
    """
    await request.app.state.submitter.probe()
    current = rules.current()
    faults = list(rules.fault.faults) if rules.fault else []
    return {
        "status": "degraded" if faults else "ok",
        "redis": {"error": ""},
        "rules": {
            "file": str(rules.path or ""),
            "in_force": [rule.name for rule in current.items],
            "loaded_at": rules.loaded_at,
            "faults": faults,
        },
    }


@index.get("/", response_model=None)
async def about(request: Request) -> dict[str, Any] | RedirectResponse:
    """Name, version and endpoints; browsers are redirected to the dashboard."""
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
            "events": ["/events/gcs", "/events/s3", "/events/azure"],
            "skipped events": "/events/skipped",
            "reconcile": "/reconcile",
            "callbacks": "/callbacks",
            "tokens": "/tokens",
            "health": "/health",
            "documentation": "/docs",
            "openapi": "/openapi.json",
        },
    }
