"""``/rq``: rq-dashboard, for the raw view of Redis. It shows, and changes nothing.

Its buttons would change RQ's tables behind the back of our records, so that only what it reads
with is let through; Shoal's own pages retry and cancel.
"""

from __future__ import annotations

import re
import secrets
from functools import partial
from types import SimpleNamespace

from a2wsgi import WSGIMiddleware
from flask import Flask, Response, abort, request
from rq import Worker
from rq.serializers import JSONSerializer
from rq_dashboard import web
from starlette.types import ASGIApp

from shoal.settings import Settings

RQ = "/rq"
THREADS = 4

# By name, not by method: rq-dashboard requeues all failed jobs on a GET.
READING = frozenset(["static"]) | frozenset(
    f"{web.blueprint.name}.{name}"
    for name in (
        "queues_overview", "workers_overview", "jobs_overview", "job_view",
        "list_queues", "list_workers", "list_jobs", "job_info", "favicon", "static",
    )
)  # fmt: skip

# Its scripts stand in the page, so they get a nonce: what a job's error message or file name
# smuggles into the page does not run.
_POLICY = (
    "default-src 'none'; script-src 'self' 'nonce-{nonce}' 'unsafe-eval'; img-src 'self' data:; "
    "style-src 'self' 'unsafe-inline'; font-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
_SCRIPT = re.compile(rb"<script\b")


def make_app(settings: Settings) -> ASGIApp:
    """rq-dashboard as an ASGI application; ``api.auth.Gate`` has let the request in by then."""
    app = Flask(__name__, static_folder=web.blueprint.static_folder)
    app.config["RQ_DASHBOARD_REDIS_URL"] = settings.redis_url
    app.config["RQ_DASHBOARD_DISABLE_DELETE"] = True
    web.config.serializer = JSONSerializer
    # It would list workers as if their jobs were pickled.
    web.Worker = SimpleNamespace(all=partial(Worker.all, serializer=JSONSerializer))
    web.setup_rq_connection(app)
    app.register_blueprint(web.blueprint)
    app.before_request(_only_reading)
    app.after_request(_guarded)
    return WSGIMiddleware(app, workers=THREADS)  # type: ignore[arg-type,return-value]


def _only_reading() -> None:
    if request.method not in ("GET", "HEAD") or request.endpoint not in READING:
        abort(403, "This view is read-only: retry and cancel on Shoal's own pages.")


def _guarded(response: Response) -> Response:
    nonce = secrets.token_urlsafe(16)
    if response.mimetype == "text/html":
        with_nonce = f'<script nonce="{nonce}"'.encode()
        response.set_data(_SCRIPT.sub(with_nonce, response.get_data()))
    response.headers["Content-Security-Policy"] = _POLICY.format(nonce=nonce)
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "same-origin"
    return response
