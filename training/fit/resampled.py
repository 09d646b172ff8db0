"""Metrics of many resamples at once: each from sums over blocks of rows, weighted by how often a block came.

A metric is a function of sums of statistics of rows. What asks for the order of scores (AUC, PR-AUC) takes it
from counts in bins: exact where there are no more different scores than bins, else bins of as many rows each.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from falaj.training.fit.metrics import Predicted, metrics_of

Float = NDArray[np.float64]
_BINS = 512


@dataclass(frozen=True)
class Resampled:
    """A metric of resamples.

    Attributes:
        sums: FP64 [blocks, statistics].
        of: Takes FP64 [resamples, statistics], gives [resamples]; NaN where the metric is not defined.
    """

    sums: Float
    of: Callable[[Float], Float]

    def __call__(self, counts: Float) -> Float:
        """Return the metric of resamples in which each block comes so often; counts [resamples, blocks]."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.of(counts @ self.sums)


def resampled_metrics(predicted: Predicted, block: NDArray[np.int64], blocks: int) -> dict[str, Resampled]:
    """Return each metric of a task as one of resamples.

    Args:
        block: The number of each row's block.
    """
    of = _Sums(predicted, block, blocks)
    makers: dict[str, Callable[[], Resampled]] = {
        "auc": of.auc,
        "pr_auc": of.average_precision,
        "log_loss": of.log_loss,
        "brier": of.brier,
        "accuracy": lambda: of.mean((predicted.scores.argmax(1) == predicted.target).astype(np.float64)),
        "f1": of.f1,
        "rmse": lambda: of.mean((predicted.scores[:, 0] - predicted.target) ** 2, np.sqrt),
        "mae": lambda: of.mean(np.abs(predicted.scores[:, 0] - predicted.target)),
        "r2": of.r2,
    }
    return {name: makers[name]() for name in metrics_of(predicted.task)}


class _Sums:
    """Sums the statistics of one part's rows by block."""

    def __init__(self, predicted: Predicted, block: NDArray[np.int64], blocks: int) -> None:
        self._of, self._block, self._blocks = predicted, block, blocks

    def _summed(self, *columns: Float) -> Float:
        return np.stack(
            [np.bincount(self._block, weights=each, minlength=self._blocks) for each in columns], axis=1
        )

    def mean(self, values: Float, then: Callable[[Float], Float] = lambda found: found) -> Resampled:
        sums = self._summed(values, np.ones(len(values)))
        return Resampled(sums, lambda s: then(s[:, 0] / s[:, 1]))

    def log_loss(self) -> Resampled:
        epsilon = np.finfo(np.float64).eps
        own = self._of.scores[np.arange(len(self._of.target)), self._of.target]
        return self.mean(-np.log(np.clip(own, epsilon, 1 - epsilon)))

    def brier(self) -> Resampled:
        if self._of.task == "binary":
            return self.mean((self._of.scores[:, 1] - self._of.target) ** 2)
        is_class = self._of.target[:, None] == np.arange(self._of.scores.shape[1])
        return self.mean(((self._of.scores - is_class) ** 2).sum(1))

    def r2(self) -> Resampled:
        # Around the mean of all rows, so that the difference of the sums keeps its digits.
        centred = self._of.target - self._of.target.mean()
        squared = (self._of.scores[:, 0] - self._of.target) ** 2
        sums = self._summed(squared, centred, centred**2, np.ones(len(centred)))

        def r2(s: Float) -> Float:
            spread = s[:, 2] - s[:, 1] ** 2 / s[:, 3]
            return np.where(spread > 0, 1 - s[:, 0] / spread, np.nan)

        return Resampled(sums, r2)

    def f1(self) -> Resampled:
        told, target = self._of.scores.argmax(1), self._of.target
        classes = [1] if self._of.task == "binary" else range(self._of.scores.shape[1])
        both = [((told == i) & (target == i)).astype(np.float64) for i in classes]
        either = [(told == i) * 1.0 + (target == i) for i in classes]
        count = len(both)

        def f1(s: Float) -> Float:
            each = np.where(s[:, count:] > 0, 2 * s[:, :count] / s[:, count:], 0.0)
            return np.asarray(each.mean(axis=1))

        return Resampled(self._summed(*both, *either), f1)

    def auc(self) -> Resampled:
        classes = [1] if self._of.task == "binary" else range(self._of.scores.shape[1])
        counted = [self._counted(i) for i in classes]
        widths = [each.shape[1] for each in counted]
        ends = np.cumsum(widths)

        def auc(s: Float) -> Float:
            parts = np.split(s, ends[:-1], axis=1)
            return np.asarray(np.mean([_auc(part) for part in parts], axis=0))

        return Resampled(np.concatenate(counted, axis=1), auc)

    def average_precision(self) -> Resampled:
        return Resampled(self._counted(1), _average_precision)

    def _counted(self, place: int) -> Float:
        """Rows of a class by bin of its score, ascending, then rows of the others; [blocks, 2 bins]."""
        scores, positive = self._of.scores[:, place], self._of.target == place
        values = np.unique(scores)
        if len(values) > _BINS:
            values = np.unique(np.quantile(scores, np.linspace(0, 1, _BINS + 1)[:-1], method="lower"))
        bins = np.searchsorted(values, scores, side="right") - 1
        halves = [
            np.bincount(
                self._block[rows] * len(values) + bins[rows], minlength=self._blocks * len(values)
            ).reshape(self._blocks, len(values))
            for rows in (positive, ~positive)
        ]
        return np.concatenate(halves, axis=1).astype(np.float64)


def _auc(s: Float) -> Float:
    """Mann-Whitney, half for those of one bin."""
    ups, downs = np.split(s, 2, axis=1)
    below = np.cumsum(downs, axis=1) - downs / 2
    return np.asarray((ups * below).sum(1) / (ups.sum(1) * downs.sum(1)))


def _average_precision(s: Float) -> Float:
    ups, downs = (half[:, ::-1] for half in np.split(s, 2, axis=1))
    hits = np.cumsum(ups, axis=1)
    drawn = hits + np.cumsum(downs, axis=1)
    precision = np.where(drawn > 0, hits / drawn, 0.0)
    return np.asarray((ups * precision).sum(1) / hits[:, -1])
