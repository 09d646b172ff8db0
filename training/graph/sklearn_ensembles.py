"""scikit-learn's estimators of estimators as nodes of a graph."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from falaj.training.errors import TrainingError
from falaj.training.graph.graph import Growth
from falaj.training.graph.sklearn_frame import Frame, Part, matrix, taken, width

# From an estimator of columns and the number of classes to its scores, FP64, and their number a row.
Inner = Callable[[Any, Frame, int], tuple[str, int]]


def ensemble_graph(
    grow: Growth, estimator: Any, frame: Frame, classes: int, inner: Inner
) -> tuple[str, int] | None:
    """Add an estimator of estimators; return its scores and their number a row; None if it is not one."""
    name = type(estimator).__name__
    if name in ("VotingClassifier", "VotingRegressor"):
        if getattr(estimator, "voting", "soft") != "soft":
            raise TrainingError("VotingClassifier: voting: expected 'soft', got 'hard'")
        weights = estimator._weights_not_none
        return _mean(grow, [inner(one, frame, classes) for one in estimator.estimators_], classes, weights)
    if name in ("BaggingClassifier", "BaggingRegressor"):
        return _mean(grow, list(_bagged(grow, estimator, frame, classes, inner)), classes, None)
    if name in ("StackingClassifier", "StackingRegressor"):
        return _stacked(grow, estimator, frame, classes, inner)
    return None


def _bagged(grow: Growth, of: Any, frame: Frame, classes: int, inner: Inner) -> Any:
    whole = (Part(matrix(grow, frame, type(of).__name__), width(frame)),)
    for one, columns in zip(of.estimators_, of.estimators_features_, strict=True):
        if classes and (not hasattr(one, "predict_proba") or len(one.classes_) != classes):
            raise TrainingError(
                f"{type(of).__name__}: expected a {type(one).__name__} with the probabilities of all classes"
            )
        yield inner(one, taken(grow, whole, list(columns)), classes)


def _mean(
    grow: Growth, scores: Sequence[tuple[str, int]], classes: int, weights: Sequence[float] | None
) -> tuple[str, int]:
    """Return the weighted mean of scores; of two classes that of the second."""
    given = np.ones(len(scores)) if weights is None else np.asarray(weights, np.float64)
    alike = [_comparable(grow, of, classes) for of in scores]
    total = alike[0] if given[0] == 1.0 else grow.node("Mul", alike[0], grow.constant(given[0]))
    for one, weight in zip(alike[1:], given[1:], strict=True):
        scaled = one if weight == 1.0 else grow.node("Mul", one, grow.constant(weight, np.float64))
        total = grow.node("Add", total, scaled)
    mean = grow.node("Div", total, grow.constant(given.sum(), np.float64))
    return mean, 1 if classes in (0, 2) else classes


def _comparable(grow: Growth, scores: tuple[str, int], classes: int) -> str:
    """Return scores as all are: of two classes one column, that of the second."""
    tensor, count = scores
    if classes == 2 and count == 2:
        return grow.node("Slice", tensor, *(grow.constant([at], np.int64) for at in (1, 2, 1)))
    return tensor


def _stacked(grow: Growth, of: Any, frame: Frame, classes: int, inner: Inner) -> tuple[str, int]:
    """The last estimator takes what the others give: of two classes the second's probabilities."""
    parts: list[Part] = []
    for one, method in zip(of.estimators_, of.stack_method_, strict=True):
        if method != ("predict_proba" if classes else "predict"):
            raise TrainingError(
                f"{type(of).__name__}: expected estimators with predict_proba, got {method} of a "
                f"{type(one).__name__}"
            )
        scores = _comparable(grow, inner(one, frame, classes), classes)
        parts.append(Part(scores, 1 if classes in (0, 2) else classes))
    if of.passthrough:
        parts += frame
    return inner(of.final_estimator_, tuple(parts), classes)
