"""No request holds the event loop: others get their turn while it is parsed and refused.

The limit here is generous, as machines are busy; benchmarks/loop_watch.py measures how long it is.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.types import Message

from api.events import s3
from api.middleware.body_limit import FORM, LIMITS, OTHERS, BodyLimit
from shoal.errors import BadEvent, RequestError
from shoal.model.batch import BatchRequest
from shoal.model.outputs import MAX_COLOURS, parse_outputs
from shoal.model.strict import Strict
from shoal.model.submission import Submission
from shoal.secrets import redact
from shoal.settings import Settings
from tests.events import Signer
from tests.security.loop_watch import LoopWatch, send, watched
from tests.security.nasty import Nasty, requests

HELD_S = 1.0
TRIES = 10  # a machine that is busy with something else holds no loop each time

Watched = tuple[str, LoopWatch]
SIGNER = Signer()
ALL = list(requests(SIGNER))


@pytest.fixture(scope="module")
def api(valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("watched")
    settings = Settings(
        redis_url=valkey_url, queue="watched", data_dir=folder / "data", work_dir=folder / "work"
    )
    with watched(settings, SIGNER) as found:
        yield found


@pytest.mark.parametrize("nasty", ALL, ids=[each.name for each in ALL])
def test_no_request_holds_the_loop(api: Watched, nasty: Nasty) -> None:
    url, watch = api
    for _ in range(TRIES):
        watch.take()
        status = send(url, nasty)
        assert status < 500 or status == 503
        if watch.take() < HELD_S:
            return
    pytest.fail(f"others waited for more than {HELD_S} s, {TRIES} times")


# --- in steps instead of seconds ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "kind", "limit"),
    [
        ("/ui/login", "", FORM),
        ("/videos", "application/x-www-form-urlencoded", FORM),
        ("/anything", "Multipart/Form-Data; boundary=x", FORM),
        ("/videos", "application/json", LIMITS["/videos"]),
        ("/batches", "", LIMITS["/batches"]),
        ("/events/s3", "text/plain", LIMITS["/events/s3"]),
        ("/events/gcs", "", LIMITS["/events/gcs"]),
        ("/videos/bulk", "application/json", OTHERS),
    ],
)
def test_a_body_is_read_up_to_the_limit_of_its_route(path: str, kind: str, limit: Any) -> None:
    headers = [(b"content-type", kind.encode())]
    large, many = b"x" * limit.size, b"," * limit.values
    for body in (large, many):
        assert _is_read(path, headers, [body[:500], body[500:]])
        assert not _is_read(path, headers, [body, b","])


def _is_read(path: str, headers: list[tuple[bytes, bytes]], pieces: list[bytes]) -> bool:
    left = list(pieces)

    async def receive() -> Message:
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while left:
            await receive()

    async def send(message: Message) -> None: ...

    scope = {"type": "http", "path": path, "headers": headers}
    try:
        asyncio.run(BodyLimit(app)(scope, receive, send))
    except HTTPException:
        return False
    return True


@pytest.mark.parametrize("announced", ["9" * 5000, "1000001", "99999999999999999999"])
def test_a_body_that_is_announced_as_too_large_is_not_read(announced: str) -> None:
    headers = [(b"content-length", announced.encode())]
    pieces = [b"x"] if len(announced) < 20 else [b"x" * 2_000_000]
    assert not _is_read("/batches", headers, pieces)


def test_only_so_many_records_are_looked_at() -> None:
    with pytest.raises(BadEvent, match="101 records"):
        list(s3.parse({"Records": [0] * 101}))
    with pytest.raises(BadEvent, match="S3Record"):
        list(s3.parse({"Records": [0] * 100}))


@pytest.mark.parametrize(
    ("model", "field"),
    [
        (Submission, "prompts"),
        (Submission, "objects"),
        (Submission, "remove_objects"),
        (BatchRequest, "prompts"),
        (BatchRequest, "globs"),
        (BatchRequest, "uris"),
        (BatchRequest, "objects"),
    ],
)
def test_a_list_is_looked_at_up_to_its_first_fault(model: type[Strict], field: str) -> None:
    with pytest.raises(ValidationError) as raised:
        model.model_validate({"uri": "file:///x", field: [None] * 1000})
    assert sum(error["loc"][0] == field for error in raised.value.errors()) == 1


def _strict_models(model: type[Strict] = Strict) -> Iterator[type[Strict]]:
    for each in model.__subclasses__():
        yield each
        yield from _strict_models(each)


@pytest.mark.parametrize("model", sorted(_strict_models(), key=lambda each: str(each)))
def test_unknown_fields_are_one_fault(model: type[Strict]) -> None:
    with pytest.raises(ValidationError) as raised:
        model.model_validate({f"field {n}": 0 for n in range(1000)})
    assert len(raised.value.errors()) == 1


def test_colours_are_for_prompts_that_there_may_be() -> None:
    colours = {f"{n}": "#aaaaaa" for n in range(MAX_COLOURS + 1)}
    with pytest.raises(RequestError, match="is the limit"):
        parse_outputs([{"kind": "overlay", "colours": colours}])
    del colours["0"]
    parse_outputs([{"kind": "overlay", "colours": colours}])


def test_an_answer_names_a_few_faults_and_no_more(api: Watched) -> None:
    headers = {"content-type": "application/json"}
    body = json.dumps({"uri": "x", "é\ud800" * 100: 0} | {f"k{n}": 0 for n in range(10)}).encode()
    assert send(api[0], Nasty("", "POST", "/videos", body, headers)) == 422


@pytest.mark.parametrize(
    "text",
    ["a." * 50_000, "-eyJ" * 50_000, "eyJa." * 50_000, "?a" * 50_000, "?" + "token" * 20_000,
     "a://" * 30_000, "bearer " * 20_000, "://:" + ":" * 100_000, "shoal_" * 20_000],
)  # fmt: skip
def test_looking_for_secrets_takes_no_longer_than_the_text_is_long(text: str) -> None:
    """On patterns that look again from every place this took minutes; the test's own limit ends
    it."""
    assert isinstance(redact(text + "=://"), str)
