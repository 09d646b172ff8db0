"""A typed column."""

import math
import struct
from dataclasses import dataclass
from typing import Any

from falaj.features.datatypes import FLOATS, Value, check_value
from falaj.features.errors import DefinitionError


@dataclass(frozen=True)
class Column:
    """A feature.

    Args:
        name: Of the column.
        datatype: By the Open Inference Protocol's name, such as FP32.
        default: What serves where the entity has no value, or an expired one; None: nothing does.
        required: A row where it is null is bad. These say what a row is checked for, see checks.py.
        minimum, maximum: A row with less, or more, or NaN is bad; of numbers only.
        one_of: A row with another value is bad.
        finite: A row with NaN or an infinity is bad; of floats only.
    """

    name: str
    datatype: str
    default: Value | None = None
    required: bool = False
    minimum: int | float | None = None
    maximum: int | float | None = None
    one_of: tuple[Value, ...] | None = None
    finite: bool = False


def check_demands(column: Column, at: str) -> None:
    """Raise DefinitionError where a column demands what none of its values can be; `at` tells where."""
    bounds = {"minimum": column.minimum, "maximum": column.maximum}
    for role, bound in bounds.items():
        if bound is None:
            continue
        if column.datatype in ("BOOL", "BYTES"):
            raise DefinitionError(f"{at}: {role}: is for numbers, not {column.datatype}")
        if check_value(bound, column.datatype, f"{at}: {role}") != bound or bound != bound:
            raise DefinitionError(f"{at}: {role}: expected a number of {column.datatype}, got {bound}")
    if column.minimum is not None and column.maximum is not None and column.minimum > column.maximum:
        raise DefinitionError(f"{at}: minimum: {column.minimum} is above the maximum, {column.maximum}")
    if column.one_of is not None and not column.one_of:
        raise DefinitionError(f"{at}: one_of: expected at least one value")
    for value in column.one_of or ():
        check_value(value, column.datatype, f"{at}: one_of")
    if column.finite and column.datatype not in FLOATS:
        raise DefinitionError(f"{at}: finite: is for floats, not {column.datatype}")


def fault(column: Column, value: Value | None) -> str | None:
    """Return why a value of the column's datatype is bad, as checks of a source tell it; None: it is not."""
    name = column.name
    if value is None:
        return f"null: {name}" if column.required else None
    held = _held(value, column)
    if isinstance(held, float) and column.finite and not math.isfinite(held):
        return f"not finite: {name}"
    bounded = column.minimum is not None or column.maximum is not None
    if isinstance(held, float) and bounded and math.isnan(held):
        return f"not a number: {name}"
    if column.minimum is not None and held < _held(column.minimum, column):
        return f"below minimum: {name}"
    if column.maximum is not None and held > _held(column.maximum, column):
        return f"above maximum: {name}"
    allowed = column.one_of
    if allowed is not None and not any(_is(held, _held(each, column)) for each in allowed):
        return f"not one of: {name}"
    return None


def _held(value: Value, column: Column) -> Any:
    if column.datatype == "FP32":
        return struct.unpack("f", struct.pack("f", value))[0]
    return float(value) if column.datatype == "FP64" else value


def _is(one: Any, other: Any) -> bool:
    return bool(one == other or (one != one and other != other))  # a NaN is a NaN
