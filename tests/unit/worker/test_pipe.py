"""What the parent believes of what its model process sends."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from multiprocessing import Pipe
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from pydantic import ValidationError

from shoal.errors import VideoError
from shoal.model.failure import MAX_MESSAGE, MAX_TRACEBACK, Failure
from shoal.model.record import Progress
from tests.unit.worker.test_attempt import watch
from worker import pipe
from worker.pipe import MAX_BYTES, MalformedMessage, ModelEnd, ParentEnd
from worker.protocol import FROM_MODEL, Done, Failed, JobStopped, Load, Ready, Report

DONE: dict[str, Any] = {
    "kind": "done",
    "results": {"a_masks.parquet": 3},
    "summary": {"frames_processed": 5, "duration_s": 1.5, "objects_per_prompt": {"person": 1}},
    "timings": {"fetch": 0.1},
}
REPORT: dict[str, Any] = {"kind": "report", "progress": {"stage": "process", "frames": 3}}
PART: dict[str, Any] = {"kind": "happened", "event": "part", "detail": {"number": 1, "frames": 3}}
FAILED: dict[str, Any] = {
    "kind": "failed",
    "failure": {"code": "bad_video", "message": "m", "hint": "h", "transient": False},
}

NAN, HUGE = float("nan"), 10**40
NO_COUNTS: list[Any] = [-1, NAN, HUGE, "x", [], None]
NO_TIMES: list[Any] = [-1, NAN, float("inf"), "x", {}]


@pytest.fixture
def ends() -> Iterator[tuple[int, ParentEnd]]:
    """The file descriptor that a model process writes to, and the parent's end."""
    ours, theirs = Pipe()
    parent = ParentEnd(ours)
    yield theirs.fileno(), parent
    theirs.close()
    parent.close()


def framed(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def sent(*path_and_value: Any, of: dict[str, Any]) -> bytes:
    """A message with one value changed."""
    *path, value = path_and_value
    message = json.loads(json.dumps(of))
    place = message
    for key in path[:-1]:
        place = place.setdefault(key, {})
    place[path[-1]] = value
    return json.dumps(message).encode()


@pytest.mark.parametrize("message", [DONE, REPORT, PART, FAILED])
def test_the_messages_that_are_changed_below_are_good(message: dict[str, Any]) -> None:
    assert FROM_MODEL.validate_json(json.dumps(message))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[" * 100_000,
        b"\xff\xfe",
        b'{"kind":"run"}',
        sent("kind", "stop", of=DONE),
        *(sent("results", {name: 1}, of=DONE) for name in ("../x", "a/b", "", ".", "..", "a\0b")),
        sent("results", {"a": -1}, of=DONE),
        sent("results", {f"{i}": 1 for i in range(10_001)}, of=DONE),
        *(sent("summary", "frames_processed", v, of=DONE) for v in NO_COUNTS),
        *(sent("summary", "duration_s", v, of=DONE) for v in NO_TIMES),
        sent("summary", "objects_per_prompt", [1], of=DONE),
        sent("summary", "objects_per_prompt", {"person": NAN}, of=DONE),
        sent("summary", "more", {"nested": [1]}, of=DONE),
        sent("summary", "more", "x" * 201, of=DONE),
        sent("timings", {"fetch": NAN}, of=DONE),
        sent("timings", {"fetch": -1}, of=DONE),
        *(sent("progress", "frames", value, of=REPORT) for value in (-1, HUGE, NAN)),
        *(sent("progress", "fps", value, of=REPORT) for value in (-1, NAN)),
        sent("progress", "stage", "x" * 201, of=REPORT),
        sent("event", "succeeded", of=PART),
        sent("detail", {"frames": -1}, of=PART),
        sent("detail", {f"{i}": 1 for i in range(17)}, of=PART),
        sent("failure", "code", "a:b", of=FAILED),
        sent("failure", "code", "", of=FAILED),
        sent("failure", "message", "x" * (MAX_MESSAGE + 1), of=FAILED),
        sent("failure", "traceback", "x" * (MAX_TRACEBACK + 1), of=FAILED),
    ],
)
def test_what_is_no_message_or_holds_what_no_message_can(
    ends: tuple[int, ParentEnd], data: bytes
) -> None:
    fd, parent = ends
    os.write(fd, framed(data))
    while len(parent._received) < 4 + len(data):
        parent.read()
    with pytest.raises(MalformedMessage) as raised:
        parent.next()
    assert len(str(raised.value)) < 500


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=400), st.booleans())
def test_no_bytes_bring_anything_but_a_message_or_a_refusal(data: bytes, frame: bool) -> None:
    ours, theirs = Pipe()
    parent = ParentEnd(ours)
    os.write(theirs.fileno(), framed(data) if frame else data + b"\0")
    parent.read()
    try:
        assert parent.next() is None
    except MalformedMessage:
        pass
    finally:
        theirs.close()
        parent.close()


