"""Tensors as the protocol writes them: JSON, binary, and gRPC's typed contents."""

import json
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from tests.conformance.exchange import Answer
from tests.zoo import numpy_dtype

LENGTH_FIELD = "Inference-Header-Content-Length"
OCTETS = "application/octet-stream"
# The field of InferTensorContents that carries a data type; FP16 and BF16 have none.
CONTENTS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def described(name: str, datatype: str, shape: Sequence[int], **more: Any) -> dict[str, Any]:
    """A tensor of a request, without its data."""
    return {"name": name, "shape": [*shape], "datatype": datatype, **more}


def in_json(name: str, datatype: str, array: np.ndarray, **more: Any) -> dict[str, Any]:
    """A tensor of a request with its data in JSON."""
    return described(name, datatype, array.shape, data=json_values(array), **more)


def json_values(array: np.ndarray) -> list[Any]:
    """The elements, row by row; BYTES as strings."""
    if array.dtype == object:
        return [element.decode() for element in array.reshape(-1)]
    if array.dtype.kind in "fV":  # V: bfloat16, which lists do not know
        return [float(element) for element in array.reshape(-1)]
    return array.reshape(-1).tolist()


def blob(array: np.ndarray) -> bytes:
    """The elements as binary data: little-endian and unpadded, BYTES each after its length."""
    if array.dtype == object:
        return b"".join(struct.pack("<I", len(element)) + element for element in array.reshape(-1))
    return array.astype(array.dtype.newbyteorder("<")).tobytes()


def from_blob(datatype: str, shape: Sequence[int], data: bytes) -> np.ndarray:
    """The array that binary data are."""
    if datatype != "BYTES":
        return np.frombuffer(data, numpy_dtype(datatype)).reshape(shape)
    elements = []
    while data:
        (length,) = struct.unpack_from("<I", data)
        elements.append(data[4 : 4 + length])
        assert len(elements[-1]) == length
        data = data[4 + length :]
    return of_bytes(elements, shape)


def from_json(output: dict[str, Any]) -> np.ndarray:
    """The array of an output whose data are in JSON."""
    shape, datatype, data = output["shape"], output["datatype"], output["data"]
    if datatype == "BYTES":
        return of_bytes([element.encode() for element in data], shape)
    return np.array(data, numpy_dtype(datatype)).reshape(shape)


def of_bytes(elements: Sequence[bytes], shape: Sequence[int]) -> np.ndarray:
    """An array of BYTES. NumPy by itself would take equal lengths for a dimension and drop trailing zeros."""
    array = np.empty(len(elements), dtype=np.object_)
    array[:] = elements
    return array.reshape(shape)


def binary_request(
    request: dict[str, Any], *blobs: bytes, encode: Any = lambda body: body
) -> tuple[bytes, dict[str, str]]:
    """The body and the header fields of a request whose tensors follow its JSON."""
    text = json.dumps(request).encode()
    return encode(text + b"".join(blobs)), {LENGTH_FIELD: str(len(text)), "Content-Type": OCTETS}


def binary_answer(answer: Answer) -> tuple[dict[str, Any], list[bytes]]:
    """The JSON of an answer with binary tensors, and their data in order."""
    assert answer.status == 200, answer
    assert answer.header("content-type") == OCTETS
    length = answer.header(LENGTH_FIELD.lower())
    assert length is not None
    content = answer.content()
    told, rest = json.loads(content[: int(length)]), content[int(length) :]
    blobs = []
    for output in told["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size")
        if size is not None:
            assert "data" not in output
            blobs.append(rest[:size])
            rest = rest[size:]
    assert rest == b""
    return told, blobs


def assert_equal(actual: np.ndarray, expected: np.ndarray) -> None:
    """The same type, shape and bits."""
    assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
    assert blob(actual) == blob(expected)
