"""``/docs``: the API reference, served without files from other hosts."""

from __future__ import annotations

from importlib.resources import files

from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

from api.dashboard.render import HEADERS, fragment

# Swagger UI writes styles into its elements, and draws with images in its style sheet.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def install(app: FastAPI) -> None:
    """Serve Swagger UI, which the package ``fastapi_offline`` carries."""
    folder = files("fastapi_offline") / "static"
    app.mount("/docs/static", StaticFiles(directory=str(folder)))

    @app.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        headers = HEADERS | {"Content-Security-Policy": POLICY}
        return HTMLResponse(fragment("docs.html"), headers=headers)
