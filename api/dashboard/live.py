"""``/live``: the changing parts of a page, as server-sent events.

Each event carries every region of the page that has changed since the one before; the first of a
connection carries them all. So a page that was cut off is up to date with its next connection,
and nothing has to be remembered for it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from api.dashboard import ingest_views, views
from api.dashboard.pages import Cursor, Wanted
from api.dashboard.render import fragment
from api.deps import SettingsDep
from api.videos import ListQuery
from shoal.errors import BatchNotFound, JobNotFound, RedisUnavailable
from shoal.indexes import Filter
from shoal.queue import JobQueue, redis_errors

EVERY_S = 1.0
LIST_EVERY_S = 3.0
QUIET_S = 15.0  # a proxy must not take a quiet stream for a dead one
RECONNECT_MS = 1000

Regions = dict[str, str]  # id of the element -> its new content, as HTML

router = APIRouter(prefix="/live", include_in_schema=False)


@router.get("/overview")
def live_overview(
    request: Request, hours: Annotated[int, Query(ge=1, le=24)] = 6
) -> StreamingResponse:
    queue: JobQueue = request.app.state.queue
    return _stream(request, lambda: overview_regions(queue, hours), EVERY_S)


@router.get("/videos")
def live_videos(request: Request, wanted: Annotated[ListQuery, Query()]) -> StreamingResponse:
    queue: JobQueue = request.app.state.queue
    only = Filter(**wanted.model_dump(include=set(Filter.model_fields)))
    return _stream(request, lambda: videos_regions(queue, only, wanted.cursor), LIST_EVERY_S)


@router.get("/videos/{job_id}")
def live_video(request: Request, job_id: str, settings: SettingsDep) -> StreamingResponse:
    queue: JobQueue = request.app.state.queue

    def build() -> Regions:
        context = views.video(queue, settings, job_id)
        regions = {name: fragment(f"video/{name}.html", **context) for name in views.VIDEO_REGIONS}
        return regions | {"player": json.dumps(context["player"])}

    return _stream(request, build, EVERY_S)


@router.get("/batches")
def live_batches(request: Request, cursor: Cursor = "") -> StreamingResponse:
    queue: JobQueue = request.app.state.queue

    def build() -> Regions:
        return {"rows": fragment("batches/rows.html", **ingest_views.batches(queue, cursor))}

    return _stream(request, build, LIST_EVERY_S)


@router.get("/batches/{batch_id}")
def live_batch(request: Request, batch_id: str) -> StreamingResponse:
    queue: JobQueue = request.app.state.queue

    def build() -> Regions:
        context = ingest_views.batch(queue, batch_id)
        return {n: fragment(f"batch/{n}.html", **context) for n in ingest_views.BATCH_REGIONS}

    return _stream(request, build, EVERY_S)


@router.get("/callbacks")
def live_callbacks(
    request: Request, settings: SettingsDep, wanted: Annotated[Wanted, Query()]
) -> StreamingResponse:
    queue: JobQueue = request.app.state.queue

    def build() -> Regions:
        context = ingest_views.callbacks(queue, settings, **dict(wanted))
        return {"rows": fragment("callbacks/rows.html", **context)}

    return _stream(request, build, EVERY_S)


@router.get("/skipped")
def live_skipped(request: Request) -> StreamingResponse:
    queue: JobQueue = request.app.state.queue

    def build() -> Regions:
        return {"rows": fragment("skipped/rows.html", **ingest_views.skipped(queue))}

    return _stream(request, build, LIST_EVERY_S)


def overview_regions(queue: JobQueue, hours: int) -> Regions:
    context = views.overview(queue, hours)
    return {name: fragment(f"overview/{name}.html", **context) for name in views.OVERVIEW_REGIONS}


def videos_regions(queue: JobQueue, wanted: Filter, cursor: str) -> Regions:
    return {"rows": fragment("videos/rows.html", **views.videos(queue, wanted, cursor))}


def _stream(request: Request, build: Callable[[], Regions], every_s: float) -> StreamingResponse:
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(
        _events(build, every_s, request.app.state.closing),
        headers=headers,
        media_type="text/event-stream",
    )


async def _events(
    build: Callable[[], Regions], every_s: float, closing: asyncio.Event
) -> AsyncIterator[str]:
    yield f"retry: {RECONNECT_MS}\n\n"
    sent: Regions = {}
    quiet_s = 0.0
    while not closing.is_set():
        try:
            regions = await run_in_threadpool(_built, build)
        except RedisUnavailable as error:
            yield f"event: away\ndata: {json.dumps(str(error))}\n\n"
            sent = {}
        except (JobNotFound, BatchNotFound):
            yield "event: gone\ndata: {}\n\n"
            return
        else:
            changed = {name: html for name, html in regions.items() if sent.get(name) != html}
            if changed:
                yield f"data: {json.dumps(changed)}\n\n"
                quiet_s = 0.0
            sent = regions
        if quiet_s >= QUIET_S:
            yield ": still here\n\n"
            quiet_s = 0.0
        with suppress(TimeoutError):
            await asyncio.wait_for(closing.wait(), every_s)
        quiet_s += every_s


def _built(build: Callable[[], Regions]) -> Regions:
    with redis_errors():
        return build()
