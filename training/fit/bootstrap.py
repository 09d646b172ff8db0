"""How sure metrics are: intervals by the bootstrap, and metrics by month and segment."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falaj.training.fit.metrics import Predicted, weighted_metrics
from falaj.training.fit.resampled import resampled_metrics
from falaj.training.fit.table import Table

_FEWEST_BLOCKS = 20
_FEWEST_FOR_INTERVALS = 5
_MOST_BLOCKS = 1500
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
    values = {name: metric(np.ones(rows)) for name, metric in weighted_metrics(predicted).items()}
    random = np.random.default_rng([seed, 3])
    block, strata = _blocks(predicted, blocks[1], random)
    if blocks[1] is not None and len(strata) < _FEWEST_FOR_INTERVALS:
        metrics = {name: _measured(value, value, np.empty(0)) for name, value in values.items()}
        return Measures(rows, blocks[0], metrics)
    counts = _drawn(strata, resamples, random)
    metrics = {}
    for name, metric in resampled_metrics(predicted, block, len(strata)).items():
        binned = float(metric(np.ones((1, len(strata))))[0])
        metrics[name] = _measured(values[name], binned, metric(counts))
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


def _blocks(
    predicted: Predicted, block: NDArray[np.int64] | None, random: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The number of each row's block, and the stratum of each block.

    Rows alone are blocks of their own, drawn within their class; many rows are dealt into _MOST_BLOCKS ones,
    each class evenly: sums over such blocks vary from resample to resample as those over rows do.
    """
    rows = len(predicted.target)
    if block is not None:
        return block, np.zeros(int(block.max()) + 1, np.int64)
    is_class = predicted.task != "regression"
    if rows <= _MOST_BLOCKS:
        strata = predicted.target if is_class else np.zeros(rows, np.int64)
        return np.arange(rows), strata
    order = random.permutation(rows)
    if is_class:
        order = order[np.argsort(predicted.target[order], kind="stable")]
    dealt = np.empty(rows, np.int64)
    dealt[order] = np.arange(rows) % _MOST_BLOCKS
    return dealt, np.zeros(_MOST_BLOCKS, np.int64)


def _drawn(strata: NDArray[np.int64], resamples: int, random: np.random.Generator) -> NDArray[np.float64]:
    """How often each block was drawn, [resamples, blocks]; of each stratum as many as it has."""
    counts = np.zeros((resamples, len(strata)))
    for stratum in np.unique(strata):
        of = np.flatnonzero(strata == stratum)
        for i in range(resamples):
            counts[i, of] = np.bincount(random.integers(len(of), size=len(of)), minlength=len(of))
    return counts


def _measured(value: float, binned: float, drawn: NDArray[np.float64]) -> Measured:
    """The interval lies around the value as that of the binned scores lies around theirs."""
    defined = drawn[np.isfinite(drawn)]
    told = float(value) if np.isfinite(value) else None
    if told is None or not len(defined) or len(defined) < (1 - _MOST_UNDEFINED) * len(drawn):
        return Measured(told, None, None)
    low, high = np.percentile(defined, [2.5, 97.5]) + (value - binned)
    if defined.min() >= 0 and defined.max() <= 1:  # as shares are
        low, high = max(low, 0.0), min(high, 1.0)
    return Measured(told, float(low), float(high))
