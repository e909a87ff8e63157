"""An OpenTelemetry collector on loopback: takes spans over OTLP/HTTP, or takes its time."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True, slots=True)
class Taken:
    """A span as it came; ids are hex, ``parent`` is empty for the first of a trace; times are nanoseconds."""

    name: str
    trace: str
    id: str
    parent: str
    began: int
    ended: int
    failed: bool
    facts: dict[str, Any]
    pid: int

    @property
    def traceparent(self) -> str:
        """What whoever was called within it was told."""
        return f"00-{self.trace}-{self.id}-01"


class Collector:
    """Listens inside the block; ``hangs`` once set, it answers nobody until the block ends."""

    def __init__(self) -> None:
        self.hangs = threading.Event()
        self.asked = threading.Event()
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._taken: list[Taken] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.asked.set()
                if collector.hangs.is_set():
                    collector._over.wait(60)
                    return
                status = 200 if self.path == "/v1/traces" else 404
                if status == 200:
                    collector._take(body)
                self.send_response(status)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        """What ``traces.endpoint`` is set to."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def of(self, trace: str) -> list[Taken]:
        """The spans of one trace, in the order in which they began."""
        with self._lock:
            return sorted((each for each in self._taken if each.trace == trace), key=lambda each: each.began)

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()

    def _take(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            about = _facts(resource.resource.attributes)
            assert about["service.name"] == "foreman"
            for span in (each for scope in resource.scope_spans for each in scope.spans):
                taken = Taken(
                    name=span.name,
                    trace=span.trace_id.hex(),
                    id=span.span_id.hex(),
                    parent=span.parent_span_id.hex(),
                    began=span.start_time_unix_nano,
                    ended=span.end_time_unix_nano,
                    failed=span.status.code == 2,
                    facts={key.removeprefix("foreman."): value for key, value in _facts(span.attributes).items()},
                    pid=about["process.pid"],
                )
                with self._lock:
                    self._taken.append(taken)


def _facts(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}
