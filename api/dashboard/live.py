"""``/live``: the regions of a page that change, as server-sent events.

Each event carries every region that changed since the event before; the first event of a
connection carries all of them. A page that reconnects is therefore up to date at once, and the
server keeps no state for it. All who look at one page share its renders
(``api.dashboard.shared``).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from api.dashboard import ingest_views, refine_views, rq_pages, views
from api.dashboard.pages import Cursor, DeliveriesQuery
from api.dashboard.render import fragment
from api.dashboard.shared import Regions, SharedRenders
from api.deps import SettingsDep, StorageDep
from api.middleware.auth import Watch
from api.routes.videos import ListQuery
from shoal.errors import BatchNotFound, JobNotFound, RedisUnavailable
from shoal.model.filter import Filter
from shoal.queue.queue import JobQueue

EVERY_S = 1.0
LIST_EVERY_S = 2.0
QUIET_S = 5.0  # after this the page is told that the server is there; static/live.js waits 12 s
RECONNECT_MS = 1000

router = APIRouter(prefix="/live", include_in_schema=False)


@router.get("/overview")
def live_overview(
    request: Request, hours: Annotated[int, Query(ge=1, le=24)] = 6
) -> StreamingResponse:
    queue: JobQueue = request.app.state.queue
    return _stream(request, lambda: overview_regions(queue, hours), EVERY_S, tells_pause=False)


@router.get("/videos")
def live_videos(request: Request, query: Annotated[ListQuery, Query()]) -> StreamingResponse:
    queue: JobQueue = request.app.state.queue
    filters = Filter(**query.model_dump(include=set(Filter.model_fields)))
    return _stream(request, lambda: videos_regions(queue, filters, query.cursor), LIST_EVERY_S)


@router.get("/videos/{job_id}")
def live_video(
    request: Request,
    job_id: str,
    settings: SettingsDep,
    storage: StorageDep,
    shown: Annotated[views.Lanes, Query()],
) -> StreamingResponse:
    queue: JobQueue = request.app.state.queue

    def build() -> Regions:
        context = views.video(queue, settings, storage, job_id, shown)
        regions = {name: fragment(f"video/{name}.html", **context) for name in views.VIDEO_REGIONS}
        edit = refine_views.edit(context["record"], settings)
        return regions | {"player": json.dumps(context["player"]), "editing": json.dumps(edit)}

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
    request: Request, settings: SettingsDep, query: Annotated[DeliveriesQuery, Query()]
) -> StreamingResponse:
    queue: JobQueue = request.app.state.queue

    def build() -> Regions:
        context = ingest_views.callbacks(queue, settings, **dict(query))
        return {"rows": fragment("callbacks/rows.html", **context)}

    return _stream(request, build, EVERY_S)


@router.get("/skipped")
def live_skipped(request: Request) -> StreamingResponse:
    queue: JobQueue = request.app.state.queue

    def build() -> Regions:
        return {"rows": fragment("skipped/rows.html", **ingest_views.skipped(queue))}

    return _stream(request, build, LIST_EVERY_S)


@router.get("/rq")
def live_rq(request: Request) -> StreamingResponse:
    queue: JobQueue = request.app.state.queue

    def build() -> Regions:
        context = rq_pages.overview_values(queue)
        return {name: fragment(f"rq/{name}.html", **context) for name in rq_pages.REGIONS}

    return _stream(request, build, LIST_EVERY_S)


def overview_regions(queue: JobQueue, hours: int) -> Regions:
    context = views.overview(queue, hours)
    return {name: fragment(f"overview/{name}.html", **context) for name in views.OVERVIEW_REGIONS}


def videos_regions(queue: JobQueue, filters: Filter, cursor: str) -> Regions:
    context = views.videos(queue, filters, cursor)
    return {name: fragment(f"videos/{name}.html", **context) for name in views.LIST_REGIONS}


def _stream(
    request: Request, build: Callable[[], Regions], every_s: float, *, tells_pause: bool = True
) -> StreamingResponse:
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    renders: SharedRenders = request.app.state.renders
    page = (request.url.path, request.url.query)
    queue: JobQueue = request.app.state.queue

    def all_regions() -> Regions:
        paused = {"paused": fragment("paused.html", paused=queue.paused)} if tells_pause else {}
        return paused | build()

    look = partial(renders.get, page, all_regions, every_s)
    watch: Watch | None = request.scope.get("watch")  # without tokens there is none
    return StreamingResponse(
        _events(look, every_s, request.app.state.closing, watch),
        headers=headers,
        media_type="text/event-stream",
    )


async def _events(
    look: Callable[[], Awaitable[Regions]],
    every_s: float,
    closing: asyncio.Event,
    watch: Watch | None,
) -> AsyncIterator[str]:
    """
    Args:
        look: gives the regions as they are now, each as JSON.
    """
    yield f"retry: {RECONNECT_MS}\n\n"
    sent: Regions = {}
    quiet_s = 0.0
    while not closing.is_set():
        if watch and await watch.is_over():  # logged out, or the token was revoked
            yield "event: left\ndata: {}\n\n"
            return
        try:
            regions = await look()
        except RedisUnavailable as error:
            yield f"event: away\ndata: {json.dumps(str(error))}\n\n"
            sent = {}
        except (JobNotFound, BatchNotFound):
            yield "event: gone\ndata: {}\n\n"
            return
        else:
            changed = {name: html for name, html in regions.items() if sent.get(name) != html}
            if changed:
                parts = (f"{json.dumps(name)}: {html}" for name, html in changed.items())
                yield f"data: {{{', '.join(parts)}}}\n\n"
                quiet_s = 0.0
            sent = regions
        if quiet_s >= QUIET_S:
            yield "event: here\ndata: {}\n\n"
            quiet_s = 0.0
        with suppress(TimeoutError):
            await asyncio.wait_for(closing.wait(), until_tick(every_s))
        quiet_s += every_s


def until_tick(every_s: float) -> float:
    """Seconds until the next look. All viewers of a page look at one time, and share the render
    of then; each at a time of its own, two would be made where one does."""
    return every_s - asyncio.get_running_loop().time() % every_s
