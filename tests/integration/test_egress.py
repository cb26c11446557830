"""Where callbacks may go: to public addresses and what is allowed, and to no other."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress

import pytest

from api import webhook_client as egress
from api.webhook_client import WebhookClient
from shoal.errors import CallbackForbidden, InvalidCallback
from shoal.url_policy import UrlPolicy
from tests.receiver import Receiver

PRIVATE = [
    "http://127.0.0.1/",
    "http://localhost/",
    "http://[::1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[2002:7f00:1::]/",
    "http://[fe80::1]/",
    "http://[fd00::1]/",
    "http://169.254.169.254/latest/meta-data/",
    "http://10.0.0.1/",
    "http://100.64.0.1/",
    "http://0.0.0.0/",
    "http://224.0.0.1/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7f.1/",
    "http://0177.0.0.1/",
    "http://127.1/",
    "http://127.0.0.1.:80/",
    "http://127.0.0.2/",
    "http://[::127.0.0.1]/",
    "http://[::]/",
    "http://[fec0::1]/",
    "http://[ff02::1]/",
    "http://[2001:db8::1]/",
    "http://[2001:0:7f00:1::]/",
    "http://[64:ff9b:1::a00:1]/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://[2002:a9fe:a9fe::]/",
    "http://[::ffff:169.254.169.254]/",
    "http://[fd00:ec2::254]/latest/meta-data/",
    "http://2852039166/latest/meta-data/",
    "http://0xa9fea9fe/",
    "http://0251.0376.0251.0376/",
    "http://169.254.43518/",
    "http://100.100.100.200/",
    "http://168.63.129.16/metadata",
    "http://192.0.0.192/",
    "http://172.16.0.1/",
    "http://192.168.0.1/",
    "http://198.18.0.1/",
    "http://240.0.0.1/",
    "http://255.255.255.255/",
]
MALFORMED = [
    "ftp://example.com/",
    "example.com",
    "http://",
    "http://user:pw@example.com/",
    "http://example.com@127.0.0.1/",
    "http://example.com\\@127.0.0.1/",
    "http://example.com%40127.0.0.1@10.0.0.1/",
    "http://@127.0.0.1/",
    "http://127.0.0.1#@example.com:99999/",
    "http:127.0.0.1",
    "http:///127.0.0.1/",
    "https:\\example.com",
    "file:///etc/passwd",
    "gopher://example.com/",
    "javascript:alert(1)",
    "http://[::1",
    "http://example.com\t/",
    "http://example.com:0x50/",
    "http://example.com:-1/",
    "http://127.0.0.1\\.example.com/",
    "http://example.com/ x",
    "http://example.com/\r\nHost: evil",
    "http://exämple.com/",
    "http://example.com:22/",
    "http://example.com:99999/",
    "https://example.com/" + "x" * 2000,
]


@pytest.mark.parametrize("url", PRIVATE)
def test_private_addresses_are_out_of_reach(url: str) -> None:
    with pytest.raises(InvalidCallback):  # CallbackForbidden, where the host could be read at all
        WebhookClient(()).post(url, {}, b"")


@pytest.mark.parametrize("url", MALFORMED)
def test_urls_that_could_be_read_in_two_ways_are_refused(url: str) -> None:
    with pytest.raises(InvalidCallback):
        UrlPolicy(()).check(url)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://10.0.0.1/", "10.0.0.1 is not a public address"),
        ("http://[fd00::1]/", "fd00::1 is not a public address"),
        ("http://0x7f.1/", "127.0.0.1 is not a public address, written as '0x7f.1'"),
    ],
)
def test_the_address_is_named(url: str, words: str) -> None:
    with pytest.raises(CallbackForbidden) as refused:
        UrlPolicy(()).check(url)
    assert str(refused.value) == words


@pytest.mark.parametrize(
    "answer", [["10.1.2.3"], ["93.184.215.14", "127.0.0.1"], ["::ffff:10.0.0.1"], ["fe80::1%eth0"]]
)
def test_a_name_that_means_a_private_address_is_refused(answer: list[str]) -> None:
    with pytest.raises(CallbackForbidden):
        WebhookClient((), lambda host, port: answer).post("http://public.example/", {}, b"")


def test_the_checked_address_is_the_one_that_is_used() -> None:
    """A name that means another host the second time it is asked for (DNS rebinding)."""
    allowed = Receiver("127.0.0.1")
    forbidden = Receiver("127.0.0.2", allowed.port)
    answers = [["127.0.0.1"], ["127.0.0.2"]]
    outward = WebhookClient(("127.0.0.1/32",), lambda host, port: answers.pop(0))
    assert outward.post(f"http://rebind.example:{allowed.port}/", {}, b"x").status == 204
    assert len(answers) == 1
    (headers, _), *more = allowed.got
    assert headers["Host"] == f"rebind.example:{allowed.port}"
    assert more == []
    with pytest.raises(CallbackForbidden):
        outward.post(f"http://rebind.example:{allowed.port}/", {}, b"x")
    assert forbidden.got == []
    allowed.close()
    forbidden.close()


def test_a_name_may_be_allowed() -> None:
    receiver = Receiver()
    outward = WebhookClient(("hooks.internal",), lambda host, port: ["127.0.0.1"])
    assert outward.post(f"http://Hooks.Internal:{receiver.port}/", {}, b"").status == 204
    with pytest.raises(CallbackForbidden):
        outward.post(f"http://other.internal:{receiver.port}/", {}, b"")
    receiver.close()


def test_an_answer_that_drips_in_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(egress, "TIMEOUT_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _ = server.accept()
            with connection, suppress(OSError):  # the other side hangs up, as it should
                while True:
                    connection.sendall(b"H")
                    time.sleep(0.1)

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        with pytest.raises(egress.NoAnswer):
            WebhookClient(("127.0.0.0/8",)).post(url, {}, b"")
        # It may have given up before it was there; the other side waits for somebody.
        socket.create_connection(server.getsockname()).close()
        thread.join()
