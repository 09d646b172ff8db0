"""How good answers are against what is true."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from falaj.training.errors import TrainingError
from falaj.training.ranks import ranks, roc_area

Metric = Literal["auc", "accuracy", "rmse"]
METRICS: tuple[Metric, ...] = ("auc", "accuracy", "rmse")
_RESAMPLES = 200


@dataclass(frozen=True)
class Loss:
    """What a variant loses of a metric.

    Attributes:
        original, variant: The metric of both.
        loss: Of AUC and accuracy the difference; of RMSE the growth as a share of the original's. Negative
            where the variant is better.
        low, high: The loss's 95 % interval over rows drawn again, the same for both (percentile bootstrap).
    """

    metric: Metric
    original: float
    variant: float
    loss: float
    low: float
    high: float


def as_metric(text: str) -> Metric:
    """Return the text as what it is one of. Raises TrainingError."""
    for known in METRICS:
        if known == text:
            return known
    raise TrainingError(f"metric: expected {', '.join(METRICS)}, got {text!r}")


def loss_of(metric: Metric, labels: NDArray[Any], original: NDArray[Any], variant: NDArray[Any]) -> Loss:
    """Compare two models' answers to the same rows with the truth.

    Args:
        labels: [rows].
        original, variant: What `answer_for` gave of both, [rows].

    Raises:
        TrainingError: The labels are not what the metric is of.
    """
    measure = _MEASURES[metric]
    truth = _truth(metric, labels)
    first, second = measure(truth, original), measure(truth, variant)
    generator, drawn = np.random.default_rng(0), []
    for _ in range(_RESAMPLES):
        rows = generator.integers(0, len(truth), len(truth))
        if metric == "auc" and truth[rows].all() == truth[rows].any():
            continue  # one class alone has none
        drawn.append(_loss(metric, measure(truth[rows], original[rows]), measure(truth[rows], variant[rows])))
    low, high = np.quantile(drawn, (0.025, 0.975)) if drawn else (np.nan, np.nan)
    return Loss(metric, first, second, _loss(metric, first, second), float(low), float(high))


def answer_for(metric: Metric, outputs: Mapping[str, NDArray[Any]], output: str | None) -> NDArray[Any]:
    """Return of a model's outputs what the metric is of, one value a row.

    Of accuracy a label, or the place of the largest score, or whether a single score is 0.5 or more; of AUC
    the second of two scores, or a single score; of RMSE a single value.

    Args:
        output: The output to take; None where only one will do.

    Raises:
        TrainingError: None will do, or several will.
    """
    if output is not None and output not in outputs:
        raise TrainingError(f"output {output!r}: the model has {', '.join(outputs)}")
    found = {name: outputs[name] for name in ((output,) if output is not None else outputs)}
    fitting = {name: taken for name, array in found.items() if (taken := _taken(metric, array)) is not None}
    labels = {name: taken for name, taken in fitting.items() if found[name].dtype.kind not in "fV"}
    if metric == "accuracy" and len(labels) == 1:
        fitting = labels  # beside the scores that it was taken from
    if len(fitting) != 1:
        told = ", ".join(f"{name} {array.dtype} {list(array.shape)}" for name, array in found.items())
        raise TrainingError(
            f"metric {metric}: expected one output that it can be of, got {len(fitting)} of: {told}"
            + ("; name one by `output`" if fitting else "")
        )
    return next(iter(fitting.values()))


def _taken(metric: Metric, array: NDArray[Any]) -> NDArray[Any] | None:
    single = array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1)
    flat = array.reshape(len(array)) if single else array
    if array.dtype.kind not in "fV":
        return flat if metric == "accuracy" and single else None
    if metric == "accuracy":
        if single:
            return flat >= 0.5
        return array.argmax(axis=1) if array.ndim == 2 else None
    if single:
        return flat.astype(np.float64)
    if metric == "auc" and array.ndim == 2 and array.shape[1] == 2:
        return array[:, 1].astype(np.float64)
    return None


def _truth(metric: Metric, labels: NDArray[Any]) -> NDArray[Any]:
    if metric == "rmse":
        return labels.astype(np.float64)
    if metric == "accuracy":
        return labels
    classes = np.unique(labels)
    if len(classes) != 2:
        raise TrainingError(f"metric auc: expected labels of 2 classes, got {len(classes)}")
    of_second: NDArray[Any] = labels == classes[1]
    return of_second


def _loss(metric: Metric, original: float, variant: float) -> float:
    if metric != "rmse":
        return original - variant
    if original == 0:
        return 0.0 if variant == 0 else float("inf")
    return variant / original - 1


def _accuracy(truth: NDArray[Any], answers: NDArray[Any]) -> float:
    if truth.dtype.kind in "OUS" or answers.dtype.kind in "OUS":
        same = [_text(a) == _text(b) for a, b in zip(truth.tolist(), answers.tolist(), strict=True)]
        return float(np.mean(same))
    return float(np.mean(truth == answers))


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _auc(truth: NDArray[Any], scores: NDArray[Any]) -> float:
    return roc_area(ranks(scores), truth)


def _rmse(truth: NDArray[Any], values: NDArray[Any]) -> float:
    return float(np.sqrt(np.mean((truth - values) ** 2)))


_MEASURES: dict[Metric, Callable[[NDArray[Any], NDArray[Any]], float]] = {
    "auc": _auc,
    "accuracy": _accuracy,
    "rmse": _rmse,
}