@pytest.mark.parametrize("size", [MAX_BYTES + 1, 100 << 20, 2**31 - 1, 2**32 - 1, 0])
def test_a_length_that_is_too_much_is_refused_before_a_byte_of_it_is_read(
    ends: tuple[int, ParentEnd], size: int
) -> None:
    fd, parent = ends
    os.write(fd, size.to_bytes(4, "big"))
    parent.read()
    with pytest.raises(MalformedMessage, match=f"{size} bytes"):
        parent.next()


def test_a_message_in_pieces_is_put_together(ends: tuple[int, ParentEnd]) -> None:
    fd, parent = ends
    data = framed(json.dumps(REPORT).encode()) * 2
    got = []
    for start in range(0, len(data), 7):
        os.write(fd, data[start : start + 7])
        parent.read()
        if message := parent.next():
            got.append(message)
    assert got == [Report(progress=Progress(stage="process", frames=3))] * 2
    assert parent.is_silent


def test_a_flood_is_refused(ends: tuple[int, ParentEnd], monkeypatch: pytest.MonkeyPatch) -> None:
    fd, parent = ends
    monkeypatch.setattr("worker.pipe.time.monotonic", lambda: 1000.0)
    report = framed(json.dumps(REPORT).encode())
    for _ in range(pipe.MAX_MESSAGES):
        os.write(fd, report)
        parent.read()
        assert parent.next()
    os.write(fd, report)
    parent.read()
    with pytest.raises(MalformedMessage, match="2000 messages"):
        parent.next()


def test_a_model_process_that_does_not_listen_is_not_waited_for(
    ends: tuple[int, ParentEnd], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, parent = ends
    monkeypatch.setattr(pipe, "SEND_S", 0.2)
    with pytest.raises(TimeoutError):
        parent.send(Load(hf_token="x" * 10**7))


def test_both_ends_understand_each_other() -> None:
    ours, theirs = Pipe()
    parent, model = ParentEnd(ours), ModelEnd(os.dup(theirs.fileno()))
    theirs.close()
    done = Done(job="a", results={"x": 1}, summary={"frames_processed": 1})
    model.send(done)
    parent.read()
    assert parent.next() == done
    parent.send(Ready(engine="", device=""))
    with pytest.raises(ValidationError):  # not a message to a model process
        model.receive()
    parent.close()
    with pytest.raises((EOFError, OSError)):
        model.receive()


def test_what_a_model_process_says_of_a_failure_is_never_too_long() -> None:
    def deep(left: int) -> None:
        if left:
            deep(left - 1)
        raise VideoError("x" * 10**6, hint="y" * 10**6)

    try:
        deep(500)
    except VideoError as error:
        failed = Failed(failure=Failure.of(error))
    assert FROM_MODEL.validate_json(failed.model_dump_json()) == failed
    assert "VideoError" in failed.failure.traceback or "x" in failed.failure.traceback


@pytest.mark.parametrize(
    "message",
    [
        Ready(engine="x", device="y"),
        Done(job="another", results={}, summary={}),
        Failed(job="another", failure=Failure.of(VideoError("x"))),
        JobStopped(job="another"),
        Report(job="another", progress=Progress(frames=1)),
    ],
)
def test_a_message_that_is_not_about_this_job_is_a_death(message: Any) -> None:
    lease, model = watch((0, message), (0, Done(job="a", results={}, summary={})))
    assert not lease.succeeded
    assert lease.failure is not None
    assert lease.failure.code == "model_process_died"
    assert model.killed


def test_a_job_is_named_in_what_is_said_about_it() -> None:
    lease, _ = watch((0, Done(job="a", results={}, summary={})))
    assert lease.succeeded
