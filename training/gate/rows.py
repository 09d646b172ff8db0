"""Rows of a model's inputs: arrays by name that have the same first dimension."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falaj.training.original import Arrays

Indices = NDArray[np.int64]


def count(rows: Arrays) -> int:
    """Return how many rows there are."""
    return int(next(iter(rows.values())).shape[0])


def take(rows: Arrays, which: Any) -> dict[str, NDArray[Any]]:
    """Return rows by indices, a mask or a slice, in C order."""
    return {name: np.ascontiguousarray(array[which]) for name, array in rows.items()}


def concatenated(parts: Sequence[Arrays]) -> dict[str, NDArray[Any]]:
    """Return the rows of all parts, in order."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def flat(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array of shape [rows, columns] of one of shape [rows, *shape]; of zero rows too."""
    width = int(np.prod(array.shape[1:], dtype=np.int64))
    return array.reshape(array.shape[0], width)


@dataclass(frozen=True)
class Edit:
    """Real rows of which one column is changed.

    Attributes:
        base: INT64 [n]: which rows.
        column: INT64 [n]: the place in a row of the input, flattened.
        value: [n], of the input's type.
    """

    input: str
    base: Indices
    column: Indices
    value: NDArray[Any]

    def rows(self, real: Arrays) -> dict[str, NDArray[Any]]:
        """Return the changed rows, [n] of them."""
        made = take(real, self.base)
        flat(made[self.input])[np.arange(self.base.size), self.column] = self.value
        return made


@dataclass(frozen=True)
class RowSet:
    """Rows on which an export is held against its original.

    Attributes:
        kind: What is special about them; a report's line is called so.
        group: INT64 [rows]: rows of one group are refused by the original for one cause, if any is.
        window: Of boundaries: so many rows, one after the other, differ in one column by a step; else 1.
        binding: Whether a difference refuses the export, or is only told.
        far: Whether numbers are so far from real ones that calculations lose what they do not there.
    """

    kind: str
    rows: Mapping[str, NDArray[Any]]
    group: Indices
    window: int = 1
    binding: bool = True
    far: bool = False
