"""A web server with one file, which behaves as it is told to."""

from __future__ import annotations

import ssl
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate for a host, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "tls.pem", folder / "tls.key"
    paths[0].write_bytes(built.public_bytes(Encoding.PEM))
    paths[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return paths


class WebServer:
    """Serves ``content`` at every path, and keeps what it was asked for.

    Attributes:
        breaks: after how many bytes each of the next answers ends too early.
        redirects: where the next answers lead.
        asked: the paths with their queries, and the ranges.
    """

    def __init__(
        self, content: bytes = b"", host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
    ) -> None:
        self.content = content
        self.headers = {"ETag": '"one"'}
        self.status = 0  # instead of the file
        self.has_ranges = True
        self.breaks: list[int] = []
        self.redirects: list[str] = []
        self.asked: list[tuple[str, str]] = []
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.asked.append((self.path, self.headers["Range"] or ""))
                web.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer((host, 0), Handler)
        self.port = self._server.server_port
        self.url = f"{'https' if tls else 'http'}://{host}:{self.port}"
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        headers, body = dict(self.headers), self.content
        first, _, last = handler.headers["Range"].removeprefix("bytes=").partition("-")
        if self.redirects:
            status, headers, body = 302, {"Location": self.redirects.pop(0)}, b""
        elif self.status:
            status, body = self.status, b"no"
        elif self.has_ranges and int(first) >= len(body):
            status, headers["Content-Range"], body = 416, f"bytes */{len(body)}", b""
        elif self.has_ranges:
            body = body[int(first) : int(last) + 1 if last else None]
            end = int(first) + len(body) - 1
            status, headers["Content-Range"] = 206, f"bytes {first}-{end}/{len(self.content)}"
        else:
            status = 200
        handler.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            handler.send_header(name, value)
        handler.end_headers()
        if len(body) > 1 and self.breaks:
            body = body[: self.breaks.pop(0)]
        handler.wfile.write(body)
        handler.close_connection = True

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
