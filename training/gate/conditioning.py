"""How much a model's own answer moves when its inputs move by the least they can."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from falaj.training.gate.engine_answers import ask_original
from falaj.training.gate.neighbours import next_above, next_below
from falaj.training.gate.rows import count, flat
from falaj.training.original import Arrays, Original

_TRIES = 6
_TIMES = 32  # a sum of n terms rounds n times, which adds up to about the root of n


def own_moves(
    original: Original, rows: Arrays, answers: Arrays, rng: np.random.Generator
) -> dict[str, NDArray[np.float64]]:
    """Return by output of numbers, FP64 [rows, columns], what its answers may be off by rounding alone.

    Every number of a row goes one step up or down at random, six times. A backward stable calculation
    answers as exact arithmetic would for inputs that are some steps off (Higham, Accuracy and Stability of
    Numerical Algorithms, 1.5): as many as it rounds one after the other, by chance about the root of that. So
    32 times what the answer moves by one step is allowed, enough for sums of a thousand terms. The columns of
    an output are of one calculation, so all of a row may move as far as the one that moves most.
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
    return {
        name: _TIMES * np.broadcast_to(most.max(axis=1, keepdims=True, initial=0.0), most.shape)
        for name, most in moves.items()
    }


def _moved(array: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    if array.dtype.kind != "f":
        return array
    up = rng.random(array.shape) < 0.5
    info = np.finfo(array.dtype)
    moved = np.where(up, next_above(array), next_below(array))
    return np.asarray(np.where(np.isfinite(array), np.clip(moved, info.min, info.max), array))
