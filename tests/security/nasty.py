"""Requests made to keep an API busy: as much work as a body, a path or a header can ask for."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from api.middleware.body_limit import FORM, LIMITS, MAX_BODY_BYTES, OTHERS, Limit
from tests.events import Signer, payload

ANY = Limit(MAX_BODY_BYTES, MAX_BODY_BYTES)  # beyond what most routes read
EVENTS = ("/events/s3", "/events/gcs", "/events/azure")
BEARER = {"authorization": "Bearer event-token"}


class Nasty(NamedTuple):
    """One request."""

    name: str
    method: str
    path: str
    body: bytes = b""
    headers: dict[str, str] = {}  # noqa: RUF012


def requests(signer: Signer) -> Iterator[Nasty]:
    """Each as large as the API reads at all, and as large as its own route reads."""
    for name, limit in (("large", ANY), ("allowed", None)):
        for each in (*_bodies(limit), *_forms(limit), *_videos(limit), *_batches(limit)):
            yield each._replace(name=f"{name} {each.name}")
        for each in _events(signer, limit):
            yield each._replace(name=f"{name} {each.name}")
    yield from _fixed(signer)
    yield from _heads()


def _post(name: str, path: str, document: Any, headers: dict[str, str] | None = None) -> Nasty:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return Nasty(name, "POST", path, body, {"content-type": "application/json", **(headers or {})})


def _filled(path: str, limit: Limit | None, start: str, item: str, end: str) -> bytes:
    """``start``, as many ``item`` as the limit lets through, ``end``; ``#`` is a number."""
    limit = limit or LIMITS.get(path, OTHERS)
    item = item.replace("#", "%06d")
    room = limit.size - len(start) - len(end) - 100
    count = min(room // (len(item) + 1), (limit.values - 10) // (item.count(",") + 1))
    if "%06d" in item:
        items = [item % ((n,) * item.count("%06d")) for n in range(count)]
    else:
        items = [item] * count
    return (start + ",".join(items) + end).encode()


def _bodies(limit: Limit | None) -> Iterator[Nasty]:
    """Bodies that are hard to parse, to every route that takes one."""
    for path in ("/videos", "/batches", "/videos/bulk", "/tokens", *EVENTS):
        headers = BEARER if path in EVENTS else {}
        size = (limit or LIMITS.get(path, OTHERS)).size - 100
        for name, body in {
            "deep arrays": b"[" * (size // 2) + b"]" * (size // 2),
            "deep maps": b'{"a":' * (size // 5),
            "flat maps": _filled(path, limit, "[", "{}", "]"),
            "many keys": _filled(path, limit, "{", '"#":0', "}"),
            "long keys": _filled(path, limit, "{", f'"#{"k" * 1000}":0', "}"),
            "long numbers": _filled(path, limit, "[", "9" * 4000, "]"),
            "escapes": b'"' + b"\\u00e9" * (size // 6) + b'"',
            "surrogates": _filled(path, limit, "{", '"#\\ud800":"\\udc00"', "}"),
            "white space": b" " * size,
        }.items():
            yield _post(f"{name} to {path}", path, body, headers)


def _forms(limit: Limit | None) -> Iterator[Nasty]:
    size = (limit or FORM).size - 10
    urlencoded = {"content-type": "application/x-www-form-urlencoded"}
    for name, body in {
        "one field": b"token=" + b"x" * (size - 6),
        "many fields": b"a=b&" * (size // 4),
        "escapes": b"token=" + b"%41" * (size // 3 - 2),
        "separators": b"&" * size,
    }.items():
        yield Nasty(f"form of {name}", "POST", "/ui/login", body, urlencoded)
    part = b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\nb\r\n"
    multipart = {"content-type": "multipart/form-data; boundary=x"}
    yield Nasty("multipart", "POST", "/ui/login", part * (size // len(part)), multipart)


def _videos(limit: Limit | None) -> Iterator[Nasty]:
    head = '{"uri": "file:///x", "prompts": ["car"], '
    outputs = head + '"options": {"outputs": ['
    for name, start, item, end in (
        ("prompts", '{"uri":"file:///x","prompts":[', '"a"', "]}"),
        ("wrong prompts", '{"uri":"file:///x","prompts":[', "0", "]}"),
        ("wrong objects", head + '"objects": [', "0", "]}"),
        ("removals without an id", head + '"remove_objects": [', "{}", "]}"),
        ("wrong options", head + '"options": [', "0", "]}"),
        ("unknown options", head + '"options": {', '"#":0', "}}"),
        ("unknown fields of an object", head + '"objects": [{', '"#":0', "}]}"),
        ("outputs", outputs, '"x"', "]}}"),
        ("wrong outputs", outputs, "{}", "]}}"),
        ("outputs of a kind", outputs, '{"kind":"overlay"}', "]}}"),
        ("colours", outputs + '{"kind":"overlay","colours":{', '"#":"#zzzzzz"', "}}]}}"),
        ("good colours", outputs + '{"kind":"overlay","colours":{', '"#":"#aaaaaa"', "}}]}}"),
        ("points", head + '"objects": [{"label":"a","frame":0,"points":[', '["x"]', "]}]}"),
    ):
        yield _post(name, "/videos", _filled("/videos", limit, start, item, end))


def _batches(limit: Limit | None) -> Iterator[Nasty]:
    for name, start, item in (
        ("too many URIs", '{"prompts": ["car"], "uris": [', '"a"'),
        ("wrong URIs", '{"prompts": ["car"], "uris": [', "0"),
        ("wrong globs", '{"prompts": ["car"], "globs": [', "0"),
        ("wrong prompts", '{"uris": ["file:///x"], "prompts": [', "0"),
    ):
        yield _post(f"{name} of a batch", "/batches", _filled("/batches", limit, start, item, "]}"))


def _events(signer: Signer, limit: Limit | None) -> Iterator[Nasty]:
    record = json.dumps(payload("s3_records")["Records"][0])
    small = '{"eventName":"ObjectCreated:","s3":{"bucket":{"name":"matches"},"object":{KEY}}}'
    for name, item in {
        "real": record.replace("%", ""),
        "numbers": "0",
        "empty": "{}",
        "wrong": '{"s3":0,"eventName":"x"}',
        "small": small.replace("KEY", '"key":"#.mp4"'),
        "whole": small.replace("KEY", '"key":"a/b/c/#.mp4","size":5,"eTag":"e"'),
    }.items():
        body = _filled("/events/s3", limit, '{"Records":[', item, "]}")
        yield _post(f"records: {name}", "/events/s3", body, BEARER)
        if len(body) < 500_000:  # as SNS wraps them
            yield _post(f"SNS: {name}", "/events/s3", signer.sns(
                "sns_notification", Message=body.decode()[: len(body) // 2]
            ))  # fmt: skip
    hundred = [json.loads(small.replace("KEY", f'"key":"a/b/c/{n}.mp4","size":5,"eTag":"e"'))
               for n in range(100)]  # fmt: skip
    yield _post("a hundred records", "/events/s3", {"Records": hundred}, BEARER)
    size = (limit or LIMITS["/events/s3"]).size - 3000
    signed = signer.sns("sns_notification") | {"Signature": "A" * (size // 4 * 4)}
    yield _post("SNS, a long signature", "/events/s3", signed)
    bridge = payload("eventbridge") | {"resources": ["x" * 100] * (size // 105)}
    yield _post("EventBridge", "/events/s3", bridge, BEARER)
    grid = json.dumps(payload("eventgrid_cloudevent")).replace("%", "")
    short = (
        '{"type":"Microsoft.Storage.BlobCreated","data":{"url":"https://a/matches/#.mp4",'
        '"contentLength":5,"eTag":"e"}}'
    )
    for name, item in {"real": grid, "short": short, "empty": "{}"}.items():
        body = _filled("/events/azure", limit, "[", item, "]")
        yield _post(f"Event Grid: {name}", "/events/azure", body, BEARER)
    thousand = [json.loads(short.replace("#", str(n))) for n in range(1000)]
    yield _post("a thousand events", "/events/azure", thousand, BEARER)
    token = {"authorization": f"Bearer {signer.token()}"}
    push = payload("gcs_pubsub_push")
    push["message"]["attributes"] |= {f"a{n}": "b" for n in range(min(size // 15, 9000))}
    yield _post("Pub/Sub attributes", "/events/gcs", push, token)
    push = payload("gcs_pubsub_push")
    push["message"]["data"] = base64.b64encode(b'{"a":' * (size // 7)).decode()
    yield _post("Pub/Sub data", "/events/gcs", push, token)


def _fixed(signer: Signer) -> Iterator[Nasty]:
    """What the models allow, as much as there may be of it."""
    pointed = [{"label": "car", "frame": n, "points": [[1.5, 2.5, 1]] * 64} for n in range(64)]
    yield _post("points", "/videos", _video(objects=pointed))
    wrong = [{"label": "car", "frame": n, "points": [["x"] * 40] * 5} for n in range(64)]
    yield _post("wrong points", "/videos", _video(objects=wrong))
    for name, counts in {
        "one long run": "o" * 65_000,
        "many short runs": "0" * 65_000,
        "growing runs": "_N" * 32_000,
        "no end": "P" * 65_000,
    }.items():
        mask = {"size": [100, 100], "counts": counts}
        masks = [{"label": "car", "frame": n, "mask": mask} for n in range(4)]
        yield _post(f"masks of {name}", "/videos", _video(objects=masks))
        yield _post(
            f"masks of {name}, a batch",
            "/batches",
            {"prompts": ["car"], "uris": ["file:///x"], "objects": masks},
        )
    removed = [{"object_id": n + 1} for n in range(1000)]
    yield _post("removals", "/videos", _video(remove_objects=removed))
    uris = [f"file:///srv/{n}" for n in range(10_000)]
    yield _post("10,000 URIs", "/batches", {"prompts": ["car"], "uris": uris})
    globs = [f"s3://b/**/a*b*c*d*/**/{n}" + "*a" * 1000 for n in range(20)]
    yield _post("globs", "/batches", {"prompts": ["car"], "globs": globs})
    for name in ("a.b.c", "e30." * 4000, "eyJ" * 4000):
        bearer = {"authorization": "Bearer " + name}
        yield _post(f"a token of {name[:8]}", "/events/gcs", payload("gcs_pubsub_push"), bearer)


def _video(**fields: Any) -> dict[str, Any]:
    return {"uri": "file:///x", "prompts": ["car"], **fields}


def _heads() -> Iterator[Nasty]:
    long = "a" * 30_000
    for path in ("/", "/videos/", "/ui/rules?uri=s3://matches/", "/ui/login?to=/ui/", "/static/"):
        yield Nasty(f"long {path}", "GET", path + long)
    yield Nasty("escapes in a path", "GET", "/videos/" + "%e2%82" * 5000)
    many = "&".join(f"a{n}=b" for n in range(6000))
    for path in ("/videos", "/ui/videos", "/ui/rules", "/callbacks", "/nowhere"):
        yield Nasty(f"many parameters of {path}", "GET", f"{path}?{many}")
    repeated = "&".join(["state=queued"] * 2500)
    yield Nasty("one parameter again and again", "GET", f"/videos?{repeated}")
    rules = "s3://matches/" + "a/" * 2000
    yield Nasty("many folders", "GET", f"/ui/rules?uri={rules}")
    yield Nasty("many headers", "GET", "/videos", b"", {f"x-{n}": "y" for n in range(90)})
    yield Nasty("long cookie", "GET", "/videos", b"", {"cookie": "a=b; " * 6000})
    yield Nasty("long host", "GET", "/videos", b"", {"host": "a." * 15_000})
    ranges = {"range": "bytes=" + "0-1," * 5000}
    yield Nasty("many ranges", "GET", "/static/shoal.css", b"", ranges)
    yield Nasty("long id", "GET", "/videos", b"", {"x-request-id": "a" * 30_000})
    yield Nasty("long accept", "GET", "/", b"", {"accept": "text/html;q=0.1," * 2000})
