"""How the command line and the dashboard write sizes, durations, times, money and codes."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from string import Formatter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shoal.model.record import Progress

NONE = "–"  # stands for a value that is not known
SMALLEST_DOLLARS = 0.0001
ACRONYMS = {"gpu": "GPU", "api": "API", "uri": "URI", "mot": "MOT", "fps": "fps", "id": "ID"}

# What the code alone does not say well: the reasons why an upload led to no job, and some errors.
LABELS = {
    "no_rule": "No matching rule",
    "temporary_name": "Temporary file",
    "wrong_suffix": "Unsupported file type",
    "own_result": "Shoal output",
    "gone": "Deleted",
    "poisonous_video": "Video repeatedly crashes the worker",
    "sample_fps": "Sampling rate (fps)",
    "sequence_fps": "Image sequence frame rate (fps)",
}

# The events of a job's timeline as sentences; the braces name fields of the event's detail.
EVENTS = {
    "started": "Attempt {attempt} started on {worker}",
    "part": "Segment {number} saved ({frames} frames so far)",
    "resumed": "Resumed after segment {part}",
    "failure": "{message}",
    "failed": "Failed: {code}",
    "priority": "Priority: {priority}",
    "cancel_requested": "Cancellation requested",
}

# A worker that vanished, or had to go, and what became of its job.
INTERRUPTIONS = {
    "preempted": "Worker {worker} was preempted",
    "lost": "Lost contact with {worker}",
}
THEN = {"front": "requeued", "end": "requeued at the end", "failed": "given up"}


def dollars(amount: float) -> str:
    """US dollars, such as '$1.24', '$0.0091', 'under $0.0001'."""
    if 0 < amount < SMALLEST_DOLLARS:
        return f"under ${SMALLEST_DOLLARS}"
    return f"${amount:,.2f}" if amount >= 0.1 or not amount else f"${amount:.4f}"


def size(count: float) -> str:
    """Bytes in decimal units, such as '999 B', '1.5 kB', '734 GB'."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 99.5 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def duration(seconds: float | None) -> str:
    """Such as '1.2 s', '42 s', '3 min 5 s', '2 h 10 min', '4 d 3 h'.

    '–' for ``None``, and for a value that is no number.
    """
    if seconds is None or not math.isfinite(seconds):
        return NONE
    if seconds < 0.05:
        return "0 s"
    if seconds < 9.95 and round(seconds, 1) % 1:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for length, unit, rest_length, rest_unit in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= length:
            rest = whole % length // rest_length
            return f"{whole // length} {unit}" + (f" {rest} {rest_unit}" if rest else "")
    return f"{whole} s"


def compute_time(seconds: float) -> str:
    """A sum over workers: as ``duration``, but in hours from ten hours on, such as '26 h'."""
    return f"{number(seconds / 3600)} h" if seconds >= 36_000 else duration(seconds)


def ago(at: float | None) -> str:
    """How long ago a time in seconds since the epoch was, in one unit; '–' for ``None`` or 0."""
    if not at:
        return NONE
    seconds = max(0.0, time.time() - at)
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{int(seconds // length)} {unit} ago"
    return "just now" if seconds < 5 else f"{int(seconds)} s ago"


def until(at: float) -> str:
    """How long until a time in seconds since the epoch: 'in 5 min', or 'now'."""
    seconds = at - time.time()
    return f"in {duration(seconds)}" if seconds > 1 else "now"


def position(seconds: float) -> str:
    """A position in a video, such as '0:07' or '1:02:03'."""
    hours, rest = divmod(int(seconds), 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def utc(at: float | None) -> str:
    """Such as '2026-01-31 12:00:00 UTC'; empty for ``None`` or 0."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC" if at else ""


def local(at: float) -> str:
    """The same in the time zone of this machine, such as '2026-01-31 13:00:00'."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def iso(at: float) -> str:
    """ISO 8601 in UTC, such as '2026-01-31T12:00:00+00:00'."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def number(value: float) -> str:
    """A whole number with thin spaces between thousands."""
    return f"{value:,.0f}".replace(",", "\u202f")


def counted(count: float, noun: str, plural: str = "") -> str:
    """Such as '1 frame', '2 frames', '3 tries' (with ``plural``)."""
    return f"{number(count)} {noun if count == 1 else plural or noun + 's'}"


def sampling(fps: float | str) -> str:
    """The option ``sample_fps``: '5 fps', 'All frames' for 0, or 'Automatic'."""
    if isinstance(fps, str):
        return "Automatic"
    return f"{fps:g} fps" if fps else "All frames"


def forecast(progress: Progress) -> str:
    """How many frames an attempt will write and what that takes, in sentences; empty while nothing
    is known, and for all frames of a video where 'auto' has taken them."""
    known = progress.forecast
    takes = _takes(known.seconds, known.cost)
    if not (known.reason and known.sampled_fps):
        return f"{counted(progress.frames_expected, 'frame')}: {takes}." if takes else ""
    chosen = f"{known.sampled_fps:g} frame per second will be processed"
    if frames := progress.frames_expected:
        chosen = (
            f"{number(frames)} of {counted(known.all_frames, 'frame')} will be processed, "
            f"{known.sampled_fps:g} per second"
        )
    chosen += f", because {known.reason}" + (f": {takes}" if takes else "")
    if not known.all_frames_s:
        return f"{chosen}. For all frames, submit it with sample_fps 0."
    return (
        f"{chosen}. All frames (sample_fps 0) would take "
        f"{_takes(known.all_frames_s, known.all_frames_cost)}."
    )


def _takes(seconds: float, cost: float) -> str:
    return f"about {duration(seconds)}" + (f" ({dollars(cost)})" if cost else "") if seconds else ""


def label(code: str) -> str:
    """A code in words: 'model_process_died' is 'Model process died'."""
    if known := LABELS.get(code):
        return known
    words = [ACRONYMS.get(word, word) for word in code.split("_")]
    text = " ".join(words)
    return text[:1].upper() + text[1:]


def state_name(state: str) -> str:
    """The state of a job, a batch, a worker or a delivery, as users read it."""
    return "listing files" if state == "expanding" else state


def event_text(event: str, detail: Mapping[str, Any]) -> str:
    """An event of a job's timeline as a sentence; an event without one as its name and detail."""
    if event in INTERRUPTIONS and "worker" in detail:
        return _interruption(event, detail)
    retry_at = detail.get("retry_at")
    if event == "queued" and isinstance(retry_at, float) and 0 < retry_at < 1e11:
        return f"Retries at {utc(retry_at)}"
    text = EVENTS.get(event)
    if text and {name for _, name, _, _ in Formatter().parse(text) if name} <= detail.keys():
        return text.format(**detail)
    shown = ", ".join(f"{name} {value}" for name, value in detail.items() if name != "hint")
    return label(event) + (f": {shown}" if shown else "")


def _interruption(event: str, detail: Mapping[str, Any]) -> str:
    text = INTERRUPTIONS[event].format(worker=detail["worker"])
    if stage := detail.get("stage"):
        frame = f", frame {detail['frames']}" if detail.get("frames") else ""
        text += f" (stage {stage}{frame})"
    if losses := detail.get("losses"):
        text += f", loss {losses} without progress"
    return f"{text}; {THEN[detail.get('then', 'front')]}"
