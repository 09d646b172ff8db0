"""The inputs of a model, made of columns by the names that training data have for them."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falaj.training.errors import TrainingError
from falaj.training.original import ModelInput, Original

_DTYPES: Mapping[str, Any] = {
    **{f"{sign}INT{bits}": f"{sign.lower()}int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)},
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
    "BOOL": np.bool_,
    "BYTES": object,
}


def inputs_from(original: Original, columns: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return rows as a model's inputs.

    Args:
        columns: Of shape [rows], by name; or a whole input by its own name, [rows, ...].

    Raises:
        TrainingError: A column is not there, or does not fit the input's datatype.
    """
    return {each.name: _input(each, columns) for each in original.inputs}


def column_names(original: Original) -> Iterator[str]:
    """Yield what an original takes, as training data names it."""
    for each in original.inputs:
        yield from each.columns if has_columns(each) else (each.name,)


def has_columns(tensor: ModelInput) -> bool:
    """Whether an input is made of columns that have names."""
    return len(tensor.shape) == 1 and tensor.shape[0] == len(tensor.columns)


def _input(tensor: ModelInput, columns: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    dtype = _DTYPES.get(tensor.datatype)
    if dtype is None:
        raise TrainingError(f"input {tensor.name!r}: {tensor.datatype} cannot be made of columns")
    if not has_columns(tensor) or (tensor.name in columns and columns[tensor.name].ndim > 1):
        return _cast(_named(columns, tensor.name), dtype, tensor.name)
    parts = [_cast(_named(columns, name), dtype, f"{tensor.name}: {name}") for name in tensor.columns]
    return np.stack([part.reshape(len(part)) for part in parts], axis=1)


def _named(columns: Mapping[str, NDArray[Any]], name: str) -> NDArray[Any]:
    if name not in columns:
        there = ", ".join(columns) or "none"
        raise TrainingError(f"data: expected a column {name!r}, there are: {there}")
    return columns[name]


def _cast(values: NDArray[Any], dtype: Any, where: str) -> NDArray[Any]:
    try:
        with np.errstate(over="ignore"):  # what is too large for FP32 is infinite, as when it is served
            return values.astype(dtype)
    except (TypeError, ValueError) as error:
        told = f"expected {np.dtype(dtype)}, got {values.dtype}: {error}"
        raise TrainingError(f"data: {where}: {told}") from error
