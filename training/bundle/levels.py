"""Levels of a category that are frozen when a model is exported, and counts of values in them."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falaj.training.errors import TrainingError

MOST_LEVELS = 50
MOST_POOLED = 1_000
# Cochran's rule: a test by squares wants five expected in a cell.
_LEAST_COUNT = 5
Level = int | str


@dataclass(frozen=True)
class LevelCounts:
    """How many values are of each level.

    Attributes:
        levels: By the levels' order.
        pooled: Of those levels that are one cell, OTHER.
        new: Of levels that the reference does not have.
    """

    levels: tuple[int, ...]
    pooled: int
    missing: int
    new: int

    def __add__(self, other: "LevelCounts") -> "LevelCounts":
        """Return the counts of both, which are of the same levels."""
        levels = tuple(one + two for one, two in zip(self.levels, other.levels, strict=True))
        return LevelCounts(
            levels, self.pooled + other.pooled, self.missing + other.missing, self.new + other.new
        )

    @property
    def total(self) -> int:
        """All values, missing ones included."""
        return sum(self.levels) + self.pooled + self.missing + self.new


@dataclass(frozen=True)
class Levels:
    """What a category is told apart by.

    A value is of a level, of the pool, or new. The text '' is missing, as in a model's input; so is null.

    Attributes:
        levels: The most frequent, first the one with most; each at least five times in the reference.
        pool: The others of the reference, which are counted as one, in order. None where there are more than
            are listed: then every value that is of no level is of the pool, and none is new.
        distinct: How many different levels the reference has.
    """

    levels: tuple[Level, ...]
    pool: tuple[Level, ...] | None
    distinct: int

    def count(self, values: NDArray[Any]) -> LevelCounts:
        """Count values, of any shape: text as `object`, whole numbers or booleans."""
        places = {level: place for place, level in enumerate(self.levels)}
        pool = None if self.pool is None else set(self.pool)
        counts, pooled, missing, new = [0] * len(self.levels), 0, 0, 0
        for level, count in _tally(values).items():
            if level is None:
                missing += count
            elif level in places:
                counts[places[level]] += count
            elif pool is None or level in pool:
                pooled += count
            else:
                new += count
        return LevelCounts(tuple(counts), pooled, missing, new)

    def plain(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def levels_of(values: NDArray[Any], known: tuple[Level, ...] = ()) -> Levels:
    """Freeze levels for values like these.

    Args:
        values: Of any shape: text as `object`, whole numbers or booleans.
        known: Levels that are told apart however few they are, such as a classifier's labels.

    Raises:
        TrainingError: There are none, or they are neither text nor whole numbers.
    """
    if values.size == 0:
        raise TrainingError("baseline: expected at least one value, got none")
    tally = _tally(values)
    tally.pop(None, None)
    found = {level: count for level, count in tally.items() if level is not None}
    # Those of one count by their text, so that the same data freezes the same levels.
    ordered = sorted({**dict.fromkeys(known, 0), **found}, key=lambda it: (-found.get(it, 0), str(it)))
    frequent = [level for level in ordered if level in known or found[level] >= _LEAST_COUNT]
    levels = tuple(level for level in frequent if level in known)
    levels += tuple(level for level in frequent if level not in known)[: max(0, MOST_LEVELS - len(levels))]
    levels = tuple(level for level in ordered if level in set(levels))
    pool = tuple(level for level in ordered if level not in set(levels))
    return Levels(levels, pool if len(pool) <= MOST_POOLED else None, len(found))


def levels_from(told: Mapping[str, Any]) -> Levels:
    """Return what `Levels.plain` told. Raises KeyError or TypeError where it is something else."""
    pool = told["pool"]
    return Levels(tuple(told["levels"]), None if pool is None else tuple(pool), int(told["distinct"]))


def _tally(values: NDArray[Any]) -> Counter[Level | None]:
    if values.dtype.kind in "biu":
        levels, counts = np.unique(values, return_counts=True)
        return Counter({int(level): int(count) for level, count in zip(levels, counts, strict=True)})
    if values.dtype.kind not in "OU":
        raise TrainingError(f"baseline: expected text or whole numbers, got an array of {values.dtype}")
    tally: Counter[Level | None] = Counter()
    for value, count in Counter(values.ravel().tolist()).items():
        tally[_level(value)] += count
    return tally


def _level(value: object) -> Level | None:
    if value is None or value == "" or value != value:  # null, no text, or pandas' NaN
        return None
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, int | np.integer | np.bool_):
        return int(value)
    if isinstance(value, str):
        return value
    raise TrainingError(f"baseline: expected text or whole numbers, got {value!r}")
