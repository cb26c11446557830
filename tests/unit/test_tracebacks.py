"""What an exception says cannot pass for a line of the log, in either form of it."""

from __future__ import annotations

import io
import json
import logging
import re
import traceback
from collections.abc import Callable

import pytest
from hypothesis import given, strategies as st

from shoal import log_context
from shoal.logging import FORMAT, Formatter
from shoal.model.failure import Failure
from shoal.tracebacks import format_traceback

FORGED = "12:00:00 INFO    api: all is well"
EVIL = f"bad\n{FORGED}\r{FORGED}\x1b[2J\x85{FORGED}\u2028{FORGED}\u202e"
STEERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def plain() -> None:
    raise ValueError(EVIL)


def caused() -> None:
    try:
        plain()
    except ValueError as error:
        raise RuntimeError(EVIL) from error


def in_context() -> None:
    try:
        plain()
    except ValueError:
        raise RuntimeError(EVIL)  # noqa: B904


def with_notes() -> None:
    error = ValueError("bad")
    error.add_note(EVIL)
    raise error


def grouped() -> None:
    raise ExceptionGroup(EVIL, [ValueError(EVIL), ExceptionGroup("inner", [KeyError(EVIL)])])


def syntax() -> None:
    compile(f"x = (\n'{FORGED}", f"a\n{FORGED}", "exec")


def no_text() -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise ValueError(EVIL)

    raise Broken


def endless() -> None:
    error = ValueError(EVIL)
    error.__cause__ = RuntimeError(EVIL)
    error.__cause__.__cause__ = error
    raise error


def long() -> None:
    first: Exception | None = None
    for number in range(500):
        error = ValueError(f"{number}\n{FORGED}")
        error.__cause__ = first
        first = error
    assert first
    raise first


KINDS = [plain, caused, in_context, with_notes, grouped, syntax, no_text, endless, long]


@pytest.fixture(params=["text", "json", "after another handler"])
def logged(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Logs how a call fails, and gives what was written."""

    def run(fails: Callable[[], None]) -> str:
        stream, logger = io.StringIO(), logging.Logger("test")
        if request.param == "after another handler":  # whose traceback is kept with the record
            logger.addHandler(logging.StreamHandler(io.StringIO()))
        handler = logging.StreamHandler(stream)
        handler.setFormatter(Formatter(FORMAT))
        if request.param == "json":
            monkeypatch.setenv("SHOAL_LOG_FORMAT", "json")
            log_context.dress(handler)
        logger.addHandler(handler)
        try:
            fails()
        except Exception:
            logger.exception("it failed: %s", EVIL, stack_info=True)
        written = stream.getvalue()
        if request.param == "json":
            (line,) = written.splitlines()
            found = json.loads(line)
            assert "\n" not in found["message"]
            return f"{found['message']}\n{found['traceback']}\n"
        return written

    return run


@pytest.mark.parametrize("fails", KINDS)
def test_no_line_is_forged(logged: Callable[..., str], fails: Callable[[], None]) -> None:
    written = logged(fails)
    assert fails.__name__ in written
    assert "all is well" in written
    lines = written.split("\n")
    assert not [line for line in lines if line.lstrip(" |").startswith(FORGED[:8])]
    assert not STEERS.search(written)


@given(st.text())
def test_an_exception_is_one_line(text: str) -> None:
    assert len(format_traceback(ValueError(text)).splitlines()) == 1
    trace = Failure.of(ValueError(text)).traceback
    assert len(trace.splitlines()) == 1


def test_what_is_harmless_is_as_python_prints_it() -> None:
    with pytest.raises(RuntimeError) as failed:
        harmless()
    printed = "".join(traceback.format_exception(failed.value))
    assert format_traceback(failed.value) == printed.rstrip("\n")


def harmless() -> None:
    try:
        raise KeyError("a")
    except KeyError as error:
        raise RuntimeError("über b\t'c'") from error
