"""``/ui/login``: a token, once, for a session whose id a browser sends by itself from then on."""

from __future__ import annotations

from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse
from starlette.responses import Response

from api.dashboard.render import page
from api.deps import SettingsDep
from api.middleware.auth import COOKIE, LOGIN
from api.middleware.token_cache import TokenCache
from shoal.errors import Unauthorized

HOME = "/ui"
PAGES = (HOME, "/rq", "/docs", "/videos")  # what a login may lead to; the last: results

router = APIRouter(include_in_schema=False)


@router.get(LOGIN)
def ask(request: Request, settings: SettingsDep, to: str = HOME) -> Response:
    if not settings.api_tokens:
        return RedirectResponse(HOME)
    return page(request, "login.html", to=_inside(to), refused=False)


@router.post(LOGIN)
async def log_in(request: Request) -> Response:
    """
    Raises:
        RateLimited, RedisUnavailable
    """
    known: TokenCache = request.app.state.tokens
    form = parse_qs((await request.body()).decode(errors="replace"))
    token, to = (form.get(name, [""])[0].strip() for name in ("token", "to"))
    if not known.are_needed:
        return RedirectResponse(HOME, 303)
    try:
        caller = await known.admit(token.encode())
    except Unauthorized:
        return page(request, "login.html", 401, to=_inside(to), refused=True)
    answer = RedirectResponse(_inside(to), 303)
    answer.set_cookie(
        COOKIE,
        await known.begin_session(caller),
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return answer


@router.post("/ui/logout")
async def log_out(request: Request) -> Response:
    if caller := request.scope.get("caller"):
        await request.app.state.tokens.end_session(caller)
    answer = RedirectResponse(LOGIN, 303)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer


def _inside(to: str) -> str:
    """An address of ours, whatever a link says: no other site is led to."""
    ours = any(to == page or to.startswith((page + "/", page + "?")) for page in PAGES)
    return to if ours and "\\" not in to and to.isprintable() else HOME
