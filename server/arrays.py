"""Python values that are not arrays yet (lists, scalars) as arrays of a protocol data type."""

from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

_NUMPY: dict[str, Any] = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "FP32": np.float32,
    "FP64": np.float64,
    "BYTES": np.object_,
}
# Kinds of NumPy type that may become a data type without changing a value's meaning.
_ACCEPTED = {"b": "b", "i": "iu", "u": "iu", "f": "iuf", "V": "iuf"}


def numpy_type(datatype: str) -> np.dtype[Any]:
    """The NumPy type that carries `datatype` (a protocol name, such as "FP32")."""
    dtype: np.dtype[Any] = np.dtype(_NUMPY[datatype])
    return dtype


def from_python(value: Any, datatype: str) -> npt.NDArray[Any]:
    """Make an array of `datatype` from a list, tuple or scalar.

    Unlike NumPy's own conversion it never rounds a float to an integer, wraps an integer that is out of
    range, or reads a number as a truth value: those raise ValueError.
    """
    if datatype == "BYTES":
        return _strings(value)
    array = np.asarray(value)
    target = numpy_type(datatype)
    if array.size == 0:
        return array.astype(target)
    kind = array.dtype.kind
    if target.kind in "iu" and kind in "fO":
        # NumPy makes floats of integers that fit no one type of its own, such as 0 beside 2**63.
        objects = np.asarray(value, dtype=np.object_)
        if all(isinstance(item, int) and not isinstance(item, bool) for item in objects.ravel().tolist()):
            array, kind = objects, "i"
    if kind not in _ACCEPTED[target.kind]:
        raise ValueError(f"{array.dtype} values are not {datatype}")
    if target.kind in "iu":
        bounds = np.iinfo(target)
        low, high = int(array.min()), int(array.max())
        if low < bounds.min or high > bounds.max:
            wrong = low if low < bounds.min else high
            raise ValueError(f"{wrong} is out of the range of {datatype}, {bounds.min} to {bounds.max}")
        return array.astype(target)
    with np.errstate(over="ignore"):
        converted = array.astype(target)
    overflown = np.isinf(converted) & ~np.isinf(array) if target.kind in "fV" else np.zeros(1, dtype=np.bool_)
    if overflown.any():
        raise ValueError(f"{array[overflown][0]} is out of the range of {datatype}")
    return converted


def _strings(value: Any) -> npt.NDArray[Any]:
    if isinstance(value, str | bytes):
        scalar = np.empty((), dtype=np.object_)
        scalar[()] = value
        return scalar
    # Asked for objects, NumPy keeps each str and bytes as it is (its 'S' type would drop trailing NULs).
    return np.asarray(value, dtype=np.object_)


def zeros(datatype: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Zeros of `datatype`; empty strings for BYTES."""
    if datatype == "BYTES":
        return np.full(shape, b"", dtype=np.object_)
    return np.zeros(shape, dtype=numpy_type(datatype))


def random(datatype: str, shape: tuple[int, ...], generator: np.random.Generator) -> npt.NDArray[Any]:
    """Varied but harmless values: small whole numbers, floats around 0, digits as strings."""
    if datatype == "FP32":
        return generator.standard_normal(size=shape, dtype=np.float32)
    if datatype == "BYTES":
        digits = generator.integers(0, 10, size=shape)
        strings = np.array([str(digit).encode() for digit in digits.flat], dtype=np.object_)
        return strings.reshape(shape)
    if datatype == "BOOL":
        return generator.integers(0, 2, size=shape).astype(np.bool_)
    if datatype.startswith(("INT", "UINT")):
        return generator.integers(0, 2, size=shape).astype(numpy_type(datatype))
    return generator.standard_normal(size=shape).astype(numpy_type(datatype))
