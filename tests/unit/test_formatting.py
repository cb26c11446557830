"""How sizes, durations, times, money and codes are written, on the command line and on pages."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from shoal import formatting
from shoal.model.record import Forecast, Progress, TimelineEvent

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "–"),
        (0, "0 s"),
        (0.04, "0 s"),
        (1.25, "1.2 s"),
        (5, "5 s"),
        (9.97, "10 s"),
        (42.4, "42 s"),
        (59.7, "1 min"),
        (125, "2 min 5 s"),
        (3600, "1 h"),
        (7800, "2 h 10 min"),
        (90000, "1 d 1 h"),
    ],
)
def test_durations(seconds: float | None, shown: str) -> None:
    assert formatting.duration(seconds) == shown


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        (0, "$0.00"),
        (0.000005, "under $0.0001"),
        (0.0091, "$0.0091"),
        (0.15, "$0.15"),
        (1234.5, "$1,234.50"),
    ],
)
def test_money(amount: float, shown: str) -> None:
    assert formatting.dollars(amount) == shown


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (999.6, "1.0 kB"),
        (1500, "1.5 kB"),
        (2_500_000, "2.5 MB"),
        (999_999, "1.0 MB"),
        (734_003_000_000, "734 GB"),
        (50 * 1024**4, "55.0 TB"),
    ],
)
def test_sizes(count: float, shown: str) -> None:
    assert formatting.size(count) == shown


def test_numbers_and_positions() -> None:
    assert formatting.number(1234567) == "1\u202f234\u202f567"
    assert formatting.counted(1, "frame") == "1 frame"
    assert formatting.counted(0, "try", "tries") == "0 tries"
    assert (formatting.position(7.9), formatting.position(3723)) == ("0:07", "1:02:03")
    assert formatting.sampling(0) == "All frames"
    assert formatting.sampling(2.5) == "2.5 fps"
    assert formatting.compute_time(26 * 3600) == "26 h"
    assert formatting.compute_time(125) == "2 min 5 s"


def test_forecasts() -> None:
    said = formatting.forecast
    told = Forecast(sampled_fps=1, reason="it is longer than 60 s", all_frames=2000)
    assert said(Progress(frames_expected=80, forecast=told)) == (
        "80 of 2\u202f000 frames will be processed, 1 per second, because it is longer than 60 s. "
        "For all frames, submit it with sample_fps 0."
    )
    timed = told.model_copy(update={"seconds": 20.0, "all_frames_s": 3600.0}).priced(3.6)
    assert said(Progress(frames_expected=80, forecast=timed)).endswith(
        "60 s: about 20 s ($0.0200). All frames (sample_fps 0) would take about 1 h ($3.60)."
    )
    unknown = Forecast(sampled_fps=1, reason="the file does not say how long it is")
    assert said(Progress(forecast=unknown)).startswith("1 frame per second will be processed, beca")
    chosen = Forecast(all_frames=2000, seconds=600)
    assert said(Progress(frames_expected=2000, forecast=chosen)).endswith("frames: about 10 min.")
    assert said(Progress(frames_expected=2000)) == ""


def test_times(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_760_000_400.0
    monkeypatch.setattr(time, "time", lambda: now)
    assert [formatting.ago(now - s) for s in (0, 42, 61, 7300, 90_000)] == [
        "just now", "42 s ago", "1 min ago", "2 h ago", "1 d ago"
    ]  # fmt: skip
    assert formatting.ago(now + 60) == "just now"  # a clock that is ahead
    assert formatting.ago(None) == "–"
    assert (formatting.until(now + 90), formatting.until(now - 90)) == ("in 1 min 30 s", "now")
    assert formatting.utc(now) == "2025-10-09 09:00:00 UTC"
    assert formatting.iso(now) == "2025-10-09T09:00:00+00:00"


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("model_process_died", "Model process died"),
        ("gpu_out_of_memory", "GPU out of memory"),
        ("no_rule", "No matching rule"),
        ("sample_fps", "Sampling rate (fps)"),
        ("", ""),
    ],
)
def test_codes_in_words(code: str, shown: str) -> None:
    assert formatting.label(code) == shown


def test_events_as_sentences() -> None:
    part = TimelineEvent(at=1, event="part", detail={"number": 3, "frames": 90})
    assert formatting.event_text(part.event, part.detail) == "Segment 3 saved (90 frames so far)"
    assert formatting.event_text("queued", {}) == "Queued"
    assert formatting.event_text("part", {"colour": "red"}) == "Part: colour red"
    assert (
        formatting.event_text("failure", {"message": "no {picture}", "hint": "x"}) == "no {picture}"
    )


def test_cli_and_dashboard_have_no_formats_of_their_own() -> None:
    """A size or a duration reads the same on the command line and on a page."""
    names = "|".join(("size", "duration", "ago", "until", "dollars", "counted", "number", "label"))
    for folder in ("shoal/cli", "api/dashboard", "worker", "deploy/autoscaler/autoscaler"):
        for path in (ROOT / folder).rglob("*.py"):
            assert not re.search(rf"^def ({names})\(", path.read_text(), re.MULTILINE), path
