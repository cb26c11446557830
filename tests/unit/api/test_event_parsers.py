"""Each sender's payload becomes one upload, or an error of ours, whatever comes."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from api.events import eventbridge, eventgrid, gcs, s3, sns
from api.events.parsing import checked, document
from shoal.errors import ShoalError
from shoal.ingest.decide import Reason, Skip, UploadedObject
from tests.events import KEY, gcs_payload, payload, s3_payload

GS = UploadedObject(
    f"gs://matches/{KEY}",
    "1700000000000001",
    7340032,
    "video/mp4",
    {"shoal-prompts": "referee, ball"},
)


def of_s3(document: dict[str, Any]) -> UploadedObject:
    (event,) = s3.parse(document)
    assert isinstance(event, UploadedObject)
    return event


def body(name: str) -> bytes:
    return json.dumps(payload(name)).encode()


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ({"content-type": "application/json"}, "gcs_pubsub_push"),
        ({"ce-type": gcs.FINALIZED, "content-type": "application/json"}, "gcs_eventarc_data"),
        (
            {"content-type": "application/cloudevents+json; charset=utf-8"},
            "gcs_eventarc_structured",
        ),
        ({"ce-type": gcs.MESSAGE_PUBLISHED}, "gcs_pubsub_push"),
    ],
)
def test_google_tells_it_in_four_ways(headers: dict[str, str], name: str) -> None:
    assert gcs.parse(headers, body(name)) == GS


def test_a_notification_without_data_leaves_the_size_open() -> None:
    message = payload("gcs_pubsub_push")
    del message["message"]["data"]
    event = gcs.parse({}, json.dumps(message).encode())
    assert event == UploadedObject(GS.uri, GS.version, None)


@pytest.mark.parametrize("kind", ["OBJECT_DELETE", "OBJECT_METADATA_UPDATE", "OBJECT_ARCHIVE"])
def test_other_notifications_are_no_uploads(kind: str) -> None:
    message = payload("gcs_pubsub_push")
    message["message"]["attributes"]["eventType"] = kind
    event = gcs.parse({}, json.dumps(message).encode())
    assert event == Skip(GS.uri, Reason.NOT_AN_UPLOAD, kind)


UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

VERSIONED = "version:3HL4kqtJvjVBH40Nrjfkd"


def test_keys_are_decoded_as_each_sender_encodes_them() -> None:
    uri = f"s3://matches/{KEY}"
    etag = "etag:9b2cf535f27731c974343645a3985328"
    assert of_s3(payload("s3_records")) == UploadedObject(uri, VERSIONED, 7340032)
    assert eventbridge.parse(payload("eventbridge")) == UploadedObject(uri, VERSIONED, 7340032)
    minio = of_s3(payload("minio"))
    assert (minio.uri, minio.version, minio.content_type) == (uri, etag, "video/mp4")
    assert minio.metadata["camera"] == "north"
    ceph = of_s3(payload("ceph"))
    assert (ceph.uri, ceph.version, ceph.metadata) == (uri, etag, {"camera": "north"})


def test_the_message_in_a_notification_of_sns_is_s3s_own() -> None:
    message = checked(sns.SnsMessage, payload("sns_notification"))
    assert of_s3(document(message.Message)) == UploadedObject(
        f"s3://matches/{KEY}", VERSIONED, 7340032
    )


@pytest.mark.parametrize("version_id", [None, "", "null"])
def test_without_a_version_the_etag_tells(version_id: str | None) -> None:
    assert of_s3(s3_payload("b", "k", versionId=version_id, eTag='"abc"')).version == "etag:abc"


@UNTIMED
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=100))
def test_any_key_survives(key: str) -> None:
    uri = f"s3://bucket/{key}"
    assert of_s3(s3_payload("bucket", quote_plus(key))).uri == uri
    event = payload("eventbridge")
    event["detail"]["bucket"]["name"], event["detail"]["object"]["key"] = "bucket", key
    found = eventbridge.parse(event)
    assert found.uri == uri
    stored = gcs.parse({}, json.dumps(gcs_payload("bucket", key)).encode())
    assert stored.uri == f"gs://bucket/{key}"
    event = payload("eventgrid_cloudevent")
    event["data"]["url"] = f"https://account.blob.core.windows.net/bucket/{quote(key)}"
    assert eventgrid.parse(event).uri == f"az://bucket/{key}"


def test_each_record_is_judged_on_its_own() -> None:
    good, other = payload("s3_records")["Records"][0], payload("minio")["Records"][0]
    removed = json.loads(json.dumps(good)) | {"eventName": "ObjectRemoved:Delete"}
    events = list(s3.parse({"Records": [good, {"s3": 1}, removed, other]}))
    kinds = [event.reason if isinstance(event, Skip) else "upload" for event in events]
    assert kinds == ["upload", Reason.MALFORMED, Reason.NOT_AN_UPLOAD, "upload"]


@pytest.mark.parametrize(
    "changes",
    [
        {"key": "%ff%fe"},
        {"key": ""},
        {"key": "k" * 1025},
        {"key": None},
        {"size": -1},
        {"size": 1 << 70},
        {"size": "many"},
    ],
)
def test_what_can_never_be_an_object_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ShoalError, match=r"key|size"):
        list(s3.parse(s3_payload("bucket", **({"key": "k"} | changes))))


@pytest.mark.parametrize("bucket", ["", "a/b", "..", "a b", "ü", "x" * 300])
def test_what_can_never_be_a_bucket_is_refused(bucket: str) -> None:
    with pytest.raises(ShoalError, match="bucket"):
        list(s3.parse(s3_payload(bucket, "k")))


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b"null", b"\xff\xfe", b'{"a": "\\ud800"}', b"[" * 100_000, b'{"a":' * 50_000],
)
def test_what_is_no_document_is_refused(text: bytes) -> None:
    with pytest.raises(ShoalError, match="JSON"):
        document(text)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@st.composite
def mutated(draw: st.DrawFn, name: str) -> dict[str, Any]:
    """A real payload in which some value, at any depth, is something else or missing."""
    whole = payload(name)
    for _ in range(draw(st.integers(1, 3))):
        where: Any = whole
        while True:
            places = list(where) if isinstance(where, dict) else range(len(where))
            if not places:
                break
            place = draw(st.sampled_from(list(places)))
            if isinstance(where[place], dict | list) and draw(st.booleans()):
                where = where[place]
                continue
            if draw(st.booleans()):
                where[place] = draw(ANYTHING)
            else:
                del where[place]
            break
    return whole


def parsed(name: str, value: dict[str, Any]) -> None:
    """Parse it as its route does; only errors of ours may come out."""
    try:
        if name.startswith("gcs"):
            text = json.dumps(value).encode()
            headers = {"ce-type": gcs.FINALIZED} if name == "gcs_eventarc_data" else {}
            if "structured" in name:
                headers = {"content-type": gcs.STRUCTURED}
            gcs.parse(headers, text)
        elif name.startswith("eventgrid"):
            for each in eventgrid.documents(json.dumps(value).encode()):
                eventgrid.validation_code([each])
                eventgrid.parse(each)
        elif name == "eventbridge":
            eventbridge.parse(value)
        elif name.startswith("sns"):
            checked(sns.SnsMessage, value).signed()
        else:
            list(s3.parse(value))
    except ShoalError:
        pass


NAMES = ["gcs_pubsub_push", "gcs_eventarc_data", "gcs_eventarc_structured", "eventbridge"]
NAMES += ["s3_records", "minio", "ceph", "sns_notification", "sns_subscription"]
NAMES += ["eventgrid_cloudevent"]


@pytest.mark.parametrize("name", NAMES)
@UNTIMED
@given(data=st.data())
def test_a_broken_payload_raises_errors_of_ours_only(name: str, data: st.DataObject) -> None:
    parsed(name, data.draw(mutated(name)))


@UNTIMED
@given(st.dictionaries(st.text(), ANYTHING), st.binary())
def test_any_document_raises_errors_of_ours_only(value: dict[str, Any], raw: bytes) -> None:
    for name in NAMES:
        parsed(name, value)
    for headers in ({}, {"ce-type": "x"}, {"content-type": gcs.STRUCTURED}):
        with pytest.raises(ShoalError):
            gcs.parse(headers, b"\0" + raw)
