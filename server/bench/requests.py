"""Requests as they go over the wire: JSON, JSON with binary tensors, or protobuf with raw ones."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from falaj._core import InvalidInput
from falaj.server.bench.inputs import Inputs
from falaj.server.bench.target import Parameter, Target
from falaj.server.bench.v2_client import Request

_MOST_INT64 = 2**63 - 1


def http_json(inputs: Inputs, target: Target) -> Request:
    """Write every number out, each with the fewest digits that tell it from its neighbours."""
    tensors = [
        f'{_head(name, datatype, array)},"data":{_data(datatype, array)}}}'
        for name, (datatype, array) in inputs.items()
    ]
    content = f'{{{_parameters(target.parameters)}"inputs":[{",".join(tensors)}]}}'
    return [("Content-Type", "application/json")], content.encode()


def http_binary(inputs: Inputs, target: Target) -> Request:
    """Put the tensors behind the JSON, and ask for answers of that form."""
    blobs = [raw(datatype, array) for datatype, array in inputs.values()]
    tensors = [
        f'{_head(name, datatype, array)},"parameters":{{"binary_data_size":{len(blob)}}}}}'
        for (name, (datatype, array)), blob in zip(inputs.items(), blobs, strict=True)
    ]
    parameters = _parameters({**target.parameters, "binary_data_output": True})
    head = f'{{{parameters}"inputs":[{",".join(tensors)}]}}'.encode()
    headers = [
        ("Content-Type", "application/octet-stream"),
        ("Inference-Header-Content-Length", str(len(head))),
    ]
    return headers, head + b"".join(blobs)


def grpc_raw(inputs: Inputs, target: Target) -> Request:
    """Make a ModelInferRequest with raw_input_contents."""
    from falaj.server.grpc.schema import message

    request: Any = message("inference.ModelInferRequest")()
    request.model_name, request.model_version = target.model, target.version or ""
    for key, value in target.parameters.items():
        _set_parameter(request.parameters[key], key, value)
    for name, (datatype, array) in inputs.items():
        tensor = request.inputs.add(name=name, datatype=datatype)
        tensor.shape.extend(array.shape)
        request.raw_input_contents.append(raw(datatype, array))
    content: bytes = request.SerializeToString()
    return [], content


def raw(datatype: str, array: npt.NDArray[Any]) -> bytes:
    """Return a tensor's bytes: little-endian and row-major; of BYTES each element behind its length."""
    if datatype != "BYTES":
        return array.tobytes()
    parts = []
    for item in array.ravel().tolist():
        text = item if isinstance(item, bytes) else str(item).encode()
        parts += [len(text).to_bytes(4, "little"), text]
    return b"".join(parts)


def _head(name: str, datatype: str, array: npt.NDArray[Any]) -> str:
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


def _parameters(parameters: Mapping[str, Parameter]) -> str:
    return f'"parameters":{json.dumps(dict(parameters))},' if parameters else ""


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
