"""Jinja templates, their filters, and the security headers of every page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pydantic_core import from_json

from shoal import __version__, formatting
from shoal.colours import colour_of
from shoal.model.batch import BatchStatus
from shoal.model.delivery import Delivery
from shoal.model.job import JobSpec
from shoal.model.record import Record
from shoal.model.source_url import is_web, path_of
from shoal.model.token import Token
from shoal.results.layout import result_name

FOLDER = Path(__file__).parent
STATIC = FOLDER / "static"

# Everything is served from this origin, nothing runs inline, no other site may frame a page.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; media-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def page(request: Request, template: str, status: int = 200, **context: Any) -> HTMLResponse:
    """A page as the caller may see it: controls that need more than its scope are hidden."""
    guarded = bool(request.app.state.settings.api_tokens)
    token: Token | None = request.scope.get("token")  # none before the login
    frame = {
        "guarded": guarded,
        "scope": token.scope.value if token else "",
        "paused": token is not None and status == 200 and request.app.state.queue.paused,
    }
    return HTMLResponse(fragment(template, **{**frame, **context}), status, HEADERS)


def fragment(template: str, **context: Any) -> str:
    return _templates.get_template(template).render(context)


def title(spec: JobSpec) -> str:
    """The name of a video: its file name, or the name of its folder."""
    if is_web(spec.uri):
        return path_of(spec.uri).name
    return (
        spec.uri.rstrip("/").rsplit("/", 1)[-1]
        if not spec.uri.startswith("file:")
        else (spec.stem + _suffix(spec.uri))
    )


def _suffix(uri: str) -> str:
    name = uri.rstrip("/").rsplit("/", 1)[-1]
    return "." + name.rsplit(".", 1)[1] if "." in name else ""


def batch_name(batch: BatchStatus) -> str:
    """The name of a batch; without one, its patterns or its number of URIs."""
    return batch.name or ", ".join(batch.globs) or formatting.counted(batch.uris, "URI")


def picture(record: Record) -> str:
    """The URL of the video among a job's results; empty if there is none."""
    names = (result_name(record.spec, kind) for kind in ("overlay", "redact"))
    name = next((name for name in names if name in record.results), "")
    return f"/videos/{record.id}/results/{quote(name, safe='')}" if name else ""


def video_of(delivery: Delivery) -> str:
    """The file name of the video that a webhook is about; a shortened payload has only the id."""
    try:
        uri = str(from_json(delivery.body)["data"].get("uri", ""))
    except (ValueError, TypeError, KeyError, AttributeError):  # not what we write
        uri = ""
    return uri.rstrip("/").rpartition("/")[2] or delivery.job


def pretty(text: str) -> str:
    """JSON, indented; other text unchanged."""
    try:
        return json.dumps(from_json(text), indent=2, ensure_ascii=False)
    except ValueError:
        return text


def outputs(configs: Sequence[Mapping[str, Any]]) -> str:
    """Kinds with their options: 'overlay (trails True), crops (per object 3)'."""
    return ", ".join(f"{each['kind']}{_options(each)}" for each in configs)


def _options(config: Mapping[str, Any]) -> str:
    shown = (f"{k.replace('_', ' ')} {v}" for k, v in config.items() if k != "kind")
    return f" ({text})" if (text := ", ".join(shown)) else ""


def colour(position: int) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour_of(position))


def query(**values: Any) -> str:
    """A query string of the values that are not empty."""
    return urlencode({name: value for name, value in values.items() if value not in ("", None)})


_templates = Environment(
    loader=FileSystemLoader(FOLDER / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters.update(
    ago=formatting.ago, batch_name=batch_name, colour=colour, compute_time=formatting.compute_time,
    counted=formatting.counted, dollars=formatting.dollars, duration=formatting.duration,
    event_text=lambda event: formatting.event_text(event.event, event.detail),
    forecast=formatting.forecast, iso=formatting.iso, label=formatting.label,
    number=formatting.number, outputs=outputs, picture=picture, position=formatting.position,
    pretty=pretty, quoted=lambda name: quote(name, safe=""),
    sampling=formatting.sampling, size=formatting.size, state_name=formatting.state_name,
    title=title, until=formatting.until, utc=formatting.utc, video_of=video_of,
)  # fmt: skip
_templates.globals.update(version=__version__, query=query)
