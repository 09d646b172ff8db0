"""What estimators answer, by their own libraries."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falaj.training.errors import TrainingError
from falaj.training.graph.estimator_forest import booster_of
from falaj.training.library import family_of
from falaj.training.original import Family

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
        "xgboost": _xgboost,
        "catboost": _catboost,
        "torch": _torch,
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


def _lightgbm(model: Any, classes: int) -> Scores:
    booster = booster_of(model)
    return lambda matrix: booster.predict(matrix)


def _xgboost(model: Any, classes: int) -> Scores:
    import xgboost

    booster = booster_of(model)
    names, kinds = booster.feature_names, booster.feature_types
    categorical = kinds is not None and "c" in kinds

    def compute(matrix: NDArray[np.float32]) -> NDArray[Any]:
        data = xgboost.DMatrix(
            matrix, feature_names=names, feature_types=kinds, enable_categorical=categorical
        )
        return np.asarray(booster.predict(data))

    return compute


def _catboost(model: Any, classes: int) -> Scores:
    from falaj.training.graph.catboost_forest import catboost_scores

    return lambda matrix: catboost_scores(model, matrix, classes)


def _torch(module: Any, classes: int) -> Scores:
    from falaj.training.graph.torch_original import probabilities, run

    return lambda matrix: probabilities(run(module, {"x": matrix})[0], classes)


def _sklearn(estimator: Any, classes: int) -> Scores:
    if not classes:
        return lambda matrix: estimator.predict(matrix.astype(np.float64))
    if not hasattr(estimator, "predict_proba"):
        raise TrainingError(
            f"model: a {type(estimator).__name__} has no predict_proba, from which classes get their scores"
        )
    return lambda matrix: estimator.predict_proba(matrix.astype(np.float64))
