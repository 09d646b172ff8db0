"""Columns of training data as the files have them, before anything stands for what is not there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falaj.features.column import Column
from falaj.features.datatypes import FLOATS
from falaj.training.errors import TrainingError


@dataclass(frozen=True)
class Stored:
    """A column of files.

    Attributes:
        values: Of shape [rows]; anything where `nulls` says so.
    """

    values: NDArray[Any]
    nulls: NDArray[np.bool_]

    def take(self, rows: NDArray[np.int64]) -> "Stored":
        """Return some rows, by their places."""
        return Stored(self.values[rows], self.nulls[rows])


def read_stored(files: Sequence[str], names: Sequence[str]) -> dict[str, Stored]:
    """Read columns of Parquet or CSV files, row by row in the order of the files.

    Args:
        names: Those that are not there are left out.

    Raises:
        TrainingError: A file cannot be read.
    """
    try:
        import duckdb
    except ImportError as error:
        raise TrainingError("data: no package duckdb: pip install 'falaj[training]'") from error
    from falaj.features.offline.sql import literal, quoted

    listed = f"[{', '.join(literal(file) for file in files)}]"
    is_parquet = all(file.endswith(".parquet") for file in files)
    of_csv = f"read_csv({listed}, header = true, nullstr = '', sample_size = -1)"
    rows = f"read_parquet({listed})" if is_parquet else of_csv
    connection = duckdb.connect()
    try:
        connection.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
        described = connection.execute(f"DESCRIBE SELECT * FROM {rows}").fetchall()
        there = [name for name in names if name in {str(each[0]) for each in described}]
        if not there:
            return {}
        selected = ", ".join(quoted(name) for name in there)
        found = connection.execute(f"SELECT {selected} FROM {rows}").fetchnumpy()
    except duckdb.Error as error:
        raise TrainingError(f"data: {error}") from error
    finally:
        connection.close()
    return {
        name: Stored(np.ma.getdata(values), np.ma.getmaskarray(values).reshape(-1))
        for name, values in found.items()
    }


def as_served(
    stored: Stored, datatype: str, feature: Column | None, is_present: NDArray[np.bool_] | None
) -> NDArray[Any]:
    """Return a column as a model gets it that is asked by key.

    Where there is no value, that is the feature's default, and NaN, '' or 0 where it has none.

    Args:
        datatype: Of the model's input.
        feature: The view's column; None of a value that requests bring.
        is_present: Where given, rows that are not present get no default, as `on_missing` says by `nan`.
    """
    nothing: Any = np.nan if datatype in FLOATS else "" if datatype == "BYTES" else 0
    dtype = object if datatype == "BYTES" else np.float32 if datatype == "FP32" else np.float64
    values = np.array(stored.values, dtype=object if stored.nulls.any() else None)
    values[stored.nulls] = nothing
    with np.errstate(over="ignore"):
        made: NDArray[Any] = values.astype(dtype)
    if feature is not None and feature.default is not None:
        filled = stored.nulls if is_present is None else stored.nulls & is_present
        made[filled] = feature.default
    return made


def columns_of(views: Mapping[str, Sequence[Column]]) -> dict[str, Column]:
    """Return the columns of views by the names that training sets have for them."""
    return {f"{view}__{column.name}": column for view, columns in views.items() for column in columns}
