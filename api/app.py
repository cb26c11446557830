"""The FastAPI application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI
from fastapi.routing import APIRoute
from redis.backoff import ConstantBackoff
from redis.retry import Retry
from starlette.concurrency import run_in_threadpool
from starlette.staticfiles import StaticFiles

from api import (
    batches,
    callbacks,
    docs,
    engines,
    health,
    login,
    metrics,
    parts,
    problems,
    queue,
    results,
    rq_view,
    scaling,
    sweep,
    tokens,
    uploads,
    videos,
    workers,
)
from api.auth import Gate
from api.dashboard import live, pages
from api.dashboard.render import STATIC
from api.deliverer import Deliverer
from api.deps import READ
from api.desk import Desk
from api.egress import Egress
from api.events import routes as events
from api.events.inbox import Inbox
from api.events.senders import Senders
from api.expander import ExpanderThread
from api.known import KnownTokens
from api.limits import BodyLimit
from api.reaper import ReaperThread
from api.reconcile import SweepThread
from api.request_log import RequestLog
from api.rq_view import RQ
from api.submitter import Submitter
from shoal import __version__
from shoal.errors import (
    InsufficientScope,
    RateLimited,
    RedisUnavailable,
    RequestError,
    Unauthorized,
)
from shoal.queue import connect, open_queue
from shoal.rules_file import RulesFile
from shoal.settings import Settings
from shoal.upkeep import Upkeep

DESCRIPTION = """
A video and a few words in; tracked masks and an overlay video out.

Submit a video with `POST /videos`, follow it with `GET /videos/{id}`, and get the files from
`GET /videos/{id}/results`. A video that is not where the API can read it goes in by
`PUT /uploads/{name}` first. Where the API asks for tokens, each route names the scope that it
needs; events carry the proof of their sender instead. Every error is a problem document (RFC
9457) with a `code` to branch on and a `hint` that says what to do.
"""


def create_app(settings: Settings, transport: httpx.BaseTransport | None = None) -> FastAPI:
    """The API over the Redis and the storage that ``settings`` name.

    Starting it raises ``RedisUnavailable`` where Redis does not answer.

    Args:
        transport: by which certificates of event senders are fetched; by default over the network.

    Raises:
        InvalidRules: the rules file is wrong.
    """
    rules = RulesFile(settings)
    senders = Senders(settings, transport)
    known = KnownTokens(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        connection = await run_in_threadpool(connect, settings)
        # A caller is told at once that Redis is away: it knows better whether to wait.
        connection.set_retry(Retry(ConstantBackoff(0.1), 1))
        app.state.queue = open_queue(settings, connection)
        known.connect(app.state.queue)
        submitter = Submitter(settings, app.state.queue)
        app.state.desk = Desk(app.state.queue, submitter, settings)
        app.state.inbox = Inbox(senders, rules, app.state.queue, submitter, settings)
        uploads.remove_stale_partials(settings)
        upkeep = Upkeep(app.state.queue, settings.retention_days)
        reaper = ReaperThread(app.state.queue, upkeep.run)
        sweeper = SweepThread(app.state.queue, rules, settings)
        expander = ExpanderThread(app.state.queue, rules, settings)
        reaper.start()
        expander.start()
        sweeper.start()
        egress = Egress(settings.callback_allow)
        deliverer = Deliverer(app.state.queue.callbacks, settings.callback_secret, egress)
        if settings.callback_secret:
            deliverer.start()
        try:
            yield
        finally:
            await run_in_threadpool(expander.stop)
            await run_in_threadpool(sweeper.stop)
            await run_in_threadpool(reaper.stop)
            if settings.callback_secret:
                await run_in_threadpool(deliverer.stop)
            senders.close()
            await submitter.close()
            connection.close()

    app = FastAPI(
        title="Shoal",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # theirs come from another host
        redoc_url=None,
        generate_unique_id_function=_operation_id,
    )
    app.state.settings = settings
    app.state.closing = asyncio.Event()  # set when the server stops: streams end
    app.state.rules = rules
    app.state.known = known
    problems.install(app)
    app.add_middleware(BodyLimit)
    app.add_middleware(Gate, known=known)
    app.add_middleware(RequestLog)
    anywhere = problems.documented(
        Unauthorized, InsufficientScope, RateLimited, RequestError, RedisUnavailable
    )
    # Routers are asked in turn: the busiest come first.
    app.include_router(events.receiving)
    app.include_router(videos.submitting, responses=anywhere)
    for router in (
        videos.router,
        batches.router,
        results.router,
        parts.router,
        uploads.router,
        queue.router,
        workers.router,
        events.router,
        sweep.router,
        callbacks.router,
        engines.router,
        metrics.router,
        scaling.router,
        tokens.router,
        health.index,
    ):
        app.include_router(router, dependencies=[READ], responses=anywhere)
    app.include_router(health.probes)
    app.include_router(login.router)
    app.include_router(live.router)
    app.include_router(pages.router)
    docs.install(app)
    app.mount(RQ, rq_view.make_app(settings))
    app.mount("/static", StaticFiles(directory=STATIC))
    return app


def _operation_id(route: APIRoute) -> str:
    return route.name
