"""Ranks, and how well they tell two classes apart."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def ranks(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return the rank of each of [rows] values, from 1 on; equal ones share the mean of theirs."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    shared: NDArray[np.float64] = (last - (counts - 1) / 2)[places]
    return shared


def roc_area(of_rows: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """Return the area under the ROC curve: the share of pairs of two classes in order, ties counted half.

    By Mann and Whitney's U.

    Args:
        of_rows: Ranks of the scores, [rows].
        positive: Which rows are of the class that scores tell; some are, and some are not.
    """
    ones = int(positive.sum())
    zeros = len(positive) - ones
    return (float(of_rows[positive].sum()) - ones * (ones + 1) / 2) / (ones * zeros)
