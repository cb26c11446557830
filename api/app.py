"""The FastAPI application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.routing import APIRoute
from redis.backoff import ConstantBackoff
from redis.retry import Retry
from starlette.concurrency import run_in_threadpool

from api import health, problems, queue, results, scaling, uploads, videos
from api.auth import Gate
from api.deps import TOKEN
from api.limits import BodyLimit
from api.reaper import ReaperThread
from shoal import __version__
from shoal.errors import RedisUnavailable, RequestError, Unauthorized
from shoal.queue import connect, open_queue
from shoal.settings import Settings

DESCRIPTION = """
A video and a few words in; tracked masks and an overlay video out.

Submit a video with `POST /videos`, follow it with `GET /videos/{id}`, and get the files from
`GET /videos/{id}/results`. A video that is not where the API can read it goes in by
`PUT /uploads/{name}` first. Every error is a problem document (RFC 9457) with a `code` to branch
on and a `hint` that says what to do.
"""


def create_app(settings: Settings) -> FastAPI:
    """The API over the Redis and the storage that ``settings`` name.

    Starting it raises ``RedisUnavailable`` where Redis does not answer.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        connection = await run_in_threadpool(connect, settings)
        # A caller is told at once that Redis is away: it knows better whether to wait.
        connection.set_retry(Retry(ConstantBackoff(0.1), 1))
        app.state.queue = open_queue(settings, connection)
        uploads.remove_stale_partials(settings)
        reaper = ReaperThread(app.state.queue)
        reaper.start()
        try:
            yield
        finally:
            await run_in_threadpool(reaper.stop)
            connection.close()

    app = FastAPI(
        title="Shoal",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        generate_unique_id_function=_operation_id,
    )
    app.state.settings = settings
    problems.install(app)
    app.add_middleware(BodyLimit)
    app.add_middleware(Gate, tokens=settings.api_tokens)
    anywhere = problems.documented(Unauthorized, RequestError, RedisUnavailable)
    app.include_router(scaling.router, dependencies=[TOKEN], responses=anywhere)
    for router in (health.index, videos.router, results.router, uploads.router, queue.router):
        app.include_router(router, dependencies=[TOKEN], responses=anywhere)
    app.include_router(health.probes)
    return app


def _operation_id(route: APIRoute) -> str:
    return route.name
