"""OTLP by gRPC: OpenTelemetry's exporter, given what is encoded already."""

from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.trace.export import SpanExportResult

from falaj.server.errors import ConfigError
from falaj.server.ops.tracing import Tracing

_METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


class _EncodedStub:
    """The collector's service, whose request is bytes."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.Export = channel.unary_unary(
            _METHOD,
            request_serializer=lambda request: request,
            response_deserializer=ExportTraceServiceResponse.FromString,
        )


class _EncodedExporter(OTLPSpanExporter):
    """Takes the bytes of a request in place of spans."""

    def _translate_data(self, data: Any) -> Any:
        return data

    def _count_data(self, data: Any) -> int:
        return 1

    def _initialize_channel_and_stub(self) -> None:
        super()._initialize_channel_and_stub()  # type: ignore[no-untyped-call]
        self._client: Any = _EncodedStub(self._channel)


class GrpcExporter:
    """Sends requests of encoded spans; retries are OpenTelemetry's. One thread's, but for `shutdown`."""

    def __init__(self, settings: Tracing) -> None:
        self._exporter = _EncodedExporter(
            endpoint=settings.endpoint,
            credentials=_credentials(settings),
            headers=settings.header_pairs() or None,
            timeout=settings.timeout_seconds,
        )

    def export(self, request: bytes) -> bool:
        """Send an ExportTraceServiceRequest; return whether it was taken."""
        encoded: Any = request
        return self._exporter.export(encoded) is SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Try again no more, from now on."""
        self._exporter.shutdown()


def _credentials(settings: Tracing) -> grpc.ChannelCredentials | None:
    if settings.ca_file is None:
        return None
    try:
        authorities = Path(settings.ca_file).read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot be read: {error}", key="tracing.ca_file") from error
    return grpc.ssl_channel_credentials(authorities)
