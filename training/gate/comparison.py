"""When an answer of an export is that of its original."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from falaj.training.gate.rows import flat
from falaj.training.original import Arrays, ModelOutput, Original
from falaj.training.ranks import ranks

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Bounds:
    """How far an export's numbers may be from the original's.

    A score may differ by `abs`, a value by `abs + rel * |original|`. NaN equals NaN, and an infinity itself.
    """

    abs: float = 1e-5
    rel: float = 1e-5


DEFAULT = Bounds()
NOTHING: Mapping[str, Floats] = MappingProxyType({})


@dataclass(frozen=True)
class OutputParity:
    """One output on one set of rows.

    Attributes:
        max_abs: Largest |export - original|, where both are finite.
        max_rel: The largest of that over |original|, where |original| is more than the absolute bound.
        not_finite: Rows in which one is NaN or infinite and the other is not the same.
        wrong: Rows beyond the bounds; of labels: flips away from near-ties.
        flips, near_ties: Rows whose labels differ, and those of them that are near-ties in the original.
        rank_correlation: Spearman's, of a score or value with the original's; the least of several columns.
            None where there are no three rows or a column is constant.
    """

    output: str
    role: str
    rows: int
    max_abs: float = 0.0
    max_rel: float = 0.0
    not_finite: int = 0
    wrong: int = 0
    flips: int = 0
    near_ties: int = 0
    rank_correlation: float | None = None


def compare(
    original: Original,
    bounds: Bounds,
    was: Arrays,
    now: Arrays,
    allowed: Mapping[str, Floats] = NOTHING,
) -> tuple[tuple[OutputParity, ...], dict[str, Mask]]:
    """Hold answers against the original's answers to the same rows.

    Args:
        allowed: By output, FP64 [rows, columns]: how much further than the bounds numbers may be.

    Returns:
        The figures of each output, and by an output's name which rows are wrong.
    """
    tied = near_ties(original, bounds, was, allowed)
    told, wrong = [], {}
    for output in original.outputs:
        a, b = was[output.name], now[output.name]
        if output.role == "label":
            figures, rows = _labels(output, a, b, tied)
        else:
            figures, rows = _numbers(output, bounds, a, b, allowed.get(output.name))
        told.append(figures)
        wrong[output.name] = rows
    return tuple(told), wrong


def near_ties(
    original: Original, bounds: Bounds, answers: Arrays, allowed: Mapping[str, Floats] = NOTHING
) -> Mask | None:
    """Return in which rows the two best scores are so near that the bound lets either win.

    Each of the two may be off by the absolute bound, so they are when they are no further apart than twice
    that. None where the model gives no scores: then no row is.
    """
    name = next((output.name for output in original.outputs if output.role == "scores"), None)
    if name is None or (scores := flat(answers[name])).shape[1] < 2:
        return None
    more = allowed[name].max(axis=1, initial=0.0) if name in allowed else 0.0
    best = np.sort(scores.astype(np.float64), axis=1)[:, -2:]
    with np.errstate(invalid="ignore"):
        return np.asarray(best[:, 1] - best[:, 0] <= 2 * (bounds.abs + more))


def _labels(
    output: ModelOutput, was: NDArray[np.generic], now: NDArray[np.generic], tied: Mask | None
) -> tuple[OutputParity, Mask]:
    flipped = np.any(np.asarray(flat(was) != flat(now)), axis=1)
    near = flipped & tied if tied is not None else np.zeros_like(flipped)
    wrong = flipped & ~near
    counts = {"flips": int(flipped.sum()), "near_ties": int(near.sum()), "wrong": int(wrong.sum())}
    return OutputParity(output.name, output.role, flipped.size, **counts), wrong


def _numbers(
    output: ModelOutput,
    bounds: Bounds,
    was: NDArray[np.generic],
    now: NDArray[np.generic],
    more: Floats | None,
) -> tuple[OutputParity, Mask]:
    a, b = flat(was).astype(np.float64), flat(now).astype(np.float64)
    finite = np.isfinite(a) & np.isfinite(b)
    with np.errstate(invalid="ignore", over="ignore"):
        off = np.where(finite, np.abs(a - b), 0.0)
        size = np.where(finite, np.abs(a), 0.0)
        same = finite | (a == b) | (np.isnan(a) & np.isnan(b))
        allowed = bounds.abs + (bounds.rel * size if output.role == "value" else 0.0)
        allowed = allowed if more is None else allowed + more
        beyond = (off > allowed) | ~same
        relative = np.divide(off, size, out=np.zeros_like(off), where=size > bounds.abs)
    wrong = beyond.any(axis=1)
    figures = OutputParity(
        output.name,
        output.role,
        len(wrong),
        max_abs=float(off.max(initial=0.0)),
        max_rel=float(relative.max(initial=0.0)),
        not_finite=int((~same).any(axis=1).sum()),
        wrong=int(wrong.sum()),
        rank_correlation=_least_correlation(a, b),
    )
    return figures, wrong


def _least_correlation(was: Floats, now: Floats) -> float | None:
    found = [rank_correlation(was[:, i], now[:, i]) for i in range(min(was.shape[1], 64))]
    known = [each for each in found if each is not None]
    return min(known) if known else None


def rank_correlation(was: Floats, now: Floats) -> float | None:
    """Return Spearman's rank correlation, ties having their mean rank, of the finite pairs.

    None where there are fewer than three, or one side is constant.
    """
    finite = np.isfinite(was) & np.isfinite(now)
    if finite.sum() < 3:
        return None
    a, b = ranks(was[finite]), ranks(now[finite])
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 0 else None
