"""``/ui``: the pages."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field, field_validator
from starlette.responses import Response

from api.dashboard import ingest_views, views
from api.dashboard.chart import HOURS
from api.dashboard.options import fields, outputs
from api.dashboard.render import page
from api.deps import QueueDep, RulesDep, SettingsDep
from api.engines import list_engines
from api.videos import CURSOR, ListQuery
from shoal.callbacks import DeliveryState
from shoal.errors import RequestError, ShoalError
from shoal.indexes import Filter

Cursor = Annotated[str, Query(pattern=CURSOR)]


class Wanted(BaseModel):
    """The deliveries that a page of callbacks shows."""

    state: DeliveryState | None = None
    job: str = Field("", pattern="^([0-9a-f]{24})?$")
    cursor: str = Field("", pattern=r"^(\d{1,9})?$")

    @field_validator("state", mode="before")
    @classmethod
    def _empty_is_none(cls, value: Any) -> Any:
        return value or None


class PageRoute(APIRoute):
    """Shows errors as a page, not as a problem document."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handler(request: Request) -> Response:
            try:
                return await handle(request)
            except ShoalError as error:
                return page(request, "error.html", error.http_status, error=error)
            except RequestValidationError as invalid:
                fault = invalid.errors()[0]
                message = f"{'.'.join(str(part) for part in fault['loc'][1:])}: {fault['msg']}"
                return page(request, "error.html", 422, error=RequestError(message))

        return handler


router = APIRouter(prefix="/ui", include_in_schema=False, route_class=PageRoute)


@router.get("")
def overview(
    request: Request, queue: QueueDep, hours: Annotated[int, Query(ge=1, le=24)] = 6
) -> HTMLResponse:
    hours = min(HOURS, key=lambda known: abs(known - hours))
    return page(request, "overview.html", **views.overview(queue, hours), choices=HOURS)


@router.get("/videos")
def videos(
    request: Request, queue: QueueDep, wanted: Annotated[ListQuery, Query()]
) -> HTMLResponse:
    only = Filter(**wanted.model_dump(include=set(Filter.model_fields)))
    return page(request, "videos.html", **views.videos(queue, only, wanted.cursor))


@router.get("/videos/{job_id}")
def video(request: Request, job_id: str, queue: QueueDep, settings: SettingsDep) -> HTMLResponse:
    return page(request, "video.html", **views.video(queue, settings, job_id))


@router.get("/batches")
def batches(request: Request, queue: QueueDep, cursor: Cursor = "") -> HTMLResponse:
    return page(request, "batches.html", **ingest_views.batches(queue, cursor))


@router.get("/batches/{batch_id}")
def batch(request: Request, batch_id: str, queue: QueueDep) -> HTMLResponse:
    return page(request, "batch.html", **ingest_views.batch(queue, batch_id))


@router.get("/callbacks")
def callbacks(
    request: Request, queue: QueueDep, settings: SettingsDep, wanted: Annotated[Wanted, Query()]
) -> HTMLResponse:
    context = ingest_views.callbacks(queue, settings, **dict(wanted))
    return page(request, "callbacks.html", **context)


@router.get("/skipped")
def skipped(request: Request, queue: QueueDep) -> HTMLResponse:
    return page(request, "skipped.html", **ingest_views.skipped(queue))


@router.get("/rules")
def rules(
    request: Request,
    file: RulesDep,
    settings: SettingsDep,
    uri: Annotated[str, Query(max_length=4096)] = "",
) -> HTMLResponse:
    return page(request, "rules.html", **ingest_views.rules(file, settings, uri.strip()))


@router.get("/new")
def new(request: Request, queue: QueueDep, settings: SettingsDep) -> HTMLResponse:
    return page(
        request,
        "new.html",
        engines=list_engines(queue).items,
        fields=fields(),
        outputs=outputs(),
        max_upload_bytes=settings.max_upload_bytes,
    )


@router.get("/{path:path}")
def nowhere(request: Request, path: str) -> Response:
    if path.endswith("/"):
        return RedirectResponse(f"/ui/{path.rstrip('/')}".rstrip("/"))
    return page(request, "error.html", 404, error=RequestError(f"there is no page {path!r}"))
