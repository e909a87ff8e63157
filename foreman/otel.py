"""Traces by OpenTelemetry, sent over OTLP/HTTP: imported where ``traces.endpoint`` is set, and nowhere else.

A step costs its thread some 30 µs (measured) and never waits: spans go into a queue, which a thread of its own empties.
Where the collector is slow or away, the queue runs full and spans are dropped.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from foreman import __version__
from foreman.domain.job import Moment
from foreman.traces import Fact, Facts, Span, Tracer

#: Where a collector takes spans, behind its own URL: opentelemetry.io/docs/specs/otlp.
_PATH = "/v1/traces"
#: Seconds a collector has for one batch; it takes milliseconds.
_EXPORT_S = 2.0
#: Milliseconds between two batches: what is lost with a process that is killed.
_PAUSE_MS = 1_000
#: Spans that wait at most: ten seconds of the most that a process makes, some megabytes.
_QUEUE = 8_192
#: Seconds for the last batch when the process ends: half of ``cli/grace.py``'s ``EXIT_MARGIN_S``.
_CLOSE_S = 0.5

_NS_PER_MS = 1_000_000


class OtelTracer(Tracer):
    """Sends spans to ``endpoint``, a collector's URL; ``sample_ratio`` of traces that begin here, 0 to 1.

    A trace that began elsewhere is sampled if it was there.
    """

    def __init__(self, endpoint: str, sample_ratio: float) -> None:
        resource = Resource.create(
            {"service.name": "foreman", "service.version": __version__, "process.pid": os.getpid()}
        )
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(sample_ratio)), resource=resource, shutdown_on_exit=False
        )
        exporter = OTLPSpanExporter(endpoint.rstrip("/") + _PATH, timeout=_EXPORT_S)
        self._provider.add_span_processor(
            BatchSpanProcessor(exporter, max_queue_size=_QUEUE, schedule_delay_millis=_PAUSE_MS)
        )
        self._tracer = self._provider.get_tracer("foreman", __version__)

    @contextmanager
    def step(
        self,
        name: str,
        parent: str | None,
        facts: Facts,
        *,
        began: Moment | None = None,
        calls: bool = False,
    ) -> Iterator[Span]:
        """As ``Tracer`` says; an exception that ends the block is told by its type alone."""
        kind = SpanKind.CLIENT if calls else SpanKind.INTERNAL
        start_time = None if began is None else began * _NS_PER_MS
        begun = self._tracer.start_span(name, _context(parent), kind, _attributes(facts), start_time=start_time)
        span = _OtelSpan(begun)
        try:
            yield span
        except BaseException as error:
            span.failed(type(error).__name__)
            raise
        finally:
            begun.end()

    def past(self, name: str, parent: str | None, began: Moment, facts: Facts) -> None:
        """As ``Tracer`` says."""
        attributes = _attributes(facts)
        self._tracer.start_span(name, _context(parent), attributes=attributes, start_time=began * _NS_PER_MS).end()

    def close(self) -> None:
        """As ``Tracer`` says: the SDK by itself would wait for thirty seconds."""
        closing = threading.Thread(target=self._provider.shutdown, name="traces-close", daemon=True)
        closing.start()
        closing.join(_CLOSE_S)


class _OtelSpan(Span):
    def __init__(self, span: trace.Span) -> None:
        context = span.get_span_context()
        super().__init__(f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}")
        self._span = span

    def tell(self, **facts: Fact) -> None:
        self._span.set_attributes(_attributes(facts))

    def failed(self, why: str) -> None:
        self._span.set_status(Status(StatusCode.ERROR, why))


def _context(parent: str | None) -> Context:
    """The context of a checked traceparent; without one an empty context, in which a new trace begins."""
    if parent is None:
        return Context()
    _, trace_id, span_id, flags = parent.split("-")
    remote = SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))
    return trace.set_span_in_context(NonRecordingSpan(remote), Context())


def _attributes(facts: Facts) -> dict[str, str | int | float | bool]:
    return {f"foreman.{name}": fact for name, fact in facts.items() if fact is not None}
