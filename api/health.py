"""Probes, and what the API says of itself."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from api.deps import QueueDep
from api.problems import documented
from shoal import __version__
from shoal.errors import RedisUnavailable

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


@index.get("/")
async def about() -> dict[str, Any]:
    """Name, version and where things are."""
    return {
        "name": "shoal",
        "version": __version__,
        "links": {
            "videos": "/videos",
            "uploads": "/uploads/{name}",
            "queue": "/queue",
            "callbacks": "/callbacks",
            "documentation": "/docs",
            "openapi": "/openapi.json",
        },
    }
