"""The form of a log's lines, and what they are about."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from shoal import log_context, tracing


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What a JSON log writes."""
    monkeypatch.setenv("SHOAL_LOG_FORMAT", "json")
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    log_context.dress(handler)
    logger = logging.getLogger("shoal.test")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield stream
    logger.removeHandler(handler)
    log_context.work_on("")


def lines(stream: io.StringIO) -> list[dict[str, str]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_an_object_that_says_what_it_is_about(written: io.StringIO) -> None:
    log = logging.getLogger("shoal.test")
    log.info("two\nlines and a %s", "value")
    with log_context.about(request="r1"):
        log_context.note(job="j1")
        log.warning("within")
    log_context.work_on("j2")
    log.info("at work")
    first, within, at_work = lines(written)
    assert first["level"] == "info"
    assert first["logger"] == "shoal.test"
    assert "job" not in first
    assert (within["request"], within["job"], within["level"]) == ("r1", "j1", "warning")
    assert (at_work["job"], at_work.get("request")) == ("j2", None)


def test_a_traceback_stands_apart(written: io.StringIO) -> None:
    try:
        raise ValueError("bad")
    except ValueError:
        logging.getLogger("shoal.test").exception("it failed")
    (line,) = lines(written)
    assert line["message"] == "it failed"
    assert line["traceback"].endswith("ValueError: bad")


def test_a_note_without_a_request_goes_nowhere() -> None:
    log_context.note(job="j1")
    assert log_context.subject() == {}


def test_a_coloured_line_is_the_same_but_for_its_level() -> None:
    record = logging.LogRecord("shoal", logging.ERROR, "", 1, "an ERROR", None, None)
    plain = logging.Formatter("%(levelname)-7s %(message)s")
    shown = log_context.Coloured(plain).format(record)
    assert shown == "\033[31mERROR\033[0m   an ERROR"


def test_a_job_has_one_trace_and_no_span_without_an_endpoint() -> None:
    assert tracing.trace_id("a") == tracing.trace_id("a") != tracing.trace_id("b")
    with pytest.raises(KeyError), tracing.span("attempt", "a"):
        raise KeyError
