"""scikit-learn's calibrated classifiers as nodes of a graph."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from falaj.training.errors import TrainingError
from falaj.training.graph.calibration import calibration_graph, sigmoid_graph
from falaj.training.graph.graph import Growth
from falaj.training.graph.scores_graph import link_graph
from falaj.training.graph.sklearn_frame import Frame
from falaj.training.graph.target import Target
from falaj.training.tabular import Calibration

# From an estimator of columns to what it decides by, FP64, and their number a row; None if it is not known.
Decision = Callable[[Any, Frame], tuple[str, int] | None]


def calibrated_graph(
    grow: Growth, estimator: Any, frame: Frame, classes: int, decide: Decision, target: Target
) -> tuple[str, int] | None:
    """Add a CalibratedClassifierCV; return its probabilities and their number a row.

    None if it is another estimator, or one whose parts are not written here.
    """
    if type(estimator).__name__ != "CalibratedClassifierCV":
        return None
    fitted = estimator.calibrated_classifiers_
    for one in fitted:
        if one.method not in ("sigmoid", "isotonic"):
            raise TrainingError(
                f"CalibratedClassifierCV: method: expected 'sigmoid' or 'isotonic', got {one.method!r}"
            )
    made: list[str] = []
    for one in fitted:
        if len(one.estimator.classes_) != classes:
            return None
        decided = decide(one.estimator, frame)
        if decided is None:
            return None
        made.append(_calibrated(grow, one.calibrators, decided, target))
    total = made[0]
    for probabilities in made[1:]:
        total = grow.node("Add", total, probabilities)
    mean = grow.node("Div", total, grow.constant(float(len(made)), np.float64))
    return mean, 1 if classes == 2 else classes


def _calibrated(grow: Growth, calibrators: Sequence[Any], decided: tuple[str, int], target: Target) -> str:
    """Return the probabilities: of two classes that of the second, of more the shares of each against all."""
    tensor, count = decided
    columns = [tensor]
    if count > 1:
        columns = [
            grow.node("Slice", tensor, *(grow.constant([of], np.int64) for of in (at, at + 1, 1)))
            for at in (range(count) if len(calibrators) > 1 else [count - 1])
        ]
    made = [_one(grow, of, column, target) for of, column in zip(calibrators, columns, strict=True)]
    return made[0] if len(made) == 1 else link_graph(grow, "shares", 1.0, grow.node("Concat", *made, axis=1))


def _one(grow: Growth, calibrator: Any, column: str, target: Target) -> str:
    if hasattr(calibrator, "X_thresholds_"):
        knots, values = calibrator.X_thresholds_, calibrator.y_thresholds_
        line = Calibration(
            "isotonic", knots=np.asarray(knots, np.float64), values=np.asarray(values, np.float64)
        )
        return calibration_graph(grow, line, column, target)
    raised = grow.node("Mul", column, grow.constant(float(calibrator.a_), np.float64))
    return sigmoid_graph(
        grow, grow.node("Add", raised, grow.constant(float(calibrator.b_), np.float64)), -1.0
    )
