"""One id through API, worker and model process: in the log's lines, and as a trace."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from shoal.settings import Settings
from shoal.tracing import trace_id
from tests.running import Processes, eventually


class Collector:
    """An OpenTelemetry collector that remembers the spans it was sent."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, str, int]] = []  # service, name, trace
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.take(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def take(self, request: ExportTraceServiceRequest) -> None:
        for resource in request.resource_spans:
            service = next(
                each.value.string_value
                for each in resource.resource.attributes
                if each.key == "service.name"
            )
            for scope in resource.scope_spans:
                self.spans += [
                    (service, span.name, int.from_bytes(span.trace_id)) for span in scope.spans
                ]


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.server.shutdown()
    collector.server.server_close()


def test_a_video_is_one_trace_and_its_lines_carry_its_id(
    processes: Processes, settings: Settings, collector: Collector, sample_clip: Path
) -> None:
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "SHOAL_LOG_FORMAT": "json"}
    processes.env |= env
    client = processes.api()
    processes.worker("cpu")
    record = client.submit(client.upload(sample_clip).uri, ["person"], max_frames=5)
    client.wait(record.id)
    wanted = {("shoal-api", "submit"), ("shoal-worker", "attempt"), ("shoal-model", "publish")}
    eventually(lambda: wanted <= {span[:2] for span in collector.spans}, "the spans")
    assert {span[2] for span in collector.spans} == {trace_id(record.id)}
    answer = httpx.get(client.url + "/queue", headers={"X-Request-ID": "mine-1"}, timeout=60)
    assert answer.headers["X-Request-ID"] == "mine-1"
    lines = [
        json.loads(line)
        for path in processes.log_dir.iterdir()
        for line in path.read_text().splitlines(keepends=True)
        if line.endswith("\n")  # the last one may still be written
    ]
    about = {line["logger"] for line in lines if line.get("job") == record.id}
    assert {"api.middleware.request_log", "worker.parent"} <= about
    posted = next(line for line in lines if line["message"].startswith("local: POST /videos: 202"))
    assert posted["request"]
