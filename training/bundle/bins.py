"""Bins of numbers whose edges are frozen when a model is exported, and counts of values in them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falaj.training.errors import TrainingError

COARSE, FINE = 10, 50  # bins: for PSI, and for KS and Wasserstein
_IQR_OF_NORMAL = 1.349  # in standard deviations
_EXTREME = 1_000  # one of so many, at either end, is what Wasserstein's distance is not to hang on
_LARGEST = float(np.finfo(np.float64).max)


@dataclass(frozen=True)
class BinCounts:
    """How many values are in each bin, of the coarse and of the fine ones, and how many there are none of."""

    coarse: tuple[int, ...]
    fine: tuple[int, ...]
    missing: int

    def __add__(self, other: "BinCounts") -> "BinCounts":
        """Return the counts of both, which are of the same bins."""
        return BinCounts(
            tuple(one + two for one, two in zip(self.coarse, other.coarse, strict=True)),
            tuple(one + two for one, two in zip(self.fine, other.fine, strict=True)),
            self.missing + other.missing,
        )

    @property
    def total(self) -> int:
        """All values, missing ones included."""
        return sum(self.coarse) + self.missing


@dataclass(frozen=True)
class Bins:
    """Where numbers are told apart, with what is frozen of the reference to measure distances by.

    Bin i has the values x with `edges[i - 1] < x <= edges[i]`; the first is open to -inf and the last to
    +inf, both included. NaN is missing. Edges are finite and ascending, and are values of the data: so each
    is exactly a number of the column's datatype, and a comparison in that datatype or in FP64 is the same. Of
    INT64 and UINT64 that holds up to 2^53; beyond, values are counted as the FP64 next to them.

    Attributes:
        coarse, fine: Inner edges: at most 9 and 49.
        scale: Standard deviation (of all, not of a sample) of the finite values; 0 of a constant.
        robust_scale: Interquartile range / 1.349, the standard deviation of a normal distribution.
        low, high: Quantiles 0.001 and 0.999, between which values are kept for Wasserstein's distance.
        minimum, maximum: Of the finite values.
        resolution: Least distance of two different finite values; None where there are no two.
        distinct: How many different values there are, infinities included.
        infinite: How many values are +inf or -inf.

    All of these but counts are None where no value is finite.
    """

    coarse: tuple[float, ...]
    fine: tuple[float, ...]
    scale: float | None
    robust_scale: float | None
    low: float | None
    high: float | None
    minimum: float | None
    maximum: float | None
    resolution: float | None
    distinct: int
    infinite: int

    def count(self, values: NDArray[Any]) -> BinCounts:
        """Count numbers, of any numeric datatype and shape."""
        wide = values.ravel().astype(np.float64)
        present = wide[~np.isnan(wide)]
        return BinCounts(
            _counted(present, self.coarse), _counted(present, self.fine), len(wide) - len(present)
        )

    def plain(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def bins_of(values: NDArray[Any]) -> Bins:
    """Freeze bins for numbers like these.

    Edges are the quantiles i/B of the finite values, the least value x such that a share of at least i/B is
    `<= x`, each once, and without the greatest value: so every bin has a value of the reference. Up to B
    different values have a bin each. Of a constant c there are the bins below c, c itself, and above.

    Args:
        values: Numbers or booleans, of any shape; NaN where there is none.

    Raises:
        TrainingError: There are none, or they are no numbers.
    """
    if values.dtype.kind not in "biuf":
        raise TrainingError(f"baseline: expected numbers, got an array of {values.dtype}")
    if values.size == 0:
        raise TrainingError("baseline: expected at least one value, got none")
    flat = values.ravel()
    wide = flat.astype(np.float64)
    found = np.sort(wide[np.isfinite(wide)])
    infinite = wide[np.isinf(wide)]
    distinct = np.unique(found)
    if not len(found):
        every = len(np.unique(infinite))
        return Bins((), (), None, None, None, None, None, None, None, every, len(infinite))
    return Bins(
        coarse=_edges(found, distinct, COARSE, flat.dtype),
        fine=_edges(found, distinct, FINE, flat.dtype),
        scale=_deviation(found),
        robust_scale=_spread(quantile(found, 1, 4), quantile(found, 3, 4)) / _IQR_OF_NORMAL,
        low=quantile(found, 1, _EXTREME),
        high=quantile(found, _EXTREME - 1, _EXTREME),
        minimum=float(found[0]),
        maximum=float(found[-1]),
        resolution=_resolution(distinct),
        distinct=len(distinct) + len(np.unique(infinite)),
        infinite=len(infinite),
    )


def bins_from(told: Mapping[str, Any]) -> Bins:
    """Return what `Bins.plain` told. Raises KeyError or TypeError where it is something else."""
    values = {name: told[name] for name in Bins.__dataclass_fields__}
    coarse, fine = (tuple(map(float, values.pop(name))) for name in ("coarse", "fine"))
    return Bins(coarse, fine, **values)


def quantile(ordered: NDArray[np.float64], parts: int, of: int) -> float:
    """Return the least of ascending values such that at least `parts / of` of them are no greater."""
    return float(ordered[max(0, -(-parts * len(ordered) // of) - 1)])


def _edges(
    ordered: NDArray[np.float64], distinct: NDArray[np.float64], bins: int, dtype: np.dtype[Any]
) -> tuple[float, ...]:
    if len(distinct) == 1:
        return _around(ordered[0], dtype)
    if len(distinct) <= bins:
        return tuple(map(float, distinct[:-1]))
    edges = {quantile(ordered, i, bins) for i in range(1, bins)}
    return tuple(sorted(edge for edge in edges if edge < ordered[-1]))


def _around(constant: np.float64, dtype: np.dtype[Any]) -> tuple[float, ...]:
    """The edges of the bin that has a constant alone, among the numbers of its datatype."""
    if dtype.kind in "biu":
        below = constant - 1.0
    else:
        with np.errstate(over="ignore"):  # there is none below the least
            below = np.float64(np.nextafter(dtype.type(constant), dtype.type(-np.inf)))
    edges = (float(below), float(constant))
    return edges if np.isfinite(below) and below < constant else edges[1:]


def _resolution(distinct: NDArray[np.float64]) -> float | None:
    if len(distinct) < 2:
        return None
    with np.errstate(over="ignore"):
        return min(float(np.diff(distinct).min()), _LARGEST)


def _spread(low: float, high: float) -> float:
    return min(high - low, _LARGEST)  # JSON has no infinity


def _deviation(ordered: NDArray[np.float64]) -> float:
    if ordered[0] == ordered[-1]:
        return 0.0
    # Squares of what is beyond 1e154 would overflow.
    largest = max(abs(ordered[0]), abs(ordered[-1]))
    return float(np.std(ordered / largest) * largest)


def _counted(present: NDArray[np.float64], edges: tuple[float, ...]) -> tuple[int, ...]:
    places = np.searchsorted(np.array(edges), present, side="left")
    return tuple(int(count) for count in np.bincount(places, minlength=len(edges) + 1))
