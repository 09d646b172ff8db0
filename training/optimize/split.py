"""Which rows ranges are found on, and on which others answers are compared."""

import numpy as np
from numpy.typing import NDArray

from falaj.training.errors import TrainingError
from falaj.training.optimize.candidate import chosen, rows_of
from falaj.training.original import Arrays

_MOST_CALIBRATION, _MOST_EVALUATION, _LEAST = 256, 10_000, 64


def split(rows: Arrays, calibration: Arrays | None) -> tuple[Arrays, NDArray[np.int64]]:
    """Return rows to calibrate with, and the places of the rows to compare on.

    Both are drawn once, the same ones every time. Rows with NaN or infinities are left out of the first where
    others are there: ranges are of numbers.

    Args:
        calibration: To draw the first from; None: from a quarter of `rows`, which are not compared on then.

    Raises:
        TrainingError: There are fewer than 64 rows, or none to calibrate with.
    """
    total = rows_of(rows)
    if total < _LEAST:
        raise TrainingError(f"rows: expected {_LEAST} at least, got {total}")
    drawn = np.random.default_rng(0).permutation(total)
    if calibration is not None:
        return _calibration(calibration), np.sort(drawn[:_MOST_EVALUATION])
    count = min(_MOST_CALIBRATION, total // 4)
    learn = _calibration(chosen(rows, np.sort(drawn[:count])))
    return learn, np.sort(drawn[count : count + _MOST_EVALUATION])


def _calibration(rows: Arrays) -> Arrays:
    total = rows_of(rows)
    if total < 1:
        raise TrainingError("calibration: expected rows, got none")
    finite = np.ones(total, dtype=np.bool_)
    for array in rows.values():
        if array.dtype.kind == "f":
            finite &= np.isfinite(array).reshape(total, -1).all(axis=1)
    places = np.flatnonzero(finite) if finite.any() else np.arange(total)
    drawn = np.random.default_rng(0).permutation(places)[:_MOST_CALIBRATION]
    return chosen(rows, np.sort(drawn))
