"""V2 datatypes and the NumPy arrays that hold them."""

from typing import Any

import numpy as np

from falaj.training.errors import TrainingError

_ELEMENTS = {
    "BOOL": np.bool_,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
    "BYTES": np.object_,
}


def dtype_of(datatype: str) -> np.dtype[Any]:
    """Return the NumPy dtype of an array of a V2 datatype; BYTES are objects."""
    if datatype not in _ELEMENTS:
        raise TrainingError(f"datatype {datatype!r}: expected one of {', '.join(_ELEMENTS)}")
    return np.dtype(_ELEMENTS[datatype])


def datatype_of(dtype: np.dtype[Any]) -> str | None:
    """Return the V2 datatype of arrays of a NumPy dtype; None if there is none."""
    if dtype.kind in "OSU":
        return "BYTES"
    return next((name for name, of in _ELEMENTS.items() if np.dtype(of) == dtype), None)
