"""Rows on both sides of every place at which a model's answer changes in one column."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falaj.training.gate.engine_answers import Answers, ask_original
from falaj.training.gate.hostile import chosen
from falaj.training.gate.neighbours import WINDOW, at_places, next_above, next_below, places, windows
from falaj.training.gate.rows import Edit, Indices, RowSet, concatenated, flat
from falaj.training.original import Arrays, Original, Thresholds

_BASES = 3  # real rows that each threshold is tried in: the two nearest to it, and any
_COLUMNS = 48  # of an input that are bisected; more are a random choice
_BISECTED_ROWS = 4
_GRID = 9  # quantiles of a column between which an answer may change
_BISECTED_MOST = 600  # changes that are followed to their place
FLOATS = ("FP16", "FP32", "FP64")
_NUMBERS = (*FLOATS, "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32")


@dataclass(frozen=True)
class Tried:
    """Of how many places so many were tried; `what` they are, in the plural."""

    what: str
    tried: int
    there: int

    def __str__(self) -> str:
        some = "all" if self.tried == self.there else f"a random share of {self.tried:,} of"
        return f"{some} {self.there:,} {self.what}"


def threshold_windows(
    original: Original, rows: Arrays, rng: np.random.Generator, most: int
) -> tuple[RowSet | None, Tried]:
    """Return at most so many rows at the thresholds of the original, each in the real rows nearest to it."""
    edits, there, tried = [], 0, 0
    total = sum(np.isfinite(each.values).sum() for each in original.thresholds)
    share = min(1.0, most / max(1, int(total) * WINDOW * _BASES))
    for each in original.thresholds:
        values = each.values[np.isfinite(each.values)]
        there += values.size
        if share < 1:
            values = rng.choice(values, max(1, int(values.size * share)), replace=False)
        tried += values.size
        if values.size:
            edits.append(_threshold_edit(each, values, rows, rng))
    told = Tried("thresholds of the original", tried, there)
    return window_set("thresholds", edits, rows), told


def _threshold_edit(
    each: Thresholds, values: NDArray[np.float64], rows: Arrays, rng: np.random.Generator
) -> Edit:
    column = flat(rows[each.input])[:, each.column]
    order = np.argsort(column, kind="stable")
    above = np.searchsorted(column[order], values.astype(column.dtype))
    near = order[np.clip(np.stack([above - 1, above], axis=1), 0, order.size - 1)]
    bases = np.concatenate([near, rng.integers(0, order.size, (values.size, _BASES - 2))], axis=1)
    points = np.repeat(windows(values, column.dtype), _BASES, axis=0)
    return window_edit(each.input, bases.ravel(), np.full(bases.size, each.column), points)


def window_edit(name: str, bases: Indices, columns: Indices, points: NDArray[Any]) -> Edit:
    """Each base row with the points of one window, [bases, points of a window]."""
    width = points.shape[1]
    return Edit(name, np.repeat(bases, width), np.repeat(columns, width), points.ravel())


def window_set(kind: str, edits: Sequence[Edit], rows: Arrays, window: int = WINDOW) -> RowSet | None:
    """Return windows as a set of rows, infinities as the largest numbers; None of no windows."""
    edits = [_finite(edit) for edit in edits if edit.base.size]
    if not edits:
        return None
    made = concatenated([edit.rows(rows) for edit in edits])
    return RowSet(kind, made, np.concatenate([edit.column for edit in edits]), window)


def _finite(edit: Edit) -> Edit:
    if edit.value.dtype.kind != "f":
        return edit
    info = np.finfo(edit.value.dtype)
    return replace(edit, value=np.clip(edit.value, info.min, info.max))


def bisected_windows(
    original: Original, rows: Arrays, rng: np.random.Generator
) -> tuple[RowSet | None, Tried]:
    """Return rows where the original's answer changes along a column, found by bisection.

    It asks the original alone, so that it finds them too where trees are behind scalers. Each half is left
    in which the answer changes more, until two numbers are neighbours.
    """
    edits, found = [], 0
    for given in original.inputs:
        if given.datatype in _NUMBERS:
            edit, changes = _bisected_edit(original, given.name, rows, rng)
            edits += [edit] if edit is not None else []
            found += changes
    places_found = sum(edit.base.size for edit in edits) // WINDOW
    return window_set("bisected", edits, rows), Tried("changes along a column", places_found, found)


def _bisected_edit(
    original: Original, name: str, rows: Arrays, rng: np.random.Generator
) -> tuple[Edit | None, int]:
    real = flat(rows[name])
    bases, columns, grid = [], [], []
    for column in chosen(real.shape[1], _COLUMNS, rng).tolist():
        finite = real[:, column][np.isfinite(real[:, column])]
        if finite.size and finite.min() < finite.max():
            quantiles = np.quantile(finite, np.linspace(0, 1, _GRID), method="nearest").astype(real.dtype)
            bases.append(rng.integers(0, real.shape[0], _BISECTED_ROWS))
            columns.append(np.full(_BISECTED_ROWS, column))
            grid.append(np.tile(quantiles, (_BISECTED_ROWS, 1)))
    if not bases:
        return None, 0
    base, column_of, points = np.concatenate(bases), np.concatenate(columns), np.concatenate(grid)
    answers = _ask(original, window_edit(name, base, column_of, points), rows)
    changed = _changes(original, answers).reshape(base.size, _GRID)[:, :-1]
    row, cell = np.nonzero(changed > 0)
    some = rng.permutation(row.size)[:_BISECTED_MOST]
    row_of, cell_of = row[some], cell[some]
    if not row_of.size:
        return None, 0
    low, high = places(points[row_of, cell_of]), places(points[row_of, cell_of + 1])
    base, column_of = base[row_of], column_of[row_of]
    while (high - low > 1).any():
        middle = low + (high - low) // 2
        three = at_places(np.stack([low, middle, high], axis=1), real.dtype)
        answers = _ask(original, window_edit(name, base, column_of, three), rows)
        change = _changes(original, answers).reshape(base.size, 3)
        left = change[:, 0] >= change[:, 1]
        moved = high - low > 1
        high = np.where(left & moved, middle, high)
        low = np.where(~left & moved, middle, low)
    below, above = at_places(low, real.dtype), at_places(high, real.dtype)
    points = np.stack([next_below(below), below, above, next_above(above)], axis=1)
    return window_edit(name, base, column_of, points), int(row.size)


def _ask(original: Original, edit: Edit, rows: Arrays) -> Answers:
    return ask_original(original, edit.rows(rows), edit.column)


def _changes(original: Original, answers: Answers) -> NDArray[np.float64]:
    """How far each row's answer is from the next one's; 0 where either was not answered. [rows]"""
    total = np.zeros(answers.answered.size)
    for output in original.outputs:
        values = flat(answers.arrays[output.name])
        if output.role == "label":
            step = (values[1:] != values[:-1]).any(axis=1) * 1e-9  # decides where scores say nothing
        else:
            with np.errstate(invalid="ignore", over="ignore"):
                step = np.abs(np.diff(values.astype(np.float64), axis=0)).max(axis=1, initial=0.0)
        total[:-1] += np.nan_to_num(step, nan=0.0, posinf=1e300)
    total[:-1] *= answers.answered[1:] & answers.answered[:-1]
    return total
