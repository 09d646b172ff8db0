"""Data that are ready to be fitted on: read, divided, coded and weighted."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falaj.training.errors import TrainingError
from falaj.training.fit.codes import coded, known_values
from falaj.training.fit.estimators.job import Rows
from falaj.training.fit.leaks import early_views, refuse_leaks, telling_columns
from falaj.training.fit.spec import TrainSpec
from falaj.training.fit.split import PARTS, Part, Split, split_table
from falaj.training.fit.table import Table, read_table

_MOST_LOOKED_AT = 50_000  # rows, for columns that tell the target
_FITTED: tuple[Part, Part] = ("train", "validation")


@dataclass(frozen=True)
class Prepared:
    """Data of a specification.

    Attributes:
        parts: The rows of each part.
        known: Values of categories, of training rows.
        rows: Of training and validation, as estimators take them.
        class_weights: By class, as they were used; none where all weigh the same.
    """

    spec: TrainSpec
    table: Table
    split: Split
    parts: Mapping[Part, Table]
    known: Mapping[str, tuple[str, ...]]
    rows: Mapping[Part, Rows]
    class_weights: tuple[float, ...]

    def matrix(self, table: Table) -> NDArray[np.float32]:
        """Return rows as estimators take them."""
        return coded(table.matrix, table.categories, self.known)


def prepare(spec: TrainSpec) -> Prepared:
    """Read and divide the data.

    Raises:
        TrainingError: See `read_table` and `split_table`; or it has what is not known when a model is asked.
    """
    table = read_table(spec.data)
    split = split_table(table, spec.split, spec.seed)
    parts = {part: table.take(split.rows(part)) for part in PARTS}
    _refuse_leaks(spec, parts["train"])
    known = known_values(parts["train"])
    weights = _class_weights(spec, parts["train"])
    rows: dict[Part, Rows] = {}
    for part in _FITTED:
        of = parts[part]
        weight = np.array(weights)[of.target] if weights else np.ones(len(of))
        rows[part] = Rows(coded(of.matrix, of.categories, known), of.target, weight)
    return Prepared(spec, table, split, parts, known, rows, weights)


def _refuse_leaks(spec: TrainSpec, train: Table) -> None:
    every = max(1, len(train) // _MOST_LOOKED_AT)
    some = train.take(np.arange(0, len(train), every))
    numbers = {name: some.matrix[:, i] for i, name in enumerate(some.numbers)}
    leaks = telling_columns(numbers, some.categories, some.target, some.task)
    manifest = train.source.manifest
    if manifest is not None:
        leaks += early_views(Path(manifest.path))
    refuse_leaks(leaks, spec.data.allow_leaks)


def frame_of(table: Table) -> Any:
    """Return the features as a pandas.DataFrame: FP32 columns of numbers, `object` ones of text."""
    import pandas

    numbers = pandas.DataFrame(table.matrix, columns=list(table.numbers))
    texts = pandas.DataFrame(dict(table.categories), dtype=object)
    return pandas.concat([numbers, texts], axis=1) if table.categories else numbers


def labels_of(table: Table) -> NDArray[Any]:
    """Return the target as it was written: labels of classes, or numbers."""
    return np.array(table.classes)[table.target] if table.classes else table.target


def _class_weights(spec: TrainSpec, train: Table) -> tuple[float, ...]:
    if spec.class_weight == "none":
        return ()
    if not train.classes:
        raise TrainingError("class_weight: a regression has no classes")
    if spec.class_weight == "balanced":
        counts = np.bincount(train.target, minlength=len(train.classes))
        return tuple(float(each) for each in len(train) / (len(train.classes) * counts))
    given = dict(spec.class_weight)
    weights = tuple(float(given.pop(str(each), 1.0)) for each in train.classes)
    if given:
        names = ", ".join(map(repr, map(str, train.classes)))
        raise TrainingError(f"class_weight: no class is named {', '.join(given)}; there are {names}")
    return weights
