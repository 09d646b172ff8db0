"""The numbers next to a number, of a type, and the way to them from elsewhere."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
_BITS: dict[str, Any] = {"f2": np.int16, "f4": np.int32, "f8": np.int64}
WINDOW = 4


def windows(thresholds: NDArray[np.float64], dtype: np.dtype[Any]) -> Array:
    """Return the numbers of a type around each threshold, ascending, [n, 4].

    They are the largest that is not above the threshold, the one below it and the two above. A comparison
    with the threshold changes between the second and the third, or, of `<` with one that is a number of the
    type, the first and the second. One with a threshold that is one step off changes elsewhere, and answers
    otherwise at one of the four.
    """
    if dtype.kind in "iu":
        floor = np.floor(thresholds)[:, None] + np.arange(-1, 3)
        info = np.iinfo(dtype)
        return np.clip(floor, float(info.min) / 2, float(info.max) / 2).astype(dtype)
    lowest = largest_not_above(thresholds, dtype)
    up = next_above(lowest)
    return np.stack([next_below(lowest), lowest, up, next_above(up)], axis=1)


def largest_not_above(values: NDArray[np.float64], dtype: np.dtype[Any]) -> Array:
    """Return the largest number of a type of floats that is not above each value."""
    with np.errstate(over="ignore"):
        near = values.astype(dtype)
    return np.where(near.astype(np.float64) > values, next_below(near), near)


def next_above(values: Array) -> Array:
    """Return the next number above each one, of a type of floats or integers."""
    if values.dtype.kind != "f":
        return values + np.ones((), values.dtype)
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(np.nextafter(values, np.array(np.inf, values.dtype)))


def next_below(values: Array) -> Array:
    """Return the next number below each one, of a type of floats or integers."""
    if values.dtype.kind != "f":
        return values - np.ones((), values.dtype)
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(np.nextafter(values, np.array(-np.inf, values.dtype)))


def places(values: Array) -> NDArray[np.int64]:
    """Return integers in the order of finite numbers, one apart for neighbours; 0.0 and -0.0 are 0."""
    if values.dtype.kind != "f":
        return values.astype(np.int64)
    integer = _BITS[values.dtype.str[1:]]
    bits = np.abs(values).view(integer).astype(np.int64)
    return np.asarray(np.where(np.signbit(values), -bits, bits), np.int64)


def at_places(where: NDArray[np.int64], dtype: np.dtype[Any]) -> Array:
    """Return the numbers of a type at `places`."""
    if dtype.kind != "f":
        return where.astype(dtype)
    integer = _BITS[dtype.str[1:]]
    size = np.abs(where).astype(integer).view(dtype)
    return np.where(where < 0, -size, size)
