"""``/previews``: what a model finds on a few frames, before a job is submitted."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated

from fastapi import APIRouter, Body, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from api import examples
from api.deps import SUBMIT, QueueDep, SubmissionsDep
from api.examples import shown
from api.middleware.problems import documented
from api.submissions import PROMPT_ERRORS
from shoal.errors import (
    InvalidOption,
    LocationForbidden,
    NoWorker,
    PreviewNotFound,
    PreviewUnsupported,
    RedisUnavailable,
    SourceNotFound,
    StorageUnavailable,
    UnreadableRecord,
    UnsupportedLocation,
    UploadTooLarge,
    VideoTooLarge,
)
from shoal.model.preview import Preview, PreviewRequest
from shoal.queue.previews import Previews

MAX_WAIT_S = 30.0
POLL_S = 0.1

router = APIRouter(prefix="/previews", tags=["previews"])


@router.post(
    "",
    status_code=202,
    dependencies=[SUBMIT],
    responses=shown(202, "A worker will answer. 'Location' is the URL.", examples.PREVIEW_WAITS)
    | documented(
        SourceNotFound,
        LocationForbidden,
        UploadTooLarge,
        *PROMPT_ERRORS,
        InvalidOption,
        UnsupportedLocation,
        PreviewUnsupported,
        VideoTooLarge,
        NoWorker,
        RedisUnavailable,
        StorageUnavailable,
    ),
)
async def preview(
    request: Annotated[PreviewRequest, Body(examples=[examples.PREVIEW_REQUEST])],
    submissions: SubmissionsDep,
    response: Response,
) -> Preview:
    """Preview a few frames of a video.

    A connected worker answers within seconds, also while it processes a video. Only parts of the
    video are read, and nothing is kept for longer than an hour.
    """
    made = await submissions.preview(request)
    response.headers["Location"] = f"/previews/{made.id}"
    return made


@router.get(
    "/{preview_id}",
    responses=shown(200, "The preview, as far as it is.", examples.PREVIEW)
    | documented(PreviewNotFound, UnreadableRecord),
)
async def read_preview(
    preview_id: str,
    request: Request,
    queue: QueueDep,
    wait_s: Annotated[
        float, Query(ge=0, le=MAX_WAIT_S, description="How long to wait for further frames.")
    ] = MAX_WAIT_S,
    frames: Annotated[
        int | None,
        Query(ge=0, description="Answer as soon as there are more frames than these."),
    ] = None,
) -> Preview:
    """Get a preview; waits until it has ended, or until there are more frames than ``frames``."""
    previews = Previews(queue.redis, queue.name)
    deadline = time.monotonic() + wait_s
    while True:
        found = await run_in_threadpool(previews.get, preview_id)
        is_new = frames is not None and len(found.frames) > frames
        if found.state.is_final or is_new or time.monotonic() >= deadline:
            return found
        if request.app.state.closing.is_set() or await request.is_disconnected():
            return found
        await asyncio.sleep(POLL_S)


@router.get("/{preview_id}/pictures/{number}", include_in_schema=False)
def read_picture(preview_id: str, number: int, queue: QueueDep) -> Response:
    """Get the picture of a frame, at most 1280 pixels wide."""
    data = Previews(queue.redis, queue.name).picture(preview_id, number)
    headers = {"Cache-Control": "private, max-age=3600", "X-Content-Type-Options": "nosniff"}
    return Response(data, media_type="image/jpeg", headers=headers)
