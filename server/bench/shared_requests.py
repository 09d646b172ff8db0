"""Requests whose tensors lie in shared memory: they say where."""

import json

from falaj.server.bench.inputs import Inputs
from falaj.server.bench.marked import Marked, joined, json_number, proto_field, proto_number, proto_parameter
from falaj.server.bench.requests import grpc_begin, grpc_sequence, json_head, json_parameters
from falaj.server.bench.shared_memory import SharedTensors, Span
from falaj.server.bench.target import Target
from falaj.server.bench.v2_client import Request

_REGION, _OFFSET, _SIZE = "shared_memory_region", "shared_memory_offset", "shared_memory_byte_size"
# Fields of ModelInferRequest and of an output in it, tags of an InferParameter's.
_OUTPUTS, _NAME, _PARAMETERS = 6, 1, 2
_INT64 = b"\x10"
_STRING = 3


def http_shared(inputs: Inputs, number: int, shared: SharedTensors, target: Target) -> Request:
    """Make the `number`-th request in JSON: its inputs lie there already."""
    tensors = []
    for name, (datatype, array) in inputs.items():
        span = shared.inputs[number][name]
        where = {_REGION: shared.input_region, _OFFSET: span.offset, _SIZE: span.size}
        tensors.append(f'{json_head(name, datatype, array)},"parameters":{json.dumps(where)}}}')
    outputs: list[Marked | bytes] = []
    for name, span in shared.outputs.items():
        outputs += [b"," if outputs else b"", *_json_output(name, span, shared)]
    body = joined(
        b"{",
        json_parameters(target),
        f'"inputs":[{",".join(tensors)}],"outputs":['.encode(),
        *outputs,
        b"]}",
    )
    return Request([("Content-Type", "application/json")], body.content, body.places)


def grpc_shared(inputs: Inputs, number: int, shared: SharedTensors, target: Target) -> Request:
    """Make the `number`-th request as a ModelInferRequest."""
    request = grpc_begin(target)
    for name, (datatype, array) in inputs.items():
        tensor = request.inputs.add(name=name, datatype=datatype)
        tensor.shape.extend(array.shape)
        span = shared.inputs[number][name]
        tensor.parameters[_REGION].string_param = shared.input_region
        tensor.parameters[_OFFSET].int64_param = span.offset
        tensor.parameters[_SIZE].int64_param = span.size
    outputs = (_grpc_output(name, span, shared) for name, span in shared.outputs.items())
    body = joined(grpc_sequence(target), request.SerializeToString(), *outputs)
    return Request([], body.content, body.places)


def _json_output(name: str, span: Span, shared: SharedTensors) -> tuple[Marked | bytes, ...]:
    where = json.dumps({_REGION: shared.output_region, _SIZE: span.size})[1:-1]
    return (
        f'{{"name":{json.dumps(name)},"parameters":{{{where},"{_OFFSET}":'.encode(),
        json_number("slot", span.offset, each=shared.slot_bytes),
        b"}}",
    )


def _grpc_output(name: str, span: Span, shared: SharedTensors) -> Marked:
    offset = proto_number("slot", span.offset, each=shared.slot_bytes)
    size = proto_number("slot", span.size).content
    return proto_field(
        _OUTPUTS,
        joined(
            proto_field(_NAME, name.encode()),
            proto_parameter(_PARAMETERS, _REGION, proto_field(_STRING, shared.output_region.encode())),
            proto_parameter(_PARAMETERS, _OFFSET, joined(_INT64, offset)),
            proto_parameter(_PARAMETERS, _SIZE, joined(_INT64, size)),
        ),
    )
