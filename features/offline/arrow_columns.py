"""Columns of Arrow as NumPy has them. pyarrow is imported where they are made."""

from typing import Any

import numpy as np
import numpy.typing as npt

from falaj.features.transform.evaluate import dtype_of

_WIDER = {"UINT8": "INT16", "UINT16": "INT32", "UINT32": "INT64", "UINT64": "DECIMAL(20, 0)"}


def values_of(column: Any, datatype: str) -> npt.NDArray[Any]:
    """Return an array of Arrow as one of NumPy, of a datatype that holds its values; anything where null."""
    import pyarrow.compute as pc

    nothing = "" if datatype == "BYTES" else False if datatype == "BOOL" else 0
    return np.asarray(pc.fill_null(column, nothing).to_numpy(zero_copy_only=False), dtype_of(datatype))


def nulls_of(column: Any) -> npt.NDArray[np.bool_]:
    """Return which values of an array of Arrow are null."""
    return np.asarray(column.is_null().to_numpy(zero_copy_only=False), np.bool_)


def arrow_of(values: npt.NDArray[Any], valid: npt.NDArray[np.bool_], datatype: str, widened: bool) -> Any:
    """Return an array of NumPy as one of Arrow, null where not valid.

    Args:
        widened: Unsigned integers become the next wider type, as Spark has them.
    """
    import pyarrow as pa

    made = pa.array(values, arrow_type(datatype), mask=~valid)
    return made.cast(_wider(datatype)) if widened and datatype in _WIDER else made


def arrow_type(datatype: str) -> Any:
    """Return Arrow's type of a datatype."""
    import pyarrow as pa

    return pa.string() if datatype == "BYTES" else pa.from_numpy_dtype(dtype_of(datatype))


def _wider(datatype: str) -> Any:
    import pyarrow as pa

    return pa.decimal128(20, 0) if datatype == "UINT64" else arrow_type(_WIDER[datatype])
