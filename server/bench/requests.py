"""Requests as they go over the wire: JSON, JSON with binary tensors, or protobuf with raw ones."""

import json
from typing import Any

import numpy as np
import numpy.typing as npt

from falaj._core import InvalidInput
from falaj.server.bench.inputs import Inputs
from falaj.server.bench.marked import (
    Marked,
    joined,
    json_flag,
    json_number,
    proto_flag,
    proto_number,
    proto_parameter,
)
from falaj.server.bench.sequences import Sequences
from falaj.server.bench.target import Parameter, Target
from falaj.server.bench.v2_client import Request

_MOST_INT64 = 2**63 - 1
_PARAMETERS = 4  # the field of a ModelInferRequest
# Tags of an InferParameter's fields.
_BOOL, _INT64, _UINT64 = b"\x08", b"\x10", b"\x28"


def http_json(inputs: Inputs, target: Target) -> Request:
    """Write every number out, each with the fewest digits that tell it from its neighbours."""
    tensors = [
        f'{json_head(name, datatype, array)},"data":{_data(datatype, array)}}}'
        for name, (datatype, array) in inputs.items()
    ]
    body = joined(b"{", json_parameters(target), f'"inputs":[{",".join(tensors)}]}}'.encode())
    return Request([("Content-Type", "application/json")], body.content, body.places)


def http_binary(inputs: Inputs, target: Target) -> Request:
    """Put the tensors behind the JSON, and ask for answers of that form."""
    blobs = [raw(datatype, array) for datatype, array in inputs.values()]
    tensors = [
        f'{json_head(name, datatype, array)},"parameters":{{"binary_data_size":{len(blob)}}}}}'
        for (name, (datatype, array)), blob in zip(inputs.items(), blobs, strict=True)
    ]
    parameters = json_parameters(target, binary_data_output=True)
    head = joined(b"{", parameters, f'"inputs":[{",".join(tensors)}]}}'.encode())
    headers = [
        ("Content-Type", "application/octet-stream"),
        ("Inference-Header-Content-Length", str(len(head.content))),
    ]
    return Request(headers, head.content + b"".join(blobs), head.places)


def grpc_raw(inputs: Inputs, target: Target) -> Request:
    """Make a ModelInferRequest with raw_input_contents."""
    request = grpc_begin(target)
    for name, (datatype, array) in inputs.items():
        tensor = request.inputs.add(name=name, datatype=datatype)
        tensor.shape.extend(array.shape)
        request.raw_input_contents.append(raw(datatype, array))
    body = joined(grpc_sequence(target), request.SerializeToString())
    return Request([], body.content, body.places)


def grpc_begin(target: Target) -> Any:
    """Make a ModelInferRequest without tensors."""
    from falaj.server.grpc.schema import message

    request: Any = message("inference.ModelInferRequest")()
    request.model_name, request.model_version = target.model, target.version or ""
    for key, value in target.parameters.items():
        _set_parameter(request.parameters[key], key, value)
    return request


def grpc_sequence(target: Target) -> Marked:
    """Return the fields of a request that say which sequence it is of: the first, and that it is all of it.

    Ids are of INT64, as Triton takes them, where all of them are.
    """
    of = target.sequences
    if of is None:
        return Marked(b"")
    kind = _UINT64 if of.last_id > _MOST_INT64 else _INT64
    return joined(
        proto_parameter(_PARAMETERS, "sequence_id", joined(kind, proto_number("sequence", of.first_id))),
        proto_parameter(_PARAMETERS, "sequence_start", joined(_BOOL, proto_flag("start", True))),
        proto_parameter(_PARAMETERS, "sequence_end", joined(_BOOL, proto_flag("end", True))),
    )


def raw(datatype: str, array: npt.NDArray[Any]) -> bytes:
    """Return a tensor's bytes: little-endian and row-major; of BYTES each element behind its length."""
    if datatype != "BYTES":
        return array.tobytes()
    parts = []
    for item in array.ravel().tolist():
        text = item if isinstance(item, bytes) else str(item).encode()
        parts += [len(text).to_bytes(4, "little"), text]
    return b"".join(parts)


def json_head(name: str, datatype: str, array: npt.NDArray[Any]) -> str:
    """Return the beginning of an input: its name, shape and datatype."""
    shape = json.dumps(list(array.shape), separators=(",", ":"))
    return f'{{"name":{json.dumps(name)},"shape":{shape},"datatype":"{datatype}"'


def _data(datatype: str, array: npt.NDArray[Any]) -> str:
    flat = array.ravel()
    if datatype == "BYTES":
        try:
            texts = [item.decode() if isinstance(item, bytes) else str(item) for item in flat.tolist()]
        except UnicodeDecodeError as error:
            raise InvalidInput(
                "BYTES in JSON: expected text in UTF-8; the binary form carries any bytes"
            ) from error
        return json.dumps(texts, separators=(",", ":"))
    if array.dtype.kind == "b":
        return json.dumps(flat.tolist(), separators=(",", ":"))
    if array.dtype.kind in "fV" and not np.isfinite(flat.astype(np.float64)).all():
        raise InvalidInput(f"{datatype} in JSON: expected finite numbers; the binary form carries others")
    return f"[{','.join(map(str, flat))}]"


def json_parameters(target: Target, **more: Parameter) -> Marked:
    """Return the request's parameters and a comma; nothing where there are none."""
    plain = json.dumps({**target.parameters, **more})[1:-1].encode()
    own = () if target.sequences is None else _json_sequence(target.sequences)
    if not plain and not own:
        return Marked(b"")
    return joined(b'"parameters":{', *own, b"," if plain and own else b"", plain, b"},")


def _json_sequence(of: Sequences) -> tuple[Marked | bytes, ...]:
    return (
        b'"sequence_id":',
        json_number("sequence", of.first_id),
        b',"sequence_start":',
        json_flag("start", True),
        b',"sequence_end":',
        json_flag("end", True),
    )


def _set_parameter(to: Any, key: str, value: Parameter) -> None:
    """Choose the field as tritonclient does: of whole numbers those that are above INT64 are unsigned."""
    if isinstance(value, bool):
        to.bool_param = value
    elif isinstance(value, int):
        if not -_MOST_INT64 - 1 <= value <= 2 * _MOST_INT64 + 1:
            raise InvalidInput(f"parameter '{key}': expected a whole number of 64 bits, got {value}")
        if value > _MOST_INT64 or key == "priority":
            to.uint64_param = value
        else:
            to.int64_param = value
    elif isinstance(value, float):
        to.double_param = value
    else:
        to.string_param = value
