"""How much a model's own answer moves when its inputs move by the least they can."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from falaj.training.export.engine_answers import ask_original
from falaj.training.export.neighbours import next_above, next_below
from falaj.training.export.original import Arrays, Original
from falaj.training.export.rows import count, flat

_TRIES = 6
_TIMES = 4  # a calculation in another order rounds more than once


def own_moves(
    original: Original, rows: Arrays, answers: Arrays, rng: np.random.Generator
) -> dict[str, NDArray[np.float64]]:
    """Return by output of numbers, FP64 [rows, columns], what its answers may be off by rounding alone.

    Every number of a row goes one step up or down at random, six times. A backward stable calculation
    answers as exact arithmetic would for inputs that are a few steps off, so its error is a few times what
    the answer moves by one (Higham, Accuracy and Stability of Numerical Algorithms, 1.5).
    """
    numeric = [output.name for output in original.outputs if output.role != "label"]
    moves = {name: np.zeros(flat(answers[name]).shape) for name in numeric}
    for _ in range(_TRIES):
        moved = {name: _moved(array, rng) for name, array in rows.items()}
        told = ask_original(original, moved, np.arange(count(rows)))
        for name, most in moves.items():
            with np.errstate(invalid="ignore"):
                change = np.abs(flat(told.arrays[name]).astype(np.float64) - flat(answers[name]))
            usable = np.isfinite(change) & told.answered[:, None]
            np.maximum(most, np.where(usable, change, 0.0), out=most)
    return {name: _TIMES * most for name, most in moves.items()}


def _moved(array: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    if array.dtype.kind != "f":
        return array
    up = rng.random(array.shape) < 0.5
    info = np.finfo(array.dtype)
    moved = np.where(up, next_above(array), next_below(array))
    return np.asarray(np.where(np.isfinite(array), np.clip(moved, info.min, info.max), array))
