"""What an aggregate has for an entity at a time, by the rules and nothing else: no tiles, only fractions."""

import math
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction

from falaj.features import Aggregate

Scalar = int | float | str | None


@dataclass(frozen=True)
class Row:
    """An event; times in µs."""

    entity: int
    event: int
    known: int
    sequence: int
    id: int | None
    values: tuple[Scalar, ...]


def seen(rows: list[Row], entity: int, at: int, of: Aggregate, delay: int) -> list[Row]:
    """Return the events that count for an aggregate."""
    tile, window = (span // timedelta(microseconds=1) for span in (of.tile, of.window))
    own = [row for row in rows if row.entity == entity]
    first: dict[int, Row] = {}
    for row in own:
        if row.id is not None:
            first[row.id] = min(first.get(row.id, row), row, key=_first)
    return [
        row
        for row in [*(row for row in own if row.id is None), *first.values()]
        if max(row.event, row.known + delay) <= at and at // tile - row.event // tile < window // tile
    ]


def answer(rows: list[Row], of: Aggregate, column: int | None) -> Scalar:
    """Return an aggregate of the events that count; for std use `is_std`."""
    if column is None:
        return len(rows)
    kept = [row for row in rows if row.values[column] is not None]
    values = [row.values[column] for row in kept]
    if of.function == "count":
        return len(values)
    if of.function == "distinct":
        return len({"nan" if value != value else value for value in values})
    if not values:
        return None
    if of.function == "last":
        newest = max(kept, key=lambda row: (row.event, row.known, row.sequence, _order(row.values[column])))
        return newest.values[column]
    numbers = [value for value in values if isinstance(value, int | float)]
    if any(math.isnan(value) for value in numbers):
        return math.nan
    if of.function in ("min", "max"):
        return (min if of.function == "min" else max)(numbers, key=_order)
    return _mean(numbers) if of.function == "mean" else _sum(numbers)


def is_std(got: float | None, rows: list[Row], column: int) -> bool:
    """Whether a value is the double nearest to the sample standard deviation."""
    values = [row.values[column] for row in rows]
    numbers = [value for value in values if isinstance(value, int | float)]
    if len(numbers) < 2 or got is None:
        return len(numbers) < 2 and got is None
    if not all(math.isfinite(value) for value in numbers):
        return math.isnan(got)
    exact = [Fraction(value) for value in numbers]
    mean = sum(exact) / len(exact)
    variance = sum((value - mean) ** 2 for value in exact) / (len(exact) - 1)
    most = Fraction(math.nextafter(math.inf, 0))
    step = most - Fraction(math.nextafter(float(most), 0))
    value = most + step if math.isinf(got) else Fraction(got)
    below = Fraction(math.nextafter(got, 0)) if got else Fraction(0)
    above = value if math.isinf(got) else Fraction(min(math.nextafter(got, math.inf), float(most)))
    upper = None if math.isinf(got) else ((value + above) / 2 if above > value else most + step / 2)
    return ((value + below) / 2) ** 2 <= variance and (upper is None or variance <= upper**2)


def _first(row: Row) -> tuple[int, int, int, tuple[object, ...]]:
    return row.known, row.event, row.sequence, tuple(_order(value) for value in row.values)


def _order(value: Scalar) -> tuple[object, ...]:
    """Nulls first, -0.0 below 0.0, NaN last."""
    if value is None:
        return (0,)
    if isinstance(value, str):
        return (1, value)
    return (1, math.isnan(value), 0 if math.isnan(value) else value, math.copysign(1, value))


def _sum(numbers: list[int | float]) -> int | float:
    if all(isinstance(value, int) for value in numbers):
        return sum(numbers)
    return _rounded(numbers, 1)


def _mean(numbers: list[int | float]) -> float:
    return _rounded(numbers, len(numbers))


def _rounded(numbers: list[int | float], count: int) -> float:
    infinities = {value for value in numbers if math.isinf(value)}
    if infinities:
        return float(infinities.pop()) if len(infinities) == 1 else math.nan
    exact = sum(Fraction(value) for value in numbers) / count
    try:
        return float(exact) + 0.0  # zero has no sign
    except OverflowError:
        return math.inf if exact > 0 else -math.inf
