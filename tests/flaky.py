"""A proxy before a bucket server, that makes uploads fail for a while as a network does."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "expect"}


class Flaky(ThreadingHTTPServer):
    """Hands requests on to ``target``; the next ``failures`` uploads fail.

    Attributes:
        status: that they fail with; 0: after half of the body the connection breaks.
        failed: how many have.
    """

    daemon_threads = True

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = urlsplit(target).netloc
        self.failures = 0
        self.status = 503
        self.failed = 0
        self._counting = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def fails_now(self) -> bool:
        with self._counting:
            if self.failed >= self.failures:
                return False
            self.failed += 1
            return True


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Flaky

    def _hand_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        is_upload = self.command in ("PUT", "POST") and len(body) > 0
        if is_upload and self.server.fails_now():
            if self.server.status == 0:
                self._break(body)
            else:
                self.send_response(self.server.status)
                self.send_header("Content-Length", "0")
                self.end_headers()
            return
        upstream = http.client.HTTPConnection(self.server.target, timeout=60)
        upstream.request(self.command, self.path, body, self._headers())
        answer = upstream.getresponse()
        content = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else None
        self.send_header("Content-Length", length or str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        upstream.close()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _hand_on  # noqa: N815 - http.server's names

    def _headers(self) -> dict[str, str]:
        return {name: value for name, value in self.headers.items() if name.lower() != "expect"}

    def _break(self, body: bytes) -> None:
        """Half of the body gets to the server, and no end."""
        host, _, port = self.server.target.partition(":")
        upstream = socket.create_connection((host, int(port)), timeout=60)
        lines = [f"{self.command} {self.path} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in self._headers().items()]
        upstream.sendall("\r\n".join([*lines, "", ""]).encode() + body[: len(body) // 2])
        upstream.close()
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@contextmanager
def flaky(target: str) -> Iterator[Flaky]:
    server = Flaky(target)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
