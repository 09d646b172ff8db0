"""What estimators answer, by their own libraries."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falaj.training.errors import TrainingError
from falaj.training.export.library import family_of
from falaj.training.export.original import Family

# From a matrix FP32 [rows, features], rows > 0, to scores or values FP64 [rows, width].
Scores = Callable[[NDArray[np.float32]], NDArray[np.float64]]


def scores_of(estimator: Any, classes: int) -> Scores:
    """Return what computes the scores or values of a fitted estimator.

    Args:
        estimator: As `Tabular` has it.
        classes: How many; 0 of a regression. Of two, one score may stand for the second class.
    """
    make: dict[Family, Callable[[Any, int], Scores]] = {
        "lightgbm": _lightgbm,
        "sklearn": _sklearn,
    }
    family = family_of(estimator)
    if family not in make:
        raise TrainingError(f"model: a {family} model is not an estimator of a table")
    compute = make[family](estimator, classes)

    def scores(matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        answered = np.asarray(compute(matrix), np.float64)
        return answered.reshape(len(matrix), -1)

    return scores


def width_of(scores: NDArray[np.float64], classes: int, where: str) -> None:
    """Raise a TrainingError unless scores of this width can be of so many classes."""
    width = scores.shape[1]
    if width not in {0: (1,), 2: (1, 2)}.get(classes, (classes,)):
        told = f"{classes} classes" if classes else "a regression"
        raise TrainingError(f"{where}: expected the scores of {told}, got {width} a row")


def _lightgbm(booster: Any, classes: int) -> Scores:
    return lambda matrix: booster.predict(matrix)


def _sklearn(estimator: Any, classes: int) -> Scores:
    if not classes:
        return lambda matrix: estimator.predict(matrix.astype(np.float64))
    if not hasattr(estimator, "predict_proba"):
        raise TrainingError(
            f"model: a {type(estimator).__name__} has no predict_proba, from which classes get their scores"
        )
    return lambda matrix: estimator.predict_proba(matrix.astype(np.float64))
