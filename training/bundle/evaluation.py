"""How good a model is on rows that it was not fitted on: as a whole, by month and by segment."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falaj.training.errors import TrainingError
from falaj.training.fit.bootstrap import Measures, measure
from falaj.training.fit.metrics import Predicted
from falaj.training.original import Arrays, ModelOutput, Original

_RESAMPLES = 200
_MOST_SEGMENTS = 20
_OTHERS = "(others)"
_NO_VALUE = "(none)"


@dataclass(frozen=True)
class Asked:
    """Rows with what came of them.

    Attributes:
        told: Which rows they are, in words, such as `test`.
        predicted: The target, and what the model said.
        months: Of each row, such as `2013-07`; None where there is no time.
        segments: Values by column, text of each row.
        blocks: What is drawn as a whole for intervals, and each row's block, see fit/bootstrap.py.
    """

    told: str
    predicted: Predicted
    months: NDArray[Any] | None = None
    segments: Mapping[str, NDArray[Any]] = field(default_factory=lambda: MappingProxyType({}))
    blocks: tuple[str, NDArray[np.int64] | None] = ("row", None)


@dataclass(frozen=True)
class Evaluation:
    """Metrics of what was asked, with intervals of 95 %.

    Attributes:
        overall: Of all rows.
        months: By month, in order.
        segments: By column, then by value, the one with most rows first; of many values the rest as one.
    """

    asked: Asked
    overall: Measures
    months: Mapping[str, Measures]
    segments: Mapping[str, Mapping[str, Measures]]

    def plain(self) -> list[dict[str, Any]]:
        """Return all metrics as JSON has them, each with the rows that it is of."""
        told = _lines(self.overall, self.asked.told, None, None)
        for month, measures in self.months.items():
            told += _lines(measures, self.asked.told, "month", month)
        for column, values in self.segments.items():
            for value, measures in values.items():
                told += _lines(measures, self.asked.told, column, value)
        return told


def evaluate(asked: Asked, seed: int = 0) -> Evaluation:
    """Measure rows. Raises TrainingError where there are none."""
    if not len(asked.predicted.target):
        raise TrainingError(f"evaluation: {asked.told}: expected at least one row, got none")
    months = {} if asked.months is None else _by(asked, asked.months.astype(str), seed)
    segments = {}
    for column, values in asked.segments.items():
        segments[column] = _by(asked, _kept(values), seed, by_rows=True)
    overall = measure(asked.predicted, asked.blocks, _RESAMPLES, seed)
    return Evaluation(asked, overall, months, segments)


def has_scores(original: Original) -> bool:
    """Whether a model gives what metrics are of: a score for each class, or one value of a regression."""
    return len(_measured(original)) == 1


def predicted_of(original: Original, rows: Arrays, target: NDArray[Any]) -> Predicted:
    """Ask a model, and return what it said beside the target.

    Args:
        target: Of each row its class as `classes` has it, or a number.

    Raises:
        TrainingError: The model has neither scores of its classes nor one value, or the target is of a class
            that it does not know.
    """
    outputs = _measured(original)
    if len(outputs) != 1:
        raise TrainingError(
            f"evaluation: expected one output of scores, or of one value, of a {original.task} model"
        )
    answers = original.predict(rows)[outputs[0].name]
    scores = answers.reshape(len(answers), -1).astype(np.float64)
    if original.task == "regression":
        return Predicted("regression", target.astype(np.float64), scores)
    return Predicted(original.task, places_of(target, original.classes), scores)


def _measured(original: Original) -> list[ModelOutput]:
    if original.task == "other":
        return []
    if original.task == "regression":
        return [each for each in original.outputs if each.role == "value" and each.shape in ((), (1,))]
    wide = (len(original.classes),)
    return [each for each in original.outputs if each.role == "scores" and each.shape == wide]


def places_of(target: NDArray[Any], classes: tuple[int | str, ...]) -> NDArray[np.int64]:
    """Return the place of each label in the classes. Raises TrainingError where one is none of them."""
    places = {label: place for place, label in enumerate(classes)}
    places |= {str(label): place for place, label in enumerate(classes)}
    found, of = np.unique(target.astype(str) if target.dtype.kind == "O" else target, return_inverse=True)
    codes = []
    for label in found.tolist():
        if label not in places:
            known = ", ".join(map(str, classes))
            raise TrainingError(f"target: expected one of the classes {known}, got {label!r}")
        codes.append(places[label])
    return np.array(codes, np.int64)[of.reshape(-1)]


def _by(asked: Asked, values: NDArray[Any], seed: int, *, by_rows: bool = False) -> dict[str, Measures]:
    names, counts = np.unique(values, return_counts=True)
    order = np.argsort(-counts, kind="stable") if by_rows else np.arange(len(names))
    found = {}
    for name in names[order].tolist():
        rows = np.flatnonzero(values == name)
        kind, blocks = asked.blocks
        if blocks is not None:
            blocks = np.unique(blocks[rows], return_inverse=True)[1].reshape(-1)
        found[name] = measure(asked.predicted.take(rows), (kind, blocks), _RESAMPLES, seed)
    return found


def _kept(values: NDArray[Any]) -> NDArray[Any]:
    """The values as text, of which only the most frequent are told apart."""
    text = np.array([_NO_VALUE if value in (None, "") else str(value) for value in values.tolist()], object)
    names, counts = np.unique(text.astype(str), return_counts=True)
    if len(names) <= _MOST_SEGMENTS:
        return text.astype(str)
    frequent = names[np.argsort(-counts, kind="stable")[: _MOST_SEGMENTS - 1]]
    return np.where(np.isin(text.astype(str), frequent), text, _OTHERS).astype(str)


def _lines(of: Measures, rows: str, by: str | None, value: str | None) -> list[dict[str, Any]]:
    return [
        {
            "metric": name,
            "rows_of": rows,
            "by": by,
            "of": value,
            "rows": of.rows,
            "value": measured.value,
            "low": measured.low,
            "high": measured.high,
        }
        for name, measured in of.metrics.items()
    ]
