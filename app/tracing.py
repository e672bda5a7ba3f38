"""Traces by OpenTelemetry. Its API comes with FastAPI; what records and sends is in the extra `otel`.

A trace goes from the request that made a job to its attempts: the job's row keeps the
`traceparent` of the request.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NoOpTracerProvider, TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor

NAME: Final = "mixsd"
"""Of our tracer."""

OFF: Final = NoOpTracerProvider()
"""Traces nothing."""

_EXPORTER: Final = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
_HEADER: Final = "traceparent"
_PROPAGATOR: Final = TraceContextTextMapPropagator()


class TracingExtraMissingError(Exception):
    """Traces are asked for, and what would send them is not installed."""

    def __init__(self) -> None:
        super().__init__(
            "MIXSD_OTLP_ENDPOINT is set, but OpenTelemetry's SDK is not installed: "
            "install it with `pip install 'mixsd[otel]'`, or leave the setting empty"
        )


def check_installed(endpoint: str) -> None:
    """Do nothing if traces can be sent, or are not asked for. For the start of a process.

    Raises:
        TracingExtraMissingError: The extra `otel` is missing.
    """
    if not endpoint:
        return
    try:
        import_module("opentelemetry.sdk.trace")
        import_module(_EXPORTER)
    except ImportError as error:
        raise TracingExtraMissingError from error


def provider_for(endpoint: str, *, role: str) -> TracerProvider:
    """Return what makes the tracers of a process. Make it after a fork: it has a thread that sends.

    Args:
        endpoint: Address of a collector that takes OTLP over HTTP, with or without `/v1/traces`.
            Empty: nothing is traced.
        role: What the process is called in traces: `mixsd-{role}`.

    Raises:
        TracingExtraMissingError: The extra `otel` is missing.
    """
    if not endpoint:
        return OFF
    check_installed(endpoint)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415  an extra
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415  as above

    address = endpoint.rstrip("/")
    address = address if address.endswith("/v1/traces") else f"{address}/v1/traces"
    return recording(BatchSpanProcessor(OTLPSpanExporter(endpoint=address)), role=role)


def recording(processor: "SpanProcessor", *, role: str) -> TracerProvider:
    """Return a provider that hands spans to `processor`, without the queries of requests."""
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415  an extra
    from opentelemetry.sdk.trace import Span, SpanProcessor  # noqa: PLC0415  as above
    from opentelemetry.sdk.trace import TracerProvider as Recording  # noqa: PLC0415  as above

    class WithoutQuery(SpanProcessor):
        """Blots out what FastAPI notes: a query may hold what is nobody's business."""

        def on_start(self, span: Span, parent_context: Context | None = None) -> None:
            if "url.query" in (span.attributes or {}):
                span.set_attribute("url.query", "REDACTED")

    provider = Recording(resource=Resource.create({"service.name": f"mixsd-{role}"}))
    provider.add_span_processor(WithoutQuery())
    provider.add_span_processor(processor)
    return provider


def is_on(provider: TracerProvider) -> bool:
    """Say whether anything is traced at all."""
    return provider is not OFF


def close(provider: TracerProvider) -> None:
    """Send what is left. Waits a few seconds at most."""
    if shutdown := getattr(provider, "shutdown", None):
        shutdown()


def current() -> str | None:
    """Return the `traceparent` of the span that goes on; None if there is none."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return carrier.get(_HEADER)


def current_trace_id() -> str | None:
    """Return the trace that goes on as logs show it."""
    found = trace.get_current_span().get_span_context()
    return trace.format_trace_id(found.trace_id) if found.is_valid else None


def context_of(traceparent: str | None) -> Context:
    """Return the context in which spans continue a trace; without one they begin a new one."""
    carrier = {_HEADER: traceparent} if traceparent else {}
    return _PROPAGATOR.extract(carrier, context=Context())
