"""Scikit-learn's encoders of categories as nodes of a graph."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from falaj.training.errors import TrainingError
from falaj.training.graph.graph import ML, Growth
from falaj.training.graph.sklearn_frame import Frame, Part, matrix, single, width
from falaj.training.graph.sklearn_numbers import Transform


def place_graph(grow: Growth, part: Part, known: Sequence[Any], where: str) -> str:
    """Add what finds each value's place in a list; return it, INT64 [rows, 1]; len(known) if it is not there.

    Args:
        grow: Where to add it.
        part: One column.
        known: Text of a column of text, in which None and NaN are what '' stands for; else numbers.
        where: For messages.
    """
    missing = [at for at, value in enumerate(known) if value is None or value != value]
    if part.text:
        texts = {at: value for at, value in enumerate(known) if at not in missing}
        if not all(isinstance(value, str) for value in texts.values()):
            raise TrainingError(f"{where}: expected categories of text, got {list(texts.values())[:5]}")
        # '' is text, unless it stands for a missing value.
        places = {value: at for at, value in texts.items() if value or part.missing is None}
        for at in missing:
            if ("None" if known[at] is None else "NaN") == part.missing:
                places[""] = at
        if not places:
            zero = grow.node("LabelEncoder", part.tensor, domain=ML, **_encoding({"": 0}, 0))
            return grow.node("Add", zero, grow.constant(len(known), np.int64))
        return grow.node("LabelEncoder", part.tensor, domain=ML, **_encoding(places, len(known)))
    numbers = [float(value) for at, value in enumerate(known) if at not in missing]
    # One past the last is where the first that is equal is looked for, so that there always is one.
    equal = grow.node("Equal", part.tensor, grow.constant([numbers], np.float64))
    found = [grow.node("Cast", equal, to=TensorProto.INT32)]
    absent = grow.node("Cast", grow.node("IsNaN", part.tensor), to=TensorProto.INT32)
    if missing:
        found.append(absent)  # sorted, NaN is the last
    row = grow.node("Mul", absent, grow.constant(0, np.int32))
    found.append(grow.node("Add", row, grow.constant(1, np.int32)))
    return grow.node("ArgMax", grow.node("Concat", *found, axis=1), axis=1, keepdims=1)


def _encoding(places: Mapping[str, int], default: int) -> dict[str, Any]:
    return {"keys_strings": [*places], "values_int64s": [*places.values()], "default_int64": default}


def code_graph(grow: Growth, part: Part, known: Sequence[Any]) -> Part:
    """Add what finds each text's place in a list; return it in FP64, NaN if it is not there."""
    place = place_graph(grow, part, known, "categories")
    table = np.append(np.arange(len(known), dtype=np.float64), np.nan).reshape(-1, 1)
    return Part(_rows_of(grow, table, place), 1)


def _one_hot(grow: Growth, of: Any, frame: Frame) -> Frame:
    made: list[Part] = []
    for column, part in enumerate(single(grow, frame)):
        known = of.categories_[column]
        place = place_graph(grow, part, known.tolist(), "OneHotEncoder")
        table = _one_hot_table(of, column, len(known))
        made.append(Part(_rows_of(grow, table, place), table.shape[1]))
    return tuple(made)


def _one_hot_table(of: Any, column: int, known: int) -> NDArray[np.float64]:
    """Return what each place becomes, FP64 [known + 1, outputs], the unknown in the last row."""
    groups = _groups(of, column)
    group = np.arange(known) if groups is None else groups
    count = int(group.max()) + 1 if known else 0
    table = np.zeros((known + 1, count))
    table[np.arange(known), group] = 1.0
    if groups is not None and of.handle_unknown in ("infrequent_if_exist", "warn"):
        table[known, count - 1] = 1.0  # the rare ones are the last group
    dropped = of._drop_idx_after_grouping
    if dropped is not None and dropped[column] is not None:
        table = np.delete(table, int(dropped[column]), axis=1)
    return table


def _groups(of: Any, column: int) -> NDArray[np.int64] | None:
    if not getattr(of, "_infrequent_enabled", False):
        return None
    mapping = of._default_to_infrequent_mappings[column]
    return None if mapping is None else np.asarray(mapping, np.int64)


def _ordinal(grow: Growth, of: Any, frame: Frame) -> Frame:
    made: list[Part] = []
    for column, part in enumerate(single(grow, frame)):
        known = of.categories_[column].tolist()
        place = place_graph(grow, part, known, "OrdinalEncoder")
        groups = _groups(of, column)
        codes = np.arange(len(known)) if groups is None else groups
        unknown = np.nan if of.unknown_value is None else float(of.unknown_value)
        table = np.append(codes.astype(np.float64), unknown)
        for at, value in enumerate(known):
            if value != value:  # None is a category like others to it
                table[at] = of.encoded_missing_value
        made.append(Part(_rows_of(grow, table.reshape(-1, 1), place), 1))
    return tuple(made)


def _target(grow: Growth, of: Any, frame: Frame) -> Frame:
    """Each category becomes its mean of the target, one for each class of more than two."""
    if of.target_type_ == "multiclass":
        raise TrainingError("TargetEncoder: expected a binary or a continuous target, got classes")
    made: list[Part] = []
    for column, part in enumerate(single(grow, frame)):
        place = place_graph(grow, part, of.categories_[column].tolist(), "TargetEncoder")
        table = np.append(of.encodings_[column], of.target_mean_).reshape(-1, 1)
        made.append(Part(_rows_of(grow, table, place), 1))
    return tuple(made)


def _bins(grow: Growth, of: Any, frame: Frame) -> Frame:
    x = Part(matrix(grow, frame, "KBinsDiscretizer"), width(frame))
    made: list[Part] = []
    for column, part in enumerate(single(grow, (x,))):
        inner = of.bin_edges_[column][1:-1]
        above = grow.node("GreaterOrEqual", part.tensor, grow.constant([inner], np.float64))
        count = grow.node("Cast", above, to=TensorProto.INT64)
        place = grow.node("ReduceSum", count, grow.constant([1], np.int64), keepdims=1)
        if of.encode == "ordinal":
            made.append(Part(grow.node("Cast", place, to=TensorProto.DOUBLE), 1))
        else:
            bins = len(inner) + 1
            made.append(Part(_rows_of(grow, np.eye(bins), place), bins))
    return tuple(made)


def _rows_of(grow: Growth, table: NDArray[np.float64], place: str) -> str:
    """Return the rows of a table at places INT64 [rows, 1], FP64 [rows, columns]."""
    flat = grow.node("Reshape", place, grow.constant([-1], np.int64))
    return grow.node("Gather", grow.constant(table, np.float64), flat, axis=0)


# By the name of the class.
ENCODERS: Mapping[str, Transform] = {
    "OneHotEncoder": _one_hot,
    "OrdinalEncoder": _ordinal,
    "TargetEncoder": _target,
    "KBinsDiscretizer": _bins,
}
