"""How sure metrics are: intervals by the bootstrap, and metrics by month and segment."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falaj.training.fit.metrics import Predicted, weighted_metrics
from falaj.training.fit.table import Table

_FEWEST_BLOCKS = 20
_FEWEST_FOR_INTERVALS = 5
_MOST_UNDEFINED = 0.05
_DAY_US = 86_400_000_000


@dataclass(frozen=True)
class Measured:
    """A metric.

    Attributes:
        value: Of the rows; None where it is not defined, as of one class only.
        low, high: The percentiles 2.5 and 97.5 of its bootstrap; None where more than 5 % of the resamples
            have no value, or where there are fewer than 5 blocks.
    """

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Measures:
    """Metrics of some rows.

    Attributes:
        blocks: What was drawn as a whole: `group`, `day`, or `row`, which is drawn within its class.
    """

    rows: int
    blocks: str
    metrics: Mapping[str, Measured]


def blocks_of(table: Table) -> tuple[str, NDArray[np.int64] | None]:
    """Return what is drawn as a whole, and the number of each row's block.

    Rows of one group are alike, and rows of one day, so that intervals of rows drawn alone would be too
    narrow: groups where there are such, else days where there is a time and there are 20 or more.
    """
    if table.group is not None:
        return "group", np.unique(table.group.astype(str), return_inverse=True)[1].reshape(-1)
    if table.time is not None:
        days, of = np.unique(table.time // _DAY_US, return_inverse=True)
        if len(days) >= _FEWEST_BLOCKS:
            return "day", of.reshape(-1)
    return "row", None


def measure(
    predicted: Predicted, blocks: tuple[str, NDArray[np.int64] | None], resamples: int, seed: int
) -> Measures:
    """Return all metrics of a task with 95 % intervals (Efron 1979, percentiles).

    Args:
        blocks: As `blocks_of` has them, of these rows.
        resamples: How many; the same seed draws the same ones.
    """
    rows = len(predicted.target)
    if blocks[1] is not None and int(blocks[1].max()) + 1 < _FEWEST_FOR_INTERVALS:
        resamples = 0
    of = weighted_metrics(predicted)
    values = {name: metric(np.ones(rows)) for name, metric in of.items()}
    drawn: dict[str, list[float]] = {name: [] for name in of}
    random = np.random.default_rng([seed, 3])
    for _ in range(resamples):
        weights = _weights(predicted, blocks[1], random)
        for name, metric in of.items():
            drawn[name].append(metric(weights))
    metrics = {name: _measured(values[name], np.array(drawn[name])) for name in of}
    return Measures(rows, blocks[0], metrics)


def by_month(predicted: Predicted, table: Table, resamples: int, seed: int) -> dict[str, Measures]:
    """Return the metrics of each month of UTC, such as `2013-07`; of rows with times."""
    if table.time is None:
        return {}
    months = table.time.astype("datetime64[us]").astype("datetime64[M]").astype(str)
    return by_value(predicted, table, months, resamples, seed)


def by_value(
    predicted: Predicted, table: Table, values: NDArray[Any], resamples: int, seed: int
) -> dict[str, Measures]:
    """Return the metrics of the rows of each value."""
    values = values.astype(str)
    found = {}
    for value in np.unique(values):
        rows = np.flatnonzero(values == value)
        blocks = blocks_of(table.take(rows))
        found[str(value)] = measure(predicted.take(rows), blocks, resamples, seed)
    return found


def _weights(
    predicted: Predicted, blocks: NDArray[np.int64] | None, random: np.random.Generator
) -> NDArray[np.float64]:
    """How often each row was drawn."""
    if blocks is not None:
        count = int(blocks.max()) + 1
        drawn: NDArray[Any] = np.bincount(random.integers(count, size=count), minlength=count)[blocks]
        return drawn.astype(np.float64)
    if predicted.task == "regression":
        rows = len(predicted.target)
        return np.bincount(random.integers(rows, size=rows), minlength=rows).astype(np.float64)
    weights = np.zeros(len(predicted.target))
    for each in np.unique(predicted.target):
        rows_of = np.flatnonzero(predicted.target == each)
        counts = np.bincount(random.integers(len(rows_of), size=len(rows_of)), minlength=len(rows_of))
        weights[rows_of] = counts
    return weights


def _measured(value: float, drawn: NDArray[np.float64]) -> Measured:
    defined = drawn[np.isfinite(drawn)]
    told = float(value) if np.isfinite(value) else None
    if told is None or not len(defined) or len(defined) < (1 - _MOST_UNDEFINED) * len(drawn):
        return Measured(told, None, None)
    low, high = np.percentile(defined, [2.5, 97.5])
    return Measured(told, float(low), float(high))
