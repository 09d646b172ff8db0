"""Collectors of OTLP that keep what they get, by HTTP and by gRPC."""

import http.server
import ssl
import threading
from collections.abc import Sequence
from concurrent import futures
from types import TracebackType
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans

from tests.server.serving_process import until
from tests.server.tracing.spans import Span, trees

_PATIENCE = 60


class Collected:
    """What came, from any thread, and how it is answered.

    Attributes:
        headers: Of each export, names in lower case.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._exports: list[trace_service_pb2.ExportTraceServiceRequest] = []
        self.headers: list[dict[str, str]] = []
        self.refusing = 0  # so many are refused as by a collector that is busy
        self.open = threading.Event()  # exports are answered while it is set
        self.open.set()

    def add(self, body: bytes, headers: dict[str, str]) -> bool:
        """Keep an export; return whether it is taken."""
        self.open.wait(_PATIENCE)
        export = trace_service_pb2.ExportTraceServiceRequest.FromString(body)
        with self._lock:
            if self.refusing > 0:
                self.refusing -= 1
                return False
            self._exports.append(export)
            self.headers.append(headers)
        return True

    def resources(self) -> list[ResourceSpans]:
        """All that came, by whose it is."""
        with self._lock:
            return [spans for export in self._exports for spans in export.resource_spans]

    def requests(self) -> list[Span]:
        """The spans of all requests that came."""
        return trees(span for one in self.resources() for scope in one.scope_spans for span in scope.spans)

    def wait_for(self, count: int) -> list[Span]:
        """Wait until so many requests came; return them."""
        until(lambda: len(self.requests()) >= count, f"{count} requests are collected")
        return self.requests()


class HttpCollector(Collected):
    """Takes OTLP by HTTP on a free port until the context is left; by TLS where a context for it is given."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__()
        collected = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                fields = {name.lower(): value for name, value in self.headers.items()}
                known = self.path == "/v1/traces" and fields["content-type"] == "application/x-protobuf"
                taken = known and collected.add(body, fields)
                self.send_response(200 if taken else 503 if known else 404)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._scheme = "http" if tls is None else "https"
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def endpoint(self) -> str:
        return f"{self._scheme}://localhost:{self._server.server_port}"

    def __enter__(self) -> "HttpCollector":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.open.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class GrpcCollector(Collected):
    """The same by gRPC."""

    def __init__(self, tls: Sequence[bytes] | None = None) -> None:
        """`tls`: the private key and the certificate."""
        super().__init__()
        collected = self

        class Service(trace_service_pb2_grpc.TraceServiceServicer):  # type: ignore[misc]
            def Export(self, request: Any, context: Any) -> Any:  # noqa: N802
                headers = {pair.key: pair.value for pair in context.invocation_metadata()}
                if not collected.add(request.SerializeToString(), headers):
                    context.abort(grpc.StatusCode.UNAVAILABLE, "busy")
                return trace_service_pb2.ExportTraceServiceResponse()

        self._server = grpc.server(futures.ThreadPoolExecutor(4))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Service(), self._server)
        self._scheme = "http" if tls is None else "https"
        if tls is None:
            self._port = self._server.add_insecure_port("127.0.0.1:0")
        else:
            credentials = grpc.ssl_server_credentials([tuple(tls)])
            self._port = self._server.add_secure_port("127.0.0.1:0", credentials)

    @property
    def endpoint(self) -> str:
        return f"{self._scheme}://localhost:{self._port}"

    def __enter__(self) -> "GrpcCollector":
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.open.set()
        self._server.stop(None).wait()
