"""Rows as estimators take them: one matrix of numbers and of the codes of categories."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falaj.training.fit.table import Table


def known_values(table: Table) -> Mapping[str, tuple[str, ...]]:
    """Return the values of each category, ascending. '' is one where rows have no value."""
    return MappingProxyType(
        {
            name: tuple(str(value) for value in np.unique(values.astype(str)))
            for name, values in table.categories.items()
        }
    )


def coded(
    matrix: NDArray[np.float32],
    categories: Mapping[str, NDArray[Any]],
    known: Mapping[str, tuple[str, ...]],
) -> NDArray[np.float32]:
    """Return numbers, then the code of each category: its place in what is known, NaN of other values.

    Args:
        matrix: [rows, numbers].
        categories: By column, `object` arrays of str, [rows].

    Returns:
        FP32 [rows, numbers + categories], contiguous by rows.
    """
    made = np.empty((len(matrix), matrix.shape[1] + len(known)), np.float32)
    made[:, : matrix.shape[1]] = matrix
    for i, (name, values) in enumerate(known.items(), matrix.shape[1]):
        places = {value: place for place, value in enumerate(values)}
        made[:, i] = [places.get(value, np.nan) for value in categories[name]]
    return made
