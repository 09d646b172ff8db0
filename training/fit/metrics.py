"""How good predictions are, of weighted rows: so that a bootstrap is another weight for each row.

Definitions as scikit-learn has them: AUC as the Mann-Whitney statistic with half for ties, PR-AUC as average
precision, F1 at the class with the highest score (macro where there are more than two), log loss with
probabilities kept within the float's epsilon of 0 and 1, Brier of several classes as the sum over classes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from falaj.training.errors import TrainingError
from falaj.training.original import Task

Float = NDArray[np.float64]
Weighted = Callable[[Float], float]
HIGHER_IS_BETTER: Mapping[str, bool] = {
    "auc": True,
    "pr_auc": True,
    "log_loss": False,
    "brier": False,
    "accuracy": True,
    "f1": True,
    "rmse": False,
    "mae": False,
    "r2": True,
}
_OF_TASK: Mapping[Task, tuple[str, ...]] = {
    "binary": ("auc", "pr_auc", "log_loss", "brier", "accuracy", "f1"),
    "multiclass": ("auc", "log_loss", "brier", "accuracy", "f1"),
    "regression": ("rmse", "mae", "r2"),
}


@dataclass(frozen=True)
class Predicted:
    """Rows with what was predicted of them.

    Attributes:
        target: INT64 places of classes, or FP64 values.
        scores: FP64 [rows, classes], or [rows, 1] of a regression.
    """

    task: Task
    target: NDArray[Any]
    scores: Float

    def take(self, rows: NDArray[Any]) -> "Predicted":
        """Return some rows, by a mask or by their places."""
        return Predicted(self.task, self.target[rows], self.scores[rows])


def metrics_of(task: Task) -> tuple[str, ...]:
    """Return the names of a task's metrics."""
    return _OF_TASK[task]


def default_metric(task: Task) -> str:
    """Return what is tuned by where nothing is said."""
    return "rmse" if task == "regression" else "log_loss"


def direction(metric: str, task: Task) -> Literal["maximize", "minimize"]:
    """Return which way is better. Raises TrainingError where the task has no such metric."""
    if metric not in _OF_TASK[task]:
        raise TrainingError(f"metric {metric!r}: a {task} task has {', '.join(_OF_TASK[task])}")
    return "maximize" if HIGHER_IS_BETTER[metric] else "minimize"


def value_of(metric: str, predicted: Predicted) -> float:
    """Return a metric of rows of the same weight; NaN where it is not defined, as with one class only."""
    return weighted_metrics(predicted, (metric,))[metric](np.ones(len(predicted.target)))


def weighted_metrics(predicted: Predicted, names: tuple[str, ...] | None = None) -> dict[str, Weighted]:
    """Return each metric as a function of the rows' weights.

    What does not depend on weights, such as the order by score, is done once.

    Args:
        names: Which; by default all of the task.
    """
    makers: Mapping[str, Callable[[Predicted], Weighted]] = {
        "auc": _auc,
        "pr_auc": lambda of: _average_precision(of.scores[:, 1], of.target == 1),
        "log_loss": _log_loss,
        "brier": _brier,
        "accuracy": lambda of: _mean((of.scores.argmax(1) == of.target).astype(np.float64)),
        "f1": _f1,
        "rmse": lambda of: _root(_mean((of.scores[:, 0] - of.target) ** 2)),
        "mae": lambda of: _mean(np.abs(of.scores[:, 0] - of.target)),
        "r2": _r2,
    }
    return {name: makers[name](predicted) for name in names or _OF_TASK[predicted.task]}


def _mean(values: Float) -> Weighted:
    return lambda weights: float(weights @ values) / total if (total := float(weights.sum())) else np.nan


def _root(of: Weighted) -> Weighted:
    return lambda weights: float(np.sqrt(of(weights)))


def _auc(predicted: Predicted) -> Weighted:
    if predicted.task == "binary":
        return _auc_of(predicted.scores[:, 1], predicted.target == 1)
    each = [_auc_of(scores, predicted.target == i) for i, scores in enumerate(predicted.scores.T)]
    return lambda weights: float(np.mean([of(weights) for of in each]))


def _auc_of(scores: Float, positive: NDArray[np.bool_]) -> Weighted:
    order, ends = _ranked(scores)
    ranked = positive[order]

    def auc(weights: Float) -> float:
        ordered = weights[order]
        ups = np.diff(np.cumsum(np.where(ranked, ordered, 0.0))[ends], prepend=0.0)
        below = np.cumsum(np.where(ranked, 0.0, ordered))[ends]
        downs = np.diff(below, prepend=0.0)
        pairs = float(ups.sum()) * float(downs.sum())
        return float(ups @ (below - downs / 2)) / pairs if pairs else np.nan

    return auc


def _average_precision(scores: Float, positive: NDArray[np.bool_]) -> Weighted:
    order, ends = _ranked(-scores)
    ranked = positive[order]

    def average_precision(weights: Float) -> float:
        ordered = weights[order]
        hits = np.cumsum(np.where(ranked, ordered, 0.0))[ends]
        drawn = np.cumsum(ordered)[ends]
        if not hits[-1]:
            return np.nan
        precision = np.divide(hits, drawn, out=np.zeros_like(hits), where=drawn > 0)
        return float(np.diff(hits, prepend=0.0) @ precision) / float(hits[-1])

    return average_precision


def _ranked(scores: Float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The order of ascending scores, and the places where runs of the same score end."""
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    return order, ends


def _log_loss(predicted: Predicted) -> Weighted:
    epsilon = np.finfo(np.float64).eps
    own = predicted.scores[np.arange(len(predicted.target)), predicted.target]
    return _mean(-np.log(np.clip(own, epsilon, 1 - epsilon)))


def _brier(predicted: Predicted) -> Weighted:
    if predicted.task == "binary":
        return _mean((predicted.scores[:, 1] - predicted.target) ** 2)
    is_class = predicted.target[:, None] == np.arange(predicted.scores.shape[1])
    return _mean(((predicted.scores - is_class) ** 2).sum(1))


def _f1(predicted: Predicted) -> Weighted:
    """Of the second class where there are two, else the mean over classes."""
    told = predicted.scores.argmax(1)
    classes = [1] if predicted.task == "binary" else range(predicted.scores.shape[1])
    masks = [(told == i, predicted.target == i) for i in classes]

    def f1(weights: Float) -> float:
        found = []
        for said, true in masks:
            both, either = float(weights[said & true].sum()), float(weights @ (said * 1.0 + true))
            found.append(2 * both / either if either else 0.0)
        return float(np.mean(found))

    return f1


def _r2(predicted: Predicted) -> Weighted:
    target, squared = predicted.target, (predicted.scores[:, 0] - predicted.target) ** 2

    def r2(weights: Float) -> float:
        total = float(weights.sum())
        if not total:
            return np.nan
        spread = float(weights @ (target - float(weights @ target) / total) ** 2)
        return 1 - float(weights @ squared) / spread if spread else np.nan

    return r2
