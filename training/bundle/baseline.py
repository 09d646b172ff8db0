"""What a model was given and answered in training: `baseline.json`, against which drift is counted."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from falaj.training.bundle.bins import BinCounts, Bins, bins_from, bins_of
from falaj.training.bundle.levels import Level, LevelCounts, Levels, levels_from, levels_of
from falaj.training.errors import TrainingError
from falaj.training.original import Arrays, ModelInput, ModelOutput, Original

BASELINE = "baseline.json"
FORMAT = 1
STATUSES = ("present", "missing", "expired")
_Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True)
class Numbers:
    """Frozen bins, and the reference's counts in them."""

    bins: Bins
    counts: BinCounts


@dataclass(frozen=True)
class Category:
    """Frozen levels, and the reference's counts of them."""

    levels: Levels
    counts: LevelCounts


Reference: TypeAlias = Numbers | Category


@dataclass(frozen=True)
class ColumnBaseline:
    """Of a column of an input or an output, or of all elements of one that has no columns.

    Attributes:
        tensor: Name of the input or output.
        column: Its place in it; None where the values are all elements.
        name: What the column is called in training data, or the class whose score it is.
        rows: Of the reference.
    """

    tensor: str
    column: int | None
    name: str
    datatype: str
    rows: int
    reference: Reference


@dataclass(frozen=True)
class FeatureBaseline:
    """Of a view's column as the store tells it, before anything serves in place of a value.

    Attributes:
        statuses: How many rows are present, missing and expired.
        nulls: How many rows are present and have no value.
        reference: Of the rows that are present; of the others, and where there is null, the value is missing.
    """

    view: str
    version: int
    column: str
    datatype: str
    rows: int
    statuses: Mapping[str, int]
    nulls: int
    reference: Reference


@dataclass(frozen=True)
class FeatureRows:
    """A view's column in a feature export.

    Attributes:
        status: Text of each row.
        values: Numbers, NaN where there is none; or text as `object`, None where there is none.
        nulls: Which rows have none.
    """

    view: str
    version: int
    column: str
    datatype: str
    status: _Array
    values: _Array
    nulls: NDArray[np.bool_]


@dataclass(frozen=True)
class Baseline:
    """All that is frozen of one model. See docs/export.md for the file."""

    inputs: tuple[ColumnBaseline, ...]
    features: tuple[FeatureBaseline, ...]
    outputs: tuple[ColumnBaseline, ...]

    def text(self) -> str:
        """Return it as JSON; floats have all digits that they need to be the same again."""
        return json.dumps(self.plain(), allow_nan=False, indent=1) + "\n"

    def plain(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "format": FORMAT,
            "side": "right",  # a bin has its right edge: edges[i - 1] < x <= edges[i]
            "inputs": [_plain_column(each) for each in self.inputs],
            "features": [_plain_feature(each) for each in self.features],
            "outputs": [_plain_column(each) for each in self.outputs],
        }


def baseline_of(
    original: Original, inputs: Arrays, outputs: Arrays, features: Sequence[FeatureRows] = ()
) -> Baseline:
    """Freeze what a model is given and answers.

    Args:
        inputs: Reference rows by input, as the model was trained on.
        outputs: Its answers by output; of the same rows or, better, of rows that it was not trained on.
        features: Looked-up columns, as the store tells them.

    Raises:
        TrainingError: There are no rows, or an array is missing or of another shape.
    """
    return Baseline(
        tuple(one for each in original.inputs for one in _of_input(each, _rows_of(inputs, each))),
        tuple(_of_feature(each) for each in features),
        tuple(
            one
            for each in original.outputs
            for one in _of_output(each, _rows_of(outputs, each), original.classes)
        ),
    )


def read_baseline(path: Path) -> Baseline:
    """Read what `Baseline.text` told. Raises TrainingError where it is no such file."""
    try:
        told = json.loads(path.read_bytes())
        if told["format"] != FORMAT:
            raise TrainingError(f"{path}: format: expected {FORMAT}, got {told['format']!r}")
        return Baseline(
            tuple(map(_column_from, told["inputs"])),
            tuple(map(_feature_from, told["features"])),
            tuple(map(_column_from, told["outputs"])),
        )
    except TrainingError:
        raise
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise TrainingError(f"{path}: not a baseline: {error!r}") from error


def reference_of(values: _Array, datatype: str, known: tuple[Level, ...] | None = None) -> Reference:
    """Freeze and count values.

    Args:
        known: Of labels: the classes, which are levels also where they are whole numbers.

    Raises:
        TrainingError: There are none, or they are not of the datatype's kind.
    """
    if datatype == "BYTES" or known is not None:
        levels = levels_of(values, known or ())
        return Category(levels, levels.count(values))
    numbers = values.astype(np.float32) if values.dtype.kind == "V" else values  # bfloat16
    bins = bins_of(numbers)
    return Numbers(bins, bins.count(numbers))


def _rows_of(arrays: Arrays, tensor: ModelInput | ModelOutput) -> _Array:
    if tensor.name not in arrays:
        there = ", ".join(arrays) or "none"
        raise TrainingError(f"baseline: expected rows of {tensor.name!r}, there are those of {there}")
    rows = arrays[tensor.name]
    if not len(rows):
        raise TrainingError(f"baseline: {tensor.name!r}: expected at least one row, got none")
    fits = rows.ndim == 1 + len(tensor.shape) and all(
        told in (-1, got) for told, got in zip(tensor.shape, rows.shape[1:], strict=True)
    )
    if not fits:
        expected = ["rows", *tensor.shape]
        raise TrainingError(f"baseline: {tensor.name!r}: expected {expected}, got {list(rows.shape)}")
    return rows


