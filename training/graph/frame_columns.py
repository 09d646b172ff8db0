"""Columns of a pandas DataFrame as inputs of a served model."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from falaj.training.errors import TrainingError
from falaj.training.original import Arrays, ModelInput

# Missing text, which some of scikit-learn's steps tell apart.
Missing = Literal["None", "NaN"]
_MOST_CATEGORIES = 200  # more different texts than these are not a category


@dataclass(frozen=True)
class FrameColumns:
    """What a DataFrame's columns become.

    Attributes:
        inputs: One a column, in order, of shape (1,), with its name.
        missing: Of columns of text in which '' stands for a missing value: None or NaN, as in the DataFrame.
        categories: The texts of columns that have few.
        categorical: The texts of columns that have pandas' type for categories. Others are missing values, as
            pandas has it: XGBoost 3.2 would take some of them for known ones.
    """

    inputs: tuple[ModelInput, ...]
    missing: Mapping[str, Missing] = field(default_factory=lambda: MappingProxyType({}))
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    categorical: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))

    def frame(self, arrays: Arrays) -> Any:
        """Return the DataFrame that a pipeline is given: FP32 as float64, text as str or NaN."""
        import pandas

        columns: dict[str, Any] = {}
        for one in self.inputs:
            if one.name not in arrays:
                raise TrainingError(f"input {one.name!r}: is absent")
            column = np.asarray(arrays[one.name]).reshape(-1)
            if one.datatype in ("FP32", "FP64"):
                column = column.astype(np.float64)
            elif one.name in self.missing:
                absent = None if self.missing[one.name] == "None" else np.nan
                column = np.array([absent if of == "" else of for of in column], object)
            if one.name in self.categorical:
                column = pandas.Categorical(column, categories=list(self.categorical[one.name]))
            columns[one.name] = column
        return pandas.DataFrame(columns)

    def arrays(self, frame: Any) -> dict[str, Any]:
        """Return the inputs for the rows of a DataFrame: missing text as ''.

        Raises:
            TrainingError: A column is absent, or has what its datatype cannot hold.
        """
        return {one.name: _array(frame, one) for one in self.inputs}


def columns_of(sample: Any, names: Sequence[str]) -> FrameColumns:
    """Return what some columns of a DataFrame become.

    Floats are FP32 where each of the sample is the same as FP32, else FP64: rounded, a value would go another
    way at a tree's threshold, which is often one of the values itself. Integers are INT64, booleans BOOL,
    text BYTES.

    Args:
        sample: Rows as the model was fitted on.
        names: Of the columns, in order.

    Raises:
        TrainingError: One is absent, or of a type that is not served.
    """
    for name in names:
        if name not in sample.columns:
            have = ", ".join(map(str, sample.columns))
            raise TrainingError(f"sample: column {name!r} is absent; it has {have}")
    inputs = tuple(ModelInput(str(name), _datatype(sample[name]), (1,), (str(name),)) for name in names)
    texts = {one.name: sample[one.name].dropna() for one in inputs if one.datatype == "BYTES"}
    missing = {name: _missing(sample[name]) for name in texts if sample[name].isna().any()}
    categorical = {
        name: tuple(sample[name].cat.categories) for name in texts if sample[name].dtype.name == "category"
    }
    categories = dict(_categories(texts, missing))
    return FrameColumns(
        inputs, MappingProxyType(missing), MappingProxyType(categories), MappingProxyType(categorical)
    )


def _missing(column: Any) -> Missing:
    """Return what a column of text has where there is none."""
    kinds = {"None" if of is None else "NaN" for of in column[column.isna()].tolist()}
    if (column == "").any():
        kinds.add("''")
    if len(kinds) > 1:
        raise TrainingError(
            f"column {column.name!r}: expected one kind of missing text, got {', '.join(sorted(kinds))}: a "
            "request has '' only"
        )
    return "None" if "None" in kinds else "NaN"


def _categories(
    texts: Mapping[str, Any], missing: Mapping[str, Missing]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    for name, of in texts.items():
        known = sorted(set(of.tolist()))
        if 0 < len(known) <= _MOST_CATEGORIES:
            yield name, (*known, "") if name in missing else tuple(known)


def _datatype(column: Any) -> str:
    import pandas

    kinds = pandas.api.types
    if kinds.is_bool_dtype(column.dtype) and not column.isna().any():
        return "BOOL"
    if kinds.is_integer_dtype(column.dtype) and not column.isna().any():
        return "INT64"
    if kinds.is_numeric_dtype(column.dtype) and not kinds.is_complex_dtype(column.dtype):
        return "FP32" if _survives(column.to_numpy(np.float64, na_value=np.nan)) else "FP64"
    present = column.dropna()
    if all(isinstance(of, str) for of in present):
        return "BYTES"
    got = {type(of).__name__ for of in present}
    raise TrainingError(
        f"column {column.name!r}: expected numbers, booleans or text, got {column.dtype}, of "
        f"{', '.join(sorted(got))}: make a number of it by a request-time transform"
    )


def _survives(values: Any) -> bool:
    """Say whether every value is the same as FP32."""
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32).astype(np.float64)
    return bool(np.array_equal(narrow, values, equal_nan=True))


def _array(frame: Any, one: ModelInput) -> Any:
    if one.name not in frame.columns:
        raise TrainingError(f"sample: column {one.name!r} is absent")
    column = frame[one.name]
    if one.datatype == "BYTES":
        texts = ["" if of is None or of != of else of for of in column.tolist()]
        return np.array(texts, object).reshape(-1, 1)
    dtype = {"FP32": np.float32, "FP64": np.float64, "INT64": np.int64, "BOOL": np.bool_}[one.datatype]
    if one.datatype in ("FP32", "FP64"):
        with np.errstate(over="ignore"):
            return column.to_numpy(np.float64, na_value=np.nan).astype(dtype).reshape(-1, 1)
    if column.isna().any():
        raise TrainingError(f"column {one.name!r}: expected {one.datatype}, got missing values")
    return column.to_numpy(dtype).reshape(-1, 1)
