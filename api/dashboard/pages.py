"""``/ui``: the pages."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field, field_validator
from starlette.responses import Response

from api.dashboard import ingest_views, refine_views, views
from api.dashboard.chart import HOURS
from api.dashboard.options import fields, outputs
from api.dashboard.render import page
from api.deps import QueueDep, RulesDep, SettingsDep, StorageDep
from api.routes.engines import list_engines
from api.routes.videos import CURSOR, ListQuery
from shoal.errors import RequestError, ShoalError
from shoal.formatting import label
from shoal.model.delivery import DeliveryState
from shoal.model.filter import Filter
from shoal.model.ids import JOB_ID
from shoal.model.job import AUTO_ALL_FRAMES_S
from shoal.model.share import Level

Cursor = Annotated[str, Query(pattern=CURSOR)]


class DeliveriesQuery(BaseModel):
    """The filters of the page of webhooks."""

    state: DeliveryState | None = None
    job: str = Field("", pattern=f"^({JOB_ID})?$")
    cursor: str = Field("", pattern=r"^(\d{1,9})?$")

    @field_validator("state", mode="before")
    @classmethod
    def _empty_is_none(cls, value: Any) -> Any:
        return value or None


class VideosQuery(ListQuery):
    """The filters of the list of videos: those of ``GET /videos``, and an inclusive last day."""

    to: date | None = None

    @field_validator("to", mode="before")
    @classmethod
    def _no_day(cls, value: Any) -> Any:
        return value or None


def _end_of(day: date) -> datetime:
    return datetime.combine(day, time(), UTC) + timedelta(days=1)


class PageRoute(APIRoute):
    """Renders errors as an HTML page instead of a problem document."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handler(request: Request) -> Response:
            try:
                return await handle(request)
            except ShoalError as error:
                return _error(request, error.http_status, error)
            except RequestValidationError as invalid:
                fault = invalid.errors()[0]
                message = f"{'.'.join(str(part) for part in fault['loc'][1:])}: {fault['msg']}"
                return _error(request, 422, RequestError(message))

        return handler


def _error(request: Request, status: int, error: ShoalError, title: str = "") -> HTMLResponse:
    """An error page. Hints that name a command of the CLI are replaced by links."""
    hint = "" if "'shoal " in error.hint else error.hint
    context = {"title": title or label(error.code), "message": str(error), "hint": hint}
    return page(request, "error.html", status, **context)


router = APIRouter(prefix="/ui", include_in_schema=False, route_class=PageRoute)


@router.get("")
def overview(
    request: Request, queue: QueueDep, hours: Annotated[int, Query(ge=1, le=24)] = 6
) -> HTMLResponse:
    hours = min(HOURS, key=lambda choice: abs(choice - hours))
    return page(request, "overview.html", **views.overview(queue, hours), choices=HOURS)


@router.get("/videos")
def videos(
    request: Request, queue: QueueDep, query: Annotated[VideosQuery, Query()]
) -> HTMLResponse:
    filters = Filter(**query.model_dump(include=set(Filter.model_fields)))
    if query.to:
        filters = filters.model_copy(update={"before": _end_of(query.to)})
    return page(request, "videos.html", **views.videos(queue, filters, query.cursor))


@router.get("/videos/{job_id}")
def video(
    request: Request,
    job_id: str,
    queue: QueueDep,
    settings: SettingsDep,
    storage: StorageDep,
    shown: Annotated[views.Lanes, Query()],
) -> HTMLResponse:
    context = views.video(queue, settings, storage, job_id, shown)
    context |= refine_views.refine(queue, settings, context["record"])
    return page(request, "video.html", **context, shown=shown)


@router.get("/batches")
def batches(request: Request, queue: QueueDep, cursor: Cursor = "") -> HTMLResponse:
    return page(request, "batches.html", **ingest_views.batches(queue, cursor))


@router.get("/batches/{batch_id}")
def batch(request: Request, batch_id: str, queue: QueueDep) -> HTMLResponse:
    return page(request, "batch.html", **ingest_views.batch(queue, batch_id))


@router.get("/callbacks")
def callbacks(
    request: Request,
    queue: QueueDep,
    settings: SettingsDep,
    query: Annotated[DeliveriesQuery, Query()],
) -> HTMLResponse:
    context = ingest_views.callbacks(queue, settings, **dict(query))
    return page(request, "callbacks.html", **context)


@router.get("/skipped")
def skipped(request: Request, queue: QueueDep) -> HTMLResponse:
    return page(request, "skipped.html", **ingest_views.skipped(queue))


@router.get("/rules")
def rules(
    request: Request,
    file: RulesDep,
    queue: QueueDep,
    settings: SettingsDep,
    storage: StorageDep,
    uri: Annotated[str, Query(max_length=4096)] = "",
    count: bool = False,
) -> HTMLResponse:
    counting = storage if count else None
    context = ingest_views.rules(file, queue, settings, uri.strip(), counting)
    return page(request, "rules.html", **context)


@router.get("/new")
def new(request: Request, queue: QueueDep, settings: SettingsDep) -> HTMLResponse:
    return page(
        request,
        "new.html",
        engines=list_engines(queue).items,
        fields=fields(),
        outputs=outputs(),
        priorities=list(Level),
        all_frames_s=AUTO_ALL_FRAMES_S,
        max_upload_bytes=settings.max_upload_bytes,
    )


@router.get("/{path:path}")
def not_found(request: Request, path: str) -> Response:
    if path.endswith("/"):
        return RedirectResponse(f"/ui/{path.rstrip('/')}".rstrip("/"))
    error = RequestError(f"/ui/{path} does not exist.", hint="Check the address.")
    return _error(request, 404, error, title="Page not found")
