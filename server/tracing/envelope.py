"""What stands around the spans of an export: whose they are."""

import uuid
from collections.abc import Mapping

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource as ResourceMessage
from opentelemetry.sdk.resources import OTELResourceDetector

from falaj import _core

# The version of the semantic conventions that csrc/observe/otlp_spans.cc follows.
_SCHEMA = "https://opentelemetry.io/schemas/1.44.0"
# Field numbers, each with its wire type.
_RESOURCE_SPANS = b"\x0a"  # of ExportTraceServiceRequest
_RESOURCE, _SCOPE_SPANS = b"\x0a", b"\x12"  # of ResourceSpans
_SCOPE, _SCHEMA_URL = b"\x0a", b"\x1a"  # of ScopeSpans


class Envelope:
    """Makes an ExportTraceServiceRequest of spans. Immutable.

    Args:
        attributes: Of the resource, over those of OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME.
    """

    def __init__(self, attributes: Mapping[str, str]) -> None:
        told = {
            "service.name": "falaj",
            "service.version": _core.__version__,
            "service.instance.id": str(uuid.uuid4()),
            "telemetry.sdk.name": "falaj",
            "telemetry.sdk.language": "cpp",
            "telemetry.sdk.version": _core.__version__,
            **{name: str(value) for name, value in OTELResourceDetector().detect().attributes.items()},
            **attributes,
        }
        pairs = [KeyValue(key=name, value=AnyValue(string_value=value)) for name, value in told.items()]
        scope = InstrumentationScope(name="falaj", version=_core.__version__)
        self._resource = _field(_RESOURCE, ResourceMessage(attributes=pairs).SerializeToString())
        self._scope = _field(_SCOPE, scope.SerializeToString())
        self._schema = _field(_SCHEMA_URL, _SCHEMA.encode())

    def around(self, spans: bytes) -> bytes:
        """Return the request's bytes. `spans`: those of the field `spans` of a ScopeSpans."""
        scope_bytes = len(self._scope) + len(spans) + len(self._schema)
        scope_head = _SCOPE_SPANS + _varint(scope_bytes)
        resource_bytes = len(self._resource) + len(scope_head) + scope_bytes
        head = _RESOURCE_SPANS + _varint(resource_bytes) + self._resource + scope_head + self._scope
        return b"".join((head, spans, self._schema))


def _field(tag: bytes, content: bytes) -> bytes:
    return tag + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
