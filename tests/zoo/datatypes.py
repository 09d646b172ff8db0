"""The V2 data types: their ONNX element types, their NumPy dtypes, and random values of them."""

from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np
from onnx import TensorProto

_TABLE: dict[str, tuple[int, Any]] = {
    "BOOL": (TensorProto.BOOL, np.bool_),
    "UINT8": (TensorProto.UINT8, np.uint8),
    "UINT16": (TensorProto.UINT16, np.uint16),
    "UINT32": (TensorProto.UINT32, np.uint32),
    "UINT64": (TensorProto.UINT64, np.uint64),
    "INT8": (TensorProto.INT8, np.int8),
    "INT16": (TensorProto.INT16, np.int16),
    "INT32": (TensorProto.INT32, np.int32),
    "INT64": (TensorProto.INT64, np.int64),
    "FP16": (TensorProto.FLOAT16, np.float16),
    "BF16": (TensorProto.BFLOAT16, ml_dtypes.bfloat16),
    "FP32": (TensorProto.FLOAT, np.float32),
    "FP64": (TensorProto.DOUBLE, np.float64),
    "BYTES": (TensorProto.STRING, np.object_),
}

DATATYPES: tuple[str, ...] = tuple(_TABLE)
FLOATS: tuple[str, ...] = ("FP16", "BF16", "FP32", "FP64")

_BY_ONNX_TYPE = {onnx: datatype for datatype, (onnx, _) in _TABLE.items()}

# Valid UTF-8 of one to four bytes a character, what JSON must escape, and an element longer than a
# small-string buffer.
_WORDS = (
    "",
    "a",
    "falaj",
    "two words",
    "é",
    "فلج",
    "水路",
    "🌴",
    '"quoted" \\ / \t\n',
    "null\x00inside",
    "long " * 60,
)


def onnx_type(datatype: str) -> int:
    """Return the TensorProto element type of a V2 data type."""
    return _TABLE[datatype][0]


def numpy_dtype(datatype: str) -> np.dtype[Any]:
    """Return the dtype of a V2 data type's arrays: ml_dtypes.bfloat16 for BF16, object (bytes) for BYTES."""
    dtype: np.dtype[Any] = np.dtype(_TABLE[datatype][1])
    return dtype


def datatype_of(onnx_element_type: int) -> str:
    """Return the V2 data type of a TensorProto element type; raises KeyError where V2 has none."""
    return _BY_ONNX_TYPE[onnx_element_type]


def random_array(rng: np.random.Generator, datatype: str, shape: Sequence[int]) -> np.ndarray:
    """Draw integers over their whole range, (finite) floats from N(0, 1), BYTES from fixed awkward words."""
    dtype = numpy_dtype(datatype)
    if datatype == "BYTES":
        return _random_bytes(rng, shape)
    if datatype == "BOOL":
        return rng.integers(0, 2, shape).astype(np.bool_)
    if datatype in FLOATS:
        return rng.standard_normal(shape).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)


def _random_bytes(rng: np.random.Generator, shape: Sequence[int]) -> np.ndarray:
    array = np.empty(shape, dtype=np.object_)
    for index in np.ndindex(*shape):
        array[index] = _WORDS[int(rng.integers(len(_WORDS)))].encode()
    return array
