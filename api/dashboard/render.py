"""Templates, how they show values, and the headers that every page carries."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from string import Formatter
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from shoal import __version__
from shoal.batch_wire import BatchStatus
from shoal.callbacks import Delivery
from shoal.colours import colour_of
from shoal.jobs import JobSpec
from shoal.money import dollars
from shoal.records import TimelineEvent, now

FOLDER = Path(__file__).parent
STATIC = FOLDER / "static"

# Everything comes from here, nothing runs inline, and no other site may frame a page.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; media-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def page(request: Request, template: str, status: int = 200, **context: Any) -> HTMLResponse:
    guarded = bool(request.app.state.settings.api_tokens)
    return HTMLResponse(fragment(template, guarded=guarded, **context), status, HEADERS)


def fragment(template: str, **context: Any) -> str:
    return _templates.get_template(template).render(context)


def duration(seconds: float | None) -> str:
    """Such as '42 s', '3 min 5 s', '2 h 10 min', '4 d 3 h'."""
    if seconds is None:
        return "–"
    whole = round(seconds)
    if seconds < 0.05:
        return "0 s"
    if whole < 10 and seconds and whole != seconds:
        return f"{seconds:.1f} s"
    for size, unit, small_size, small_unit in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // small_size
            return f"{whole // size} {unit}" + (f" {rest} {small_unit}" if rest else "")
    return f"{whole} s"


def ago(at: float | None) -> str:
    """How long ago, in one unit: it need not be exact."""
    if not at:
        return "–"
    seconds = max(0.0, now() - at)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return "just now" if seconds < 5 else f"{int(seconds)} s ago"


def clock(seconds: float) -> str:
    """A place in a video: '0:07', '1:02:03'."""
    hours, rest = divmod(int(seconds), 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def utc(at: float | None) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC" if at else ""


def iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return ""


def number(value: float) -> str:
    """With thin spaces between thousands."""
    return f"{value:,.0f}".replace(",", "\u202f")


def title(spec: JobSpec) -> str:
    """What a video is called: its file's name, or its folder's."""
    return (
        spec.uri.rstrip("/").rsplit("/", 1)[-1]
        if not spec.uri.startswith("file:")
        else (spec.stem + _suffix(spec.uri))
    )


def _suffix(uri: str) -> str:
    name = uri.rstrip("/").rsplit("/", 1)[-1]
    return "." + name.rsplit(".", 1)[1] if "." in name else ""


def words(code: str) -> str:
    """A code as words: 'model_process_died' is 'Model process died'."""
    return code.replace("_", " ").capitalize()


def told(event: TimelineEvent) -> str:
    """An event of a timeline as a sentence."""
    known = _EVENTS.get(event.event)
    if known is None or not known.keys <= event.detail.keys():
        detail = ", ".join(f"{name} {value}" for name, value in event.detail.items())
        return words(event.event) + (f": {detail}" if detail else "")
    return known.text.format(**event.detail)


class _Told:
    def __init__(self, text: str) -> None:
        self.text = text
        self.keys = {name for _, name, _, _ in Formatter().parse(text) if name}


_EVENTS = {
    "started": _Told("Attempt {attempt} on {worker}"),
    "part": _Told("Part {number} saved, {frames} frames so far"),
    "resumed": _Told("Continued after part {part}"),
    "failure": _Told("{message}"),
    "failed": _Told("Failed: {code}"),
    "preempted": _Told("{worker} had to go: back to the queue"),
    "lost": _Told("{worker} is gone: back to the queue"),
    "priority": _Told("Priority: {priority}"),
    "cancel_requested": _Told("Asked to stop"),
}


def batch_name(batch: BatchStatus) -> str:
    """What a batch is called, or of what it is made."""
    several = f"{batch.uris} address" + ("" if batch.uris == 1 else "es")
    return batch.name or ", ".join(batch.globs) or several


def until(at: float) -> str:
    """How long until a time."""
    seconds = at - now()
    return f"in {duration(seconds)}" if seconds > 1 else "now"


def video_of(delivery: Delivery) -> str:
    """The file's name, of what a delivery tells of; a long message leaves it out."""
    uri = str(json.loads(delivery.body)["data"].get("uri", ""))
    return uri.rstrip("/").rpartition("/")[2] or delivery.job


def pretty(text: str) -> str:
    """JSON on several lines; anything else as it is."""
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:
        return text


def outputs(wanted: Sequence[Mapping[str, Any]]) -> str:
    """Kinds with their options: 'overlay (trails True), crops (per object 3)'."""
    return ", ".join(f"{each['kind']}{_options(each)}" for each in wanted)


def _options(output: Mapping[str, Any]) -> str:
    told = (f"{k.replace('_', ' ')} {v}" for k, v in output.items() if k != "kind")
    return f" ({text})" if (text := ", ".join(told)) else ""


def colour(position: int) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour_of(position))


def query(**values: Any) -> str:
    """A query string of what is not empty."""
    return urlencode({name: value for name, value in values.items() if value not in ("", None)})


_templates = Environment(
    loader=FileSystemLoader(FOLDER / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters.update(
    told=told, batch_name=batch_name, dollars=dollars, until=until, video_of=video_of,
    pretty=pretty, outputs=outputs,
    ago=ago, clock=clock, colour=colour, duration=duration, iso=iso, number=number, size=size,
    title=title, utc=utc, words=words, quoted=lambda name: quote(name, safe=""),
)  # fmt: skip
_templates.globals.update(version=__version__, query=query)
