"""Addresses that users give lead to public hosts only, however they are written."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings as effort, strategies as st
from pydantic import SecretStr

from api.background.webhook_sender import WebhookSender
from api.middleware.auth import _is_local, is_loopback
from api.webhook_client import Answer, NoAnswer, WebhookClient
from shoal.errors import CallbackForbidden, InvalidCallback
from shoal.hosts import host_of, parse_host, parse_netloc
from shoal.model.delivery import DeliveryState
from shoal.queue.queue import JobQueue
from shoal.queue.webhooks import SCHEDULE_S
from shoal.settings import Settings
from shoal.url_policy import UrlPolicy
from tests import conftest
from tests.receiver import Receiver
from tests.security.conftest import Patient
from tests.security.data import ended_job
from tests.serving import served

# An empty queue for each test and short leases, in place of what this folder shares by module.
settings, redis, queue = conftest.settings, conftest.redis, conftest.queue

INNER = [
    "0.0.0.0", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254",
    "168.63.129.16", "169.254.169.254", "172.16.0.1", "192.0.0.192", "192.168.0.1", "198.18.0.1",
    "224.0.0.1", "240.0.0.1", "255.255.255.255",
]  # fmt: skip


def spellings(text: str) -> Iterator[str]:
    """Hosts that some program takes for an IPv4 address."""
    address = ipaddress.IPv4Address(text)
    a, b, c, d = address.packed
    number, low = int(address), (b << 16) | (c << 8) | d
    yield from (text, f"{number}", f"{number:#x}", f"0{number:o}", f"0X{number:X}")
    yield from (f"{a}.{low}", f"{a}.{b}.{(c << 8) | d}", f"{a:#x}.{b:#x}.{c:#x}.{d:#x}")
    yield from (f"0{a:o}.0{b:o}.0{c:o}.0{d:o}", f"{a:#x}.{low}", f"{text}.", f"0x0{a:x}.{low}")
    high, tail = f"{number >> 16:x}", f"{number & 0xFFFF:x}"
    for prefix in ("::", "::ffff:", "64:ff9b::", "64:ff9b:1::", "::ffff:0:"):
        yield f"[{prefix}{high}:{tail}]"
        yield f"[{prefix}{text}]"
    yield f"[2002:{high}:{tail}::]"
    yield f"[2002:{high}:{tail}:0:0:0:0:1]"
    yield f"[2001:0:{high}:{tail}::]"  # Teredo's server
    inverted = number ^ 0xFFFFFFFF
    yield f"[2001:0:4136:e378:8000:63bf:{inverted >> 16:x}:{inverted & 0xFFFF:x}]"
    yield f"[::ffff:{text}%eth0]"
    yield f"[fe80::{high}:{tail}%25eth0]"
    yield text.translate({ord("0") + n: chr(0xFF10 + n) for n in range(10)})  # full width
    yield text.translate({ord("1") + n: chr(0x2460 + n) for n in range(9)})  # circled
    yield text.replace(".", "\u3002")
    yield text.replace(".", "\uff0e")
    yield text.replace(".", "..", 1)
    yield text.replace(".", "%2e")
    yield f"{text}\\.example.com"
    yield f"example.com@{text}"
    yield f"example.com:80@{text}"
    yield f"{text}%00.example.com"
    yield f"{text}\t"


@pytest.mark.parametrize("address", INNER)
def test_no_spelling_of_an_inner_address_is_reached(address: str) -> None:
    def connected(host: str, port: int) -> list[str]:
        return [
            str(row[4][0]) for row in socket.getaddrinfo(host, port, flags=socket.AI_NUMERICHOST)
        ]

    for host in spellings(address):
        for url in (f"http://{host}/", f"https://{host}:8443/x?y=z", f"HTTP://{host}"):
            with pytest.raises(InvalidCallback):
                UrlPolicy(()).check(url)
            with pytest.raises(InvalidCallback):
                WebhookClient((), connected).post(url, {}, b"")


NO_HOSTS = [
    "127..0.0.1", ".example.com", "example..com", ".", "..", "", "xn--a", "xn--", "a.xn--a-.b",
    "xn--0.example", "a" * 64 + ".com", "a." * 130 + "com", "-a.com", "a-.com", "a b", "a\x00b",
    "exämple.com", "1.2.3.4.5", "256.1.1.1", "1.2.3.08", "0x", "99999999999", "example.0x1",
    "[::1", "::1", "[]", "[::1]x", "[fe80::1%25lo]", "[::1%lo]", "[1.2.3.4]", "[v1.x]", "a,b",
    "example.com.."]  # fmt: skip


@pytest.mark.parametrize("host", NO_HOSTS)
def test_what_is_no_host_is_refused_wherever_hosts_are_read(host: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_netloc(host)
    with pytest.raises(InvalidCallback):
        UrlPolicy((host,)).check(f"http://{host}/")
    assert host_of(f"http://{host}/") == ""
    assert not _is_local(host)


@pytest.mark.parametrize(
    ("text", "name", "port"),
    [
        ("Example.COM.", "example.com", None),
        ("example.com:", "example.com", None),
        ("my_service:8080", "my_service", 8080),
        ("xn--mnchen-3ya.de", "xn--mnchen-3ya.de", None),
        ("[2606:4700::1111]:443", "2606:4700::1111", 443),
        ("0x8.8.8.8", "8.8.8.8", None),
        ("3com", "3com", None),
        ("a.1b", "a.1b", None),
    ],
)
def test_hosts_have_one_spelling(text: str, name: str, port: int | None) -> None:
    host, found = parse_netloc(text)
    assert (host.name, found) == (name, port)


TEXTS = st.text(st.sampled_from("a1.:[]%@/\\-_x0 \n\x00é。①"), max_size=24) | st.text(max_size=24)


@effort(max_examples=800, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(TEXTS)
@example("xn--a")
@example("127..0.0.1")
@example("[::1")
def test_any_text_is_a_host_or_none(text: str) -> None:
    """Nothing but ``ValueError``, and nothing but the refusals of a callback."""
    try:
        host = parse_host(text)
    except ValueError:
        pass
    else:
        assert parse_host(f"[{host.name}]" if ":" in host.name else host.name) == host
    is_loopback(text)
    host_of(text)
    for url in (text, f"http://{text}", f"https://{text}/x"):
        try:
            UrlPolicy(()).check(url)
        except InvalidCallback:
            continue
        with pytest.raises(NoAnswer):  # what is let through can be tried
            WebhookClient((), _no_dns).post(url, {}, b"")


def _no_dns(host: str, port: int) -> list[str]:
    raise OSError("no such name")


@pytest.mark.parametrize("inner", INNER)
@pytest.mark.parametrize("first", [True, False])
def test_a_name_with_one_inner_address_is_refused(inner: str, first: bool) -> None:
    answer = [inner, "93.184.215.14"] if first else ["93.184.215.14", inner]
    with pytest.raises(CallbackForbidden):
        WebhookClient((), lambda host, port: answer).post("http://mixed.example/", {}, b"")


@pytest.mark.parametrize("error", [UnicodeError("label empty or too long"), OSError("no such")])
def test_a_name_that_cannot_be_resolved_is_no_answer(error: Exception) -> None:
    def resolve(host: str, port: int) -> list[str]:
        raise error

    with pytest.raises(NoAnswer):
        WebhookClient((), resolve).post("http://public.example/", {}, b"")


def test_a_redirect_is_not_followed() -> None:
    inner = Receiver("127.0.0.2")
    outer = Receiver("127.0.0.1")
    outer.answers.append((302, {"Location": f"http://127.0.0.2:{inner.port}/"}))
    client = WebhookClient(("127.0.0.1/32",))
    assert client.post(f"http://127.0.0.1:{outer.port}/", {}, b"").status == 302
    assert inner.got == []
    outer.close()
    inner.close()


@pytest.mark.parametrize("port", [0, 1, 22, 25, 110, 445, 1023, 65536, 99999])
def test_ports_of_other_services_stay_out_of_reach(port: int) -> None:
    with pytest.raises(InvalidCallback):
        UrlPolicy(()).check(f"http://public.example:{port}/")


# --- a delivery ends ------------------------------------------------------------------------------


class Broken:
    """A client with a fault that nobody thought of."""

    def post(self, url: str, headers: object, body: bytes) -> Answer:
        raise RuntimeError(url)


@pytest.mark.parametrize("url", ["http://127..0.0.1/", "http://xn--a/", "http://[::1", "\x00"])
def test_a_delivery_to_no_host_ends_as_failed(queue: JobQueue, url: str) -> None:
    """One from before such URLs were refused."""
    sender = WebhookSender(queue.callbacks, (SecretStr("QUJDRA=="),), WebhookClient(()))
    ended_job(queue, callback=url)
    (delivery,) = queue.callbacks.due(10)
    sender._start(delivery)
    sender._pool.shutdown(wait=True)
    assert queue.callbacks.get(delivery.id).state == DeliveryState.FAILED


def test_a_fault_of_ours_counts_as_a_try(queue: JobQueue) -> None:
    sender = WebhookSender(queue.callbacks, (SecretStr("QUJDRA=="),), Broken())  # type: ignore[arg-type]
    ended_job(queue, callback="http://public.example/")
    (delivery,) = queue.callbacks.due(10)
    for _ in range(len(SCHEDULE_S) + 1):
        assert queue.callbacks.get(delivery.id).state == DeliveryState.PENDING
        sender._deliver(queue.callbacks.get(delivery.id))
    assert queue.callbacks.get(delivery.id).state == DeliveryState.FAILED


# --- what is served ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def http(valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    settings = Settings(
        redis_url=valkey_url,
        queue="ssrf",
        data_dir=tmp_path_factory.mktemp("ssrf"),
        callback_secret=(SecretStr("whsec_" + "QUJDRA" * 6),),
        sweep_s=0,
    )
    with served(settings) as url, Patient(url) as client:
        yield client


@pytest.mark.parametrize("host", [*NO_HOSTS, *spellings("127.0.0.1")])
def test_a_callback_is_refused_when_it_is_submitted(http: httpx.Client, host: str) -> None:
    for body in ({"uri": "file:///x"}, {"uris": ["file:///x"]}):
        path = "/batches" if "uris" in body else "/videos"
        answer = http.post(path, json=body | {"prompts": ["car"], "callback": f"http://{host}/"})
        assert answer.status_code == 422
        assert answer.json()["code"] in ("invalid_callback", "callback_forbidden")


@pytest.mark.parametrize(
    "host", ["xn--a", "127..0.0.1", "[::1", "a@127.0.0.1", "127.0.0.1.evil.com"]
)
def test_a_host_header_that_is_none_is_refused(http: httpx.Client, host: str) -> None:
    assert http.get("/queue", headers={"host": host}).status_code == 401
    assert http.get("/queue", headers={"origin": f"http://{host}"}).status_code == 401


@pytest.mark.parametrize(
    "host", ["localhost:8000", "a.localhost", "LOCALHOST.", "127.9.9.9", "[::1]:1"]
)
def test_this_machine_by_any_of_its_names_is_served(http: httpx.Client, host: str) -> None:
    assert http.get("/queue", headers={"host": host}).status_code == 200