def _of_input(tensor: ModelInput, rows: _Array) -> Iterable[ColumnBaseline]:
    if len(tensor.shape) != 1 or tensor.shape[0] != len(tensor.columns):
        yield _all_of(tensor, rows)
        return
    for place, name in enumerate(tensor.columns):
        reference = reference_of(rows[:, place], tensor.datatype)
        yield ColumnBaseline(tensor.name, place, name, tensor.datatype, len(rows), reference)


def _of_output(tensor: ModelOutput, rows: _Array, classes: tuple[Level, ...]) -> Iterable[ColumnBaseline]:
    if tensor.role == "label" and not tensor.shape:
        reference = reference_of(rows, tensor.datatype, classes)
        yield ColumnBaseline(tensor.name, 0, tensor.name, tensor.datatype, len(rows), reference)
    elif tensor.role == "scores" and tensor.shape == (len(classes),):
        for place, label in enumerate(classes):
            reference = reference_of(rows[:, place], tensor.datatype)
            yield ColumnBaseline(tensor.name, place, str(label), tensor.datatype, len(rows), reference)
    elif tensor.shape in ((), (1,)):
        reference = reference_of(rows, tensor.datatype)
        yield ColumnBaseline(tensor.name, 0, tensor.name, tensor.datatype, len(rows), reference)
    else:
        yield _all_of(tensor, rows)


def _all_of(tensor: ModelInput | ModelOutput, rows: _Array) -> ColumnBaseline:
    reference = reference_of(rows, tensor.datatype)
    return ColumnBaseline(tensor.name, None, tensor.name, tensor.datatype, len(rows), reference)


def _of_feature(rows: FeatureRows) -> FeatureBaseline:
    where = f"baseline: feature {rows.view}__{rows.column}"
    unknown = sorted(set(rows.status.tolist()) - set(STATUSES), key=str)
    if unknown:
        raise TrainingError(f"{where}: status: expected {', '.join(STATUSES)}, got {unknown[0]!r}")
    is_present = rows.status == "present"
    without = rows.nulls | ~is_present
    if rows.datatype == "BYTES":
        values = rows.values.astype(object)
        values[without] = None
    else:
        values = rows.values.astype(np.float32 if rows.datatype == "FP32" else np.float64)
        values[without] = np.nan
    return FeatureBaseline(
        rows.view,
        rows.version,
        rows.column,
        rows.datatype,
        len(values),
        {status: int((rows.status == status).sum()) for status in STATUSES},
        int((rows.nulls & is_present).sum()),
        reference_of(values, rows.datatype),
    )


def _plain_column(of: ColumnBaseline) -> dict[str, Any]:
    told = {
        "tensor": of.tensor,
        "column": of.column,
        "name": of.name,
        "datatype": of.datatype,
        "rows": of.rows,
    }
    return {**told, **_plain_reference(of.reference)}


def _plain_feature(of: FeatureBaseline) -> dict[str, Any]:
    told = {"view": of.view, "version": of.version, "column": of.column, "datatype": of.datatype}
    counts = {"rows": of.rows, "statuses": dict(of.statuses), "nulls": of.nulls}
    return {**told, **counts, **_plain_reference(of.reference)}


def _plain_reference(of: Reference) -> dict[str, Any]:
    if isinstance(of, Category):
        counts = of.counts
        told = {
            "levels": counts.levels,
            "pool": counts.pooled,
            "missing": counts.missing,
            "new": counts.new,
        }
        return {"kind": "category", **of.levels.plain(), "counts": told}
    bins = of.bins.plain()
    edges = {"coarse": bins.pop("coarse"), "fine": bins.pop("fine")}
    told = {"coarse": of.counts.coarse, "fine": of.counts.fine, "missing": of.counts.missing}
    return {"kind": "numbers", "edges": edges, **bins, "counts": told}


def _reference_from(told: Mapping[str, Any]) -> Reference:
    counts = told["counts"]
    if told["kind"] == "category":
        levels = levels_from(told)
        return Category(
            levels, LevelCounts(tuple(counts["levels"]), counts["pool"], counts["missing"], counts["new"])
        )
    if told["kind"] != "numbers":
        raise TrainingError(f"baseline: kind: expected numbers or category, got {told['kind']!r}")
    bins = bins_from({**told, **told["edges"]})
    return Numbers(bins, BinCounts(tuple(counts["coarse"]), tuple(counts["fine"]), counts["missing"]))


def _column_from(told: Mapping[str, Any]) -> ColumnBaseline:
    names = ("tensor", "column", "name", "datatype", "rows")
    return ColumnBaseline(**{name: told[name] for name in names}, reference=_reference_from(told))


def _feature_from(told: Mapping[str, Any]) -> FeatureBaseline:
    names = ("view", "version", "column", "datatype", "rows", "statuses", "nulls")
    return FeatureBaseline(**{name: told[name] for name in names}, reference=_reference_from(told))
