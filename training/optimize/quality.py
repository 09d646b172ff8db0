"""How far a variant's answers are from its original's, and whether that is inside the bounds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falaj.training.optimize.bounds import Bounds
from falaj.training.optimize.metric import Loss
from falaj.training.ranks import ranks

Outputs = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Agreement:
    """How far one output is from the original's. Errors are in units of the original's standard deviation.

    Attributes:
        flips: Share of the rows whose label, or largest of several scores, is another; None of other outputs.
        mean_error, rms_error, max_error: Of numbers; infinite where one is not a number in one of both only.
        rank_correlation: Spearman's, where the output has one value a row, or the scores of two classes.
    """

    output: str
    flips: float | None = None
    mean_error: float | None = None
    rms_error: float | None = None
    max_error: float | None = None
    rank_correlation: float | None = None


@dataclass(frozen=True)
class Quality:
    """A variant beside its original on `rows` rows; `loss` where the truth is known."""

    rows: int
    agreement: tuple[Agreement, ...]
    loss: Loss | None = None

    def worst(self, figure: str) -> float | None:
        """Return the largest of a figure over the outputs, of `rank_correlation` the least; None if none."""
        values: list[float | None] = [getattr(of, figure) for of in self.agreement]
        found = [value for value in values if value is not None]
        if not found:
            return None
        return min(found) if figure == "rank_correlation" else max(found)


def agreement_of(original: Outputs, variant: Outputs, scores_decide: bool) -> tuple[Agreement, ...]:
    """Compare the answers of two models to the same rows, output by output.

    Args:
        original, variant: Arrays [rows, ...] of the same names.
        scores_decide: Whether the largest of a row's numbers is an answer, as of a classifier.

    Raises:
        ValueError: Shapes differ.
    """
    return tuple(_agreement(name, original[name], variant[name], scores_decide) for name in original)


def failures(quality: Quality, bounds: Bounds) -> tuple[str, ...]:
    """Say with figures which bounds are passed; nothing where all is inside them."""
    told = []
    loss = quality.loss
    if loss is not None and not loss.loss <= bounds.metric_loss:
        told.append(
            f"{loss.metric}: {loss.variant:.5f} after {loss.original:.5f}, a loss of {loss.loss:.5f} "
            f"(95 % {loss.low:.5f}..{loss.high:.5f}), expected {bounds.metric_loss:g} at most"
        )
    for of in quality.agreement:
        for figure, value, bound in (
            ("flips", of.flips, bounds.flips),
            ("mean_error", of.mean_error, bounds.mean_error),
            ("max_error", of.max_error, bounds.max_error),
        ):
            if value is not None and not value <= bound:
                told.append(f"{of.output}: {figure} {value:.5f}, expected {bound:g} at most")
        if of.rank_correlation is not None and not of.rank_correlation >= bounds.rank_correlation:
            told.append(
                f"{of.output}: rank_correlation {of.rank_correlation:.5f}, "
                f"expected {bounds.rank_correlation:g} at least"
            )
    return tuple(told)


def _agreement(name: str, original: NDArray[Any], variant: NDArray[Any], scores_decide: bool) -> Agreement:
    if original.shape != variant.shape:
        raise ValueError(f"output {name!r}: shape {list(variant.shape)}, expected {list(original.shape)}")
    if original.dtype.kind not in "fV":
        return Agreement(name, flips=_share(original != variant))
    a, b = original.astype(np.float64), variant.astype(np.float64)
    flips = None
    if scores_decide and a.ndim == 2 and a.shape[1] > 1:
        flips = float(np.mean(a.argmax(axis=1) != b.argmax(axis=1))) if len(a) else 0.0
    if a.size == 0:
        return Agreement(name, flips, 0.0, 0.0, 0.0)
    errors = _errors(a, b) / _spread(a)
    ordered = a.reshape(len(a), -1)
    correlation = None
    if a.ndim <= 2 and ordered.shape[1] <= 2:
        correlation = _spearman(ordered[:, -1], b.reshape(len(b), -1)[:, -1])
    with np.errstate(over="ignore"):
        rms = float(np.sqrt(np.mean(errors**2)))
    return Agreement(name, flips, float(errors.mean()), rms, float(errors.max()), correlation)


def _share(differs: NDArray[Any]) -> float:
    rows = np.asarray(differs).reshape(len(differs), -1)
    return float(rows.any(axis=1).mean()) if rows.size else 0.0


def _errors(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Absolute differences; 0 where both are the same infinity or no number, infinite where only one is."""
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        errors = np.where(same, 0.0, np.abs(a - b))
    return np.where(np.isnan(errors), np.inf, errors)


def _spread(values: NDArray[np.float64]) -> float:
    """Standard deviation of the finite values; where they are all the same, their size, or 1 for zeros."""
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return 1.0
    return float(finite.std()) or float(np.abs(finite).max()) or 1.0


def _spearman(a: NDArray[np.float64], b: NDArray[np.float64]) -> float | None:
    """Correlation of the ranks; None where the original's values are all the same."""
    first, second = ranks(a), ranks(b)
    if first.std() == 0:
        return None
    if second.std() == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])
