"""Traces by OpenTelemetry, where its variables name a collector."""

import os
import threading
from collections.abc import Mapping
from typing import Any

VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
HEADERS = ("traceparent", "tracestate")
"""In which who asks says of which trace the request is a part (W3C Trace Context)."""
LAST = 2.0
"""Seconds that the last spans have at the end: a collector that is away holds nobody up."""


class Tracer:
    """Opens a span for each request, and sends them to the collector by a thread of its own."""

    def __init__(self, provider: Any) -> None:
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider, self._kind = provider, SpanKind.SERVER
        self._tracer = provider.get_tracer("clickflow.online.http")
        self._context = TraceContextTextMapPropagator()

    def start_span(self, name: str, headers: Mapping[str, str]) -> Any:
        """A span; `headers`: those of `HEADERS` that the request has. What they say wrongly begins a new trace."""
        return self._tracer.start_span(name, self._context.extract(headers), self._kind)

    def close(self) -> None:
        """Send what is not sent yet."""
        last = threading.Thread(target=self._provider.shutdown, daemon=True)
        last.start()
        last.join(LAST)


def tracer() -> Tracer | None:
    """One that sends to the collector of `VARIABLES` over HTTP; None where none is named."""
    if not any(os.environ.get(name) for name in VARIABLES) or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    name = os.environ.get("OTEL_SERVICE_NAME", "clickflow-serve")
    provider = TracerProvider(resource=Resource.create({"service.name": name}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracer(provider)
