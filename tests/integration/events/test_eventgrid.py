"""Event Grid: both handshakes, both schemas, and its token."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from api.events.inbox import SkippedLog
from shoal.ingest.decide import Reason
from shoal.queue.queue import JobQueue
from shoal.settings import Settings
from tests.events import payload
from tests.integration.events.conftest import BEARER
from tests.serving import served

PATH = "/events/azure"
RULE = """
[[rule]]
bucket = "az://matches"
key = "soccer/**"
prompts = ["person"]
"""
URI = "az://matches/soccer/week 1/final.mp4"


def cloud_event(**data: Any) -> dict[str, Any]:
    event = payload("eventgrid_cloudevent")
    event["data"] |= data
    return event


def grid_event(**data: Any) -> dict[str, Any]:
    """The same in Event Grid's own schema."""
    event = cloud_event(**data)
    return {
        "topic": event["source"],
        "subject": event["subject"],
        "eventType": event["type"],
        "eventTime": event["time"],
        "id": event["id"],
        "data": event["data"] | {"eTag": '"0x8D76C39E4407333"'},
        "dataVersion": "",
        "metadataVersion": "1",
    }


@pytest.fixture
def locked(strict: Settings) -> Settings:
    assert strict.rules
    strict.rules.write_text(RULE)
    return strict


def post(settings: Settings, *bodies: Any, **headers: str) -> list[httpx.Response]:
    with served(settings) as url, httpx.Client(base_url=url, trust_env=False) as http:
        return [http.post(PATH, json=body, headers=headers or BEARER) for body in bodies]


def test_one_upload_is_one_job_however_it_is_told(locked: Settings, queue: JobQueue) -> None:
    answers = post(locked, cloud_event(), [cloud_event()], [grid_event()])
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    (job,) = {each for answer in answers for each in answer.json()["jobs"]}
    spec = queue.records.get(job).spec
    assert (spec.uri, spec.version, spec.size) == (URI, "0x8D76C39E4407333", 7340032)


def test_what_is_no_upload_is_skipped(locked: Settings, queue: JobQueue) -> None:
    gone = cloud_event() | {"type": "Microsoft.Storage.BlobDeleted"}
    (answer,) = post(locked, [gone, cloud_event(contentLength=0)])
    assert (answer.json()["jobs"], answer.json()["skipped"]) == ([], 2)
    counts = SkippedLog(queue.redis, queue.name).read().counts
    assert counts == {Reason.NOT_AN_UPLOAD: 1, Reason.EMPTY: 1}


def test_events_without_a_token_are_refused(locked: Settings) -> None:
    (answer,) = post(locked, cloud_event(), authorization="Bearer guessed-token")
    assert answer.status_code == 401
    (answer,) = post(locked, cloud_event(), **{"x-api-key": "event-token"})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "change",
    [
        lambda event: [],
        lambda event: [event] * 1001,
        lambda event: event | {"type": "Contoso.Items.Received"},
        lambda event: event | {"type": None},
        lambda event: event | {"data": []},
        lambda event: event | {"data": {"url": "https://a/"}},
        lambda event: event | {"data": {"url": "https://a/UPPER$/x"}},
        lambda event: event | {"data": event["data"] | {"contentLength": -1}},
    ],
)
def test_what_is_no_event_is_named(
    locked: Settings, change: Callable[[dict[str, Any]], Any]
) -> None:
    (answer,) = post(locked, change(cloud_event()))
    assert answer.status_code in (413, 422), answer.text


def test_the_handshake_of_event_grids_schema_needs_the_token(locked: Settings) -> None:
    event = grid_event() | {
        "eventType": "Microsoft.EventGrid.SubscriptionValidationEvent",
        "data": {"validationCode": "512d38b6", "validationUrl": "https://rp.example.com/?id=512d"},
    }
    (answer,) = post(locked, [event])
    assert (answer.status_code, answer.json()) == (200, {"validationResponse": "512d38b6"})
    (answer,) = post(locked, [event], authorization="Bearer guessed-token")
    assert answer.status_code == 401


def test_the_handshake_of_cloud_events(locked: Settings) -> None:
    with served(locked) as url:
        for origin, status in (("eventgrid.azure.net", 200), ("evil.example", 422), ("", 422)):
            headers = {"WebHook-Request-Origin": origin} if origin else {}
            answer = httpx.options(url + PATH, headers=headers, trust_env=False)
            assert answer.status_code == status
            allowed = answer.headers.get("WebHook-Allowed-Origin")
            assert allowed == (origin if status == 200 else None)
