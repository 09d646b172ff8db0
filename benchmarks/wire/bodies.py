"""One infer request in each form of the wire, as bytes."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from tests.zoo.model import Arrays, ZooModel

_GRPC_METHOD = "/inference.GRPCInferenceService/ModelInfer"
# Rounding depends on the size of a batch: the text of a number may be so much longer or shorter.
_DIGITS = 4
_DATATYPES = {"<f4": "FP32", "<i8": "INT64"}


@dataclass(frozen=True)
class Varied:
    """A number in a body that the load generator draws anew for each request.

    Args:
        at: Bytes before it in the body.
        form: `text`: digits, always as many; `int64`: eight bytes.
        least: The numbers are drawn evenly from this one on, and are
        count: so many.
    """

    at: int
    form: str
    least: int
    count: int


@dataclass(frozen=True)
class Body:
    """A request as the load generator is given it.

    `length_slack` is what the length of its answers may vary by; `varied` what is another in each request.
    """

    protocol: str
    path: str
    headers: tuple[str, ...]
    content: bytes
    length_slack: int = 0
    varied: Varied | None = None


def http_json(model: ZooModel, inputs: Arrays, answer_elements: int) -> Body:
    """Write a row's numbers out, each with the fewest digits that tell it from its neighbours."""
    texts = (_tensor_json(name, array, f'"data":[{_numbers(array)}]') for name, array in inputs.items())
    content = f'{{"inputs":[{",".join(texts)}]}}'.encode()
    headers = ("Content-Type: application/json",)
    return Body("http", _path(model), headers, content, _DIGITS * answer_elements)


def http_binary(model: ZooModel, inputs: Arrays) -> Body:
    """Put the tensors behind the JSON, and ask for answers of that form."""
    texts = (
        _tensor_json(name, array, f'"parameters":{{"binary_data_size":{array.nbytes}}}')
        for name, array in inputs.items()
    )
    head = f'{{"parameters":{{"binary_data_output":true}},"inputs":[{",".join(texts)}]}}'.encode()
    headers = (
        "Content-Type: application/octet-stream",
        f"Inference-Header-Content-Length: {len(head)}",
    )
    content = head + b"".join(_raw(array) for array in inputs.values())
    return Body("http", _path(model), headers, content)


def grpc_raw(model: ZooModel, inputs: Arrays) -> Body:
    """Make a ModelInferRequest with raw_input_contents."""
    fields = [_field(1, model.name.encode())]
    for name, array in inputs.items():
        dims = b"".join(_varint(dim) for dim in array.shape)
        fields.append(
            _field(
                5,
                _field(1, name.encode()) + _field(2, _DATATYPES[array.dtype.str].encode()) + _field(3, dims),
            )
        )
    fields += [_field(7, _raw(array)) for array in inputs.values()]
    return Body("grpc", _GRPC_METHOD, (), b"".join(fields))


def shared_http(model: ZooModel, inputs: Arrays, region: str, output: str) -> Body:
    """Leave the one input at the begin of a region of shared memory, and want the output, which is as large,
    behind it."""
    ((name, array),) = inputs.items()
    given = _tensor_json(name, array, f'"parameters":{json.dumps(_place(region, array.nbytes, 0))}')
    wanted = {"name": output, "parameters": _place(region, array.nbytes, array.nbytes)}
    content = f'{{"inputs":[{given}],"outputs":[{json.dumps(wanted)}]}}'.encode()
    return Body("http", _path(model), ("Content-Type: application/json",), content)


def shared_grpc(model: ZooModel, inputs: Arrays, region: str, output: str) -> Body:
    """Do the same by a ModelInferRequest."""
    ((name, array),) = inputs.items()
    dims = b"".join(_varint(dim) for dim in array.shape)
    given = _field(1, name.encode()) + _field(2, _DATATYPES[array.dtype.str].encode()) + _field(3, dims)
    given += _entries(4, _place(region, array.nbytes, 0))
    wanted = _field(1, output.encode()) + _entries(2, _place(region, array.nbytes, array.nbytes))
    fields = [_field(1, model.name.encode()), _field(5, given), _field(6, wanted)]
    return Body("grpc", _GRPC_METHOD, (), b"".join(fields))


def _place(region: str, size: int, offset: int) -> dict[str, str | int]:
    return {
        "shared_memory_region": region,
        "shared_memory_byte_size": size,
        "shared_memory_offset": offset,
    }


def _entries(number: int, parameters: dict[str, str | int]) -> bytes:
    """Return a map of InferParameter: string_param (3) and int64_param (2)."""
    return b"".join(
        _field(number, _field(1, key.encode()) + _field(2, _parameter(given)))
        for key, given in parameters.items()
    )


def _parameter(given: str | int) -> bytes:
    return _field(3, given.encode()) if isinstance(given, str) else _varint(2 << 3) + _varint(given)


def _path(model: ZooModel) -> str:
    return f"/v2/models/{model.name}/infer"


def _tensor_json(name: str, array: npt.NDArray[Any], rest: str) -> str:
    shape = json.dumps(list(array.shape), separators=(",", ":"))
    return f'{{"name":{json.dumps(name)},"shape":{shape},"datatype":"{_DATATYPES[array.dtype.str]}",{rest}}}'


def _numbers(array: npt.NDArray[Any]) -> str:
    return ",".join(_texts(array))


def _texts(array: npt.NDArray[Any]) -> Iterator[str]:
    return map(str, array.ravel())


def _raw(array: npt.NDArray[Any]) -> bytes:
    return array.tobytes()


def _field(number: int, payload: bytes) -> bytes:
    """Return a protobuf field of wire type 2: string, bytes, message or packed numbers."""
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
