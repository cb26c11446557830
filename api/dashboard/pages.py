"""``/ui``: the pages."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from starlette.responses import Response

from api.dashboard import views
from api.dashboard.chart import HOURS
from api.dashboard.options import fields
from api.dashboard.render import page
from api.deps import QueueDep, SettingsDep
from api.engines import list_engines
from api.videos import ListQuery
from shoal.errors import RequestError, ShoalError
from shoal.indexes import Filter


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


@router.get("/new")
def new(request: Request, queue: QueueDep, settings: SettingsDep) -> HTMLResponse:
    return page(
        request,
        "new.html",
        engines=list_engines(queue).items,
        fields=fields(),
        max_upload_bytes=settings.max_upload_bytes,
    )


@router.get("/{path:path}")
def nowhere(request: Request, path: str) -> Response:
    if path.endswith("/"):
        return RedirectResponse(f"/ui/{path.rstrip('/')}".rstrip("/"))
    return page(request, "error.html", 404, error=RequestError(f"there is no page {path!r}"))
