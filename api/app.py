"""The FastAPI application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import httpx
from fastapi import FastAPI
from redis import Redis
from starlette.concurrency import run_in_threadpool
from starlette.staticfiles import StaticFiles

from api import docs
from api.background.base import Background
from api.background.batch_runner import BatchRunnerThread
from api.background.cleanup import CleanupThread
from api.background.reaper import ReaperThread
from api.background.reconcile import ReconcileThread
from api.background.retention import RetentionThread
from api.background.webhook_sender import WebhookSender
from api.bucket_uploads import BucketUploads
from api.dashboard import live, pages, rq_pages
from api.dashboard.render import STATIC
from api.dashboard.shared import SharedRenders
from api.data_dir import make_data_dir
from api.deps import READ
from api.events.inbox import Inbox
from api.events.senders import Senders
from api.middleware import problems
from api.middleware.auth import Gate
from api.middleware.body_limit import BodyLimit
from api.middleware.closing import Closing
from api.middleware.request_log import RequestLog
from api.middleware.token_cache import TokenCache
from api.reader import RecordReader
from api.resumable import remove_expired
from api.routes import (
    batches,
    engines,
    events,
    health,
    login,
    metrics,
    parts,
    previews,
    queue,
    reconcile,
    refine,
    results,
    resumable,
    scaling,
    source,
    storage,
    tokens,
    uploads,
    videos,
    webhooks,
    workers,
)
from api.storage_calls import StorageCalls
from api.submissions import Submissions
from api.submitter import Submitter
from api.webhook_client import WebhookClient
from shoal import __version__
from shoal.errors import (
    InsufficientScope,
    RateLimited,
    RedisUnavailable,
    RequestError,
    Unauthorized,
)
from shoal.ingest.rules_file import RulesFile
from shoal.queue.connection import connect, wait_for_redis
from shoal.queue.maintenance import Maintenance
from shoal.queue.queue import JobQueue, open_queue
from shoal.retention.expiry import needed_days
from shoal.settings import Settings

# The routes with scope read, in the order of the OpenAPI document.
READERS = (
    videos.router,
    previews.router,
    refine.router,
    batches.router,
    results.router,
    parts.router,
    source.router,
    uploads.router,
    resumable.router,
    queue.router,
    workers.router,
    events.router,
    reconcile.router,
    webhooks.router,
    engines.router,
    metrics.router,
    scaling.router,
    storage.router,
    tokens.router,
    health.index,
)

START_WAIT_S = 60.0  # for a Redis that comes and goes while the API starts

DESCRIPTION = """
Tracks objects in videos by text prompt, and returns masks and an overlay video.

Submit a video with `POST /videos`, poll it with `GET /videos/{id}`, and download the files from
`GET /videos/{id}/results`. Upload videos that the API cannot read with `PUT /uploads/{name}` first.
If the API requires tokens, each route lists the required scope; event routes authenticate their
sender instead. Every error is a problem document (RFC 9457) with a stable `code` and a `hint`.
"""


def create_app(settings: Settings, transport: httpx.BaseTransport | None = None) -> FastAPI:
    """Create the API for the Redis and the storage in ``settings``.

    Starting it raises ``RedisUnavailable`` where Redis does not answer for ``START_WAIT_S``.

    Args:
        transport: by which certificates of event senders are fetched; by default over the network.

    Raises:
        InvalidRules: the rules file is wrong.
    """
    app = FastAPI(
        title="Shoal",
        version=__version__,
        description=DESCRIPTION,
        lifespan=_lifespan,
        docs_url=None,  # FastAPI's own pages load files from another host
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.settings = settings
    app.state.fault = None  # why it could not start
    app.state.closing = asyncio.Event()  # set when the server stops, ends streams
    app.state.renders = SharedRenders()
    app.state.rules = RulesFile(settings)
    app.state.senders = Senders(settings, transport)
    app.state.tokens = TokenCache(settings)
    problems.install(app)
    app.add_middleware(BodyLimit)
    app.add_middleware(Gate, known=app.state.tokens)
    app.add_middleware(Closing, closing=app.state.closing)
    app.add_middleware(RequestLog)
    _add_routes(app)
    return app


def _add_routes(app: FastAPI) -> None:
    anywhere = problems.documented(
        Unauthorized, InsufficientScope, RateLimited, RequestError, RedisUnavailable
    )
    # Routers are tried in order: the busiest come first.
    app.include_router(videos.submitting, responses=anywhere)
    app.include_router(events.receiving)
    for router in READERS:
        app.include_router(router, dependencies=[READ], responses=anywhere)
    for router in (health.probes, login.router):
        app.include_router(router)
    for router in (live.router, pages.router, rq_pages.router):
        app.include_router(router, dependencies=[READ])
    docs.install(app)
    app.mount("/static", StaticFiles(directory=STATIC))


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    state, settings = app.state, app.state.settings
    try:
        connection = await _connected(app)
    except RedisUnavailable as error:
        state.fault = error  # for the server to name: the framework only logs it
        raise
    state.reader = reader = RecordReader(settings, state.queue)
    state.submitter = submitter = Submitter(settings, state.queue)
    state.storage = storage = StorageCalls()
    state.bucket_uploads = BucketUploads(state.queue, settings) if settings.uploads_bucket else None
    state.submissions = Submissions(state.queue, submitter, settings, storage)
    state.inbox = Inbox(state.senders, state.rules, state.queue, submitter, settings, storage)
    uploads.remove_stale_partials(settings)
    remove_expired(settings)
    threads = _background(state.queue, state.rules, settings)
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        await asyncio.gather(*(run_in_threadpool(thread.stop) for thread in threads))
        state.senders.close()
        storage.close()
        if state.bucket_uploads:
            state.bucket_uploads.close()
        await submitter.close()
        await reader.close()
        connection.close()


async def _connected(app: FastAPI) -> Redis:
    """
    Raises:
        RedisUnavailable: it does not answer for ``START_WAIT_S``.
    """
    state, settings = app.state, app.state.settings
    connection = await run_in_threadpool(connect, settings, attempts_s=START_WAIT_S)
    state.queue = open_queue(settings, connection)
    for first in (partial(state.tokens.connect, state.queue),
                  partial(make_data_dir, settings, state.queue)):  # fmt: skip
        await run_in_threadpool(wait_for_redis, first, START_WAIT_S)
    return connection


def _background(queue: JobQueue, rules: RulesFile, settings: Settings) -> list[Background]:
    maintenance = Maintenance(
        queue, settings.retention_days, lambda: needed_days(rules.current(), settings)
    )
    threads: list[Background] = [
        ReaperThread(queue, maintenance),
        BatchRunnerThread(queue, rules, settings),
        CleanupThread(queue, settings),
        RetentionThread(queue, rules, settings),
    ]
    if settings.sweep_s:
        threads.append(ReconcileThread(queue, rules, settings))
    if settings.callback_secret:
        client = WebhookClient(settings.callback_allow)
        threads.append(WebhookSender(queue.callbacks, settings.callback_secret, client))
    return threads
