"""Where callbacks go to in tests."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Receiver:
    """An HTTP server on loopback that keeps what it gets and answers what it is told to."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []  # with the path as header ":path"
        self.answer: tuple[int, dict[str, str]] = (204, {})  # where there is none in ``answers``
        self.answers: list[tuple[int, dict[str, str]]] = []
        self.hold = threading.Event()
        self.hold.set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append(({**self.headers, ":path": self.path}, body))
                receiver.hold.wait(60)
                status, headers = receiver.answers.pop(0) if receiver.answers else receiver.answer
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer((host, port), Handler)
        self.port = self.server.server_port
        self.url = f"http://{host}:{self.port}/hook?token=s3cret"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.hold.set()
        self.server.shutdown()
        self.server.server_close()
