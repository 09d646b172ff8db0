"""Rows of the data that a model was made from: what tells the types of its inputs."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falaj.training.errors import TrainingError
from falaj.training.graph.frame_columns import FrameColumns
from falaj.training.library import require
from falaj.training.original import Original


@dataclass(frozen=True)
class Sample:
    """Rows as a table, or as an array for each input.

    Attributes:
        frame: A pandas DataFrame; None of arrays.
        arrays: By the names of inputs, all of as many rows; none of a table.
        origin: The file.
    """

    frame: Any
    arrays: dict[str, NDArray[Any]]
    origin: str = ""

    def table(self) -> Any:
        """Return the DataFrame, or raise a TrainingError."""
        if self.frame is None:
            raise TrainingError(f"{self.origin}: expected a table, Parquet or CSV, got arrays")
        return self.frame

    def matrix(self, columns: Collection[str] = ()) -> NDArray[np.float32]:
        """Return columns of the table, all unless some are named, FP32 [rows, columns]."""
        frame = self.table()
        missing = [name for name in columns if name not in frame.columns]
        if missing:
            have = ", ".join(map(str, frame.columns))
            raise TrainingError(f"{self.origin}: no column {missing[0]!r}; it has {have}")
        chosen = frame[list(columns)] if columns else frame
        for name in chosen.columns:
            if chosen[name].dtype.kind not in "biuf":
                raise TrainingError(
                    f"{self.origin}: column {name!r}: expected numbers, got {chosen[name].dtype}"
                )
        return np.asarray(chosen.to_numpy(np.float64).astype(np.float32))


def read_sample(path: Path, leave_out: Collection[str] = ()) -> Sample:
    """Read a sample: `.parquet`, `.csv` or `.npz`.

    Args:
        path: The file. In an archive of arrays each is named for an input and has a row first.
        leave_out: Columns that the model does not take, such as the target.

    Raises:
        TrainingError: It is of another kind, or a column to leave out is not in it.
    """
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files if name not in leave_out}
        rows = {len(array) if array.ndim else 0 for array in arrays.values()}
        if len(rows) != 1 or not rows.pop():
            raise TrainingError(f"{path}: expected arrays of as many rows, one or more")
        return Sample(None, arrays, str(path))
    if path.suffix not in (".parquet", ".csv"):
        raise TrainingError(f"{path}: expected .parquet, .csv or .npz")
    require(str(path), "pandas", "pyarrow")
    import pandas

    frame = pandas.read_parquet(path) if path.suffix == ".parquet" else pandas.read_csv(path)
    for name in leave_out:
        if name not in frame.columns:
            have = ", ".join(map(str, frame.columns))
            raise TrainingError(f"{path}: no column {name!r} to leave out; it has {have}")
    if not len(frame):
        raise TrainingError(f"{path}: expected rows, got none")
    return Sample(frame.drop(columns=list(leave_out)), {}, str(path))


def rows_of(original: Original, sample: Sample) -> dict[str, NDArray[Any]]:
    """Return a sample's rows as the inputs of a model.

    Raises:
        TrainingError: An input or a column is absent, or of another type.
    """
    made: dict[str, NDArray[Any]] = {}
    for one in original.inputs:
        if sample.frame is None:
            if one.name not in sample.arrays:
                raise TrainingError(f"{sample.origin}: no array {one.name!r}")
            made[one.name] = sample.arrays[one.name]
        elif one.columns and one.columns != (one.name,):
            made[one.name] = sample.matrix(one.columns)
        else:
            made |= FrameColumns((one,)).arrays(sample.frame)
    return made
