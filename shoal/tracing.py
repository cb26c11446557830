"""OpenTelemetry traces, where OTEL_EXPORTER_OTLP_ENDPOINT says where to send them.

All spans of a video are in one trace, whose id is made of the job's: so API, worker and model
process agree on it without telling each other. Without an endpoint nothing is imported, and a span
costs a function call.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

log = logging.getLogger(__name__)

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
DELAY_MS = 1000  # spans are sent this often, in the background

_tracer: Any = None
_provider: Any = None


def setup(service: str) -> None:
    """Start to trace, if an endpoint is set.

    Args:
        service: 'api', 'worker' or 'model'; shown as 'shoal-<service>', unless
            OTEL_SERVICE_NAME says otherwise.
    """
    global _tracer, _provider
    if not os.environ.get(ENDPOINT):
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        log.error(
            "%s is set, but OpenTelemetry is not installed: run pip install '.[otel]' (%s)",
            ENDPOINT,
            error,
        )
        return
    name = os.environ.get("OTEL_SERVICE_NAME", f"shoal-{service}")
    _provider = TracerProvider(resource=Resource.create({"service.name": name}))
    exporter = OTLPSpanExporter()
    _provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=DELAY_MS))
    _tracer = _provider.get_tracer("shoal")


def shutdown() -> None:
    """Send what has not been sent yet."""
    if _provider is not None:
        _provider.shutdown()


@contextmanager
def span(name: str, job_id: str, **attributes: str | int | float) -> Iterator[None]:
    """A span in the trace of a job; an exception marks it as failed."""
    if _tracer is None:
        yield
        return
    labels = {f"shoal.{key}": value for key, value in {"job": job_id, **attributes}.items()}
    with _tracer.start_as_current_span(name, context=_trace_of(job_id), attributes=labels):
        yield


def trace_id(job_id: str) -> int:
    """128 bits, never zero."""
    return int(hashlib.sha256(job_id.encode()).hexdigest()[:32], 16) or 1


def _trace_of(job_id: str) -> Any:
    """The context of a job's trace; within one of its spans, that span."""
    from opentelemetry import trace

    current = trace.get_current_span().get_span_context()
    if current.is_valid and current.trace_id == trace_id(job_id):
        return None
    known = trace.SpanContext(
        trace_id=trace_id(job_id),
        span_id=trace_id(job_id + "/root") >> 64 or 1,
        is_remote=True,
        trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED),
    )
    return trace.set_span_in_context(trace.NonRecordingSpan(known))
