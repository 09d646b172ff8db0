"""Columns of Arrow as NumPy has them. pyarrow is imported where they are made."""

from typing import Any

import numpy as np
import numpy.typing as npt

from falaj.features.transform.evaluate import dtype_of


def values_of(column: Any, datatype: str) -> npt.NDArray[Any]:
    """Return an array of Arrow as one of NumPy, of a datatype that holds its values; anything where null."""
    import pyarrow.compute as pc

    nothing = "" if datatype == "BYTES" else False if datatype == "BOOL" else 0
    return np.asarray(pc.fill_null(column, nothing).to_numpy(zero_copy_only=False), dtype_of(datatype))


def nulls_of(column: Any) -> npt.NDArray[np.bool_]:
    """Return which values of an array of Arrow are null."""
    return np.asarray(column.is_null().to_numpy(zero_copy_only=False), np.bool_)


def arrow_type(datatype: str) -> Any:
    """Return Arrow's type of a datatype."""
    import pyarrow as pa

    return pa.string() if datatype == "BYTES" else pa.from_numpy_dtype(dtype_of(datatype))
