"""``/ui/login``: a token, once, for a cookie that a browser sends by itself from then on."""

from __future__ import annotations

from urllib.parse import parse_qs, quote, urlsplit

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse
from starlette.responses import Response

from api.auth import COOKIE, LOGIN
from api.dashboard.render import page
from api.deps import SettingsDep

HOME = "/ui"

router = APIRouter(include_in_schema=False)


@router.get(LOGIN)
def ask(request: Request, settings: SettingsDep, to: str = HOME) -> Response:
    if not settings.api_tokens:
        return RedirectResponse(HOME)
    return page(request, "login.html", to=_inside(to), refused=False)


@router.post(LOGIN)
async def log_in(request: Request) -> Response:
    form = parse_qs((await request.body()).decode(errors="replace"))
    token, to = (form.get(name, [""])[0].strip() for name in ("token", "to"))
    if await request.app.state.known.find(token.encode()) is None:
        return page(request, "login.html", 401, to=_inside(to), refused=True)
    answer = RedirectResponse(_inside(to), 303)
    answer.set_cookie(
        COOKIE,
        quote(token, safe=""),
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return answer


@router.post("/ui/logout")
def log_out() -> Response:
    answer = RedirectResponse(LOGIN, 303)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer


def _inside(to: str) -> str:
    """An address of ours, whatever a link says: no other site is led to."""
    parts = urlsplit(to)
    ours = (
        not parts.scheme
        and not parts.netloc
        and (to == HOME or to.startswith((HOME + "/", HOME + "?")))
    )
    return to if ours and "\\" not in to else HOME
