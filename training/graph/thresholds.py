"""Thresholds of FP64 for inputs of FP32, rounded so that no comparison changes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def rounded(values: NDArray[np.float64], inclusive: bool) -> NDArray[np.float32]:
    """Return thresholds of FP32 that part the values of FP32 as the given ones do.

    For `x <= t` the largest FP32 that is not above t, for `x < t` the smallest that is not below it. Rounded
    to the nearest, t could pass an x that lies between the two.

    Args:
        values: FP64 of any shape; infinities stay.
        inclusive: Whether they are compared by `x <= t` (or `x > t`), rather than `x < t` (or `x >= t`).
    """
    with np.errstate(over="ignore"):  # the nearest, or the next, may be an infinity
        nearest = values.astype(np.float32)
        moved = np.nextafter(nearest, np.float32(-np.inf if inclusive else np.inf))
    wide = nearest.astype(np.float64)
    return np.where(wide > values if inclusive else wide < values, moved, nearest)


def distinct(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return them in FP64, ascending, each once; -0.0 is 0.0."""
    return np.unique(values.astype(np.float64) + 0.0)
