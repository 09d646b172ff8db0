"""Conditions of a pipeline's steps: a scalar made on the way, and the values by which a branch is taken."""

import math
from typing import Literal

import msgspec

from falaj.server.errors import ConfigError

Kind = Literal["in", "not_in", "below", "at_least"]
# From here on not every whole number is a double, which the core compares.
_EXACT = 2**53
_MOST_VALUES = 4096


class Condition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When a step is run. Exactly one of the keys beside `tensor` is there."""

    tensor: str
    """The tensor that is looked at: numbers or BOOL, one element a row. All rows of a request must agree."""
    equals: bool | float | None = None
    """Run where it is this value. No default."""
    one_of: tuple[float, ...] = ()
    """Run where it is one of these. No default."""
    none_of: tuple[float, ...] = ()
    """Run where it is none of these: the rest beside steps with `equals`. No default."""
    below: float | None = None
    """Run where it is less. No default."""
    at_least: float | None = None
    """Run where it is this or more. No default."""

    def __post_init__(self) -> None:
        if not self.tensor:
            raise ConfigError("expected a tensor's name, got ''", key="tensor")
        told = [key for key in ("equals", "one_of", "none_of", "below", "at_least") if self._has(key)]
        if len(told) != 1:
            found = " and ".join(told) or "none of them"
            raise ConfigError(f"expected one of equals, one_of, none_of, below and at_least, got {found}")
        if len(self.values) > _MOST_VALUES:
            raise ConfigError(f"expected at most {_MOST_VALUES} values, got {len(self.values)}", key=told[0])
        for value in self.values:
            if not math.isfinite(value) or abs(value) > _EXACT:
                raise ConfigError(f"expected a number of -2^53 to 2^53, got {value}", key=told[0])

    def _has(self, key: str) -> bool:
        return getattr(self, key) not in (None, ())

    @property
    def kind(self) -> Kind:
        """How `values` are compared, as the core names it."""
        if self.below is not None:
            return "below"
        if self.at_least is not None:
            return "at_least"
        return "not_in" if self.none_of else "in"

    @property
    def values(self) -> tuple[float, ...]:
        """What the scalar is compared with; one value where `kind` is a bound."""
        for value in (self.equals, self.below, self.at_least):
            if value is not None:
                return (float(value),)
        return self.one_of or self.none_of

    def excludes(self, other: "Condition") -> bool:
        """Whether no request can meet both. Symmetric."""
        if self.tensor != other.tensor:
            return False
        return _excludes(self, other) or _excludes(other, self)


def _excludes(one: Condition, other: Condition) -> bool:
    if one.kind == "in":
        return not any(_holds(other, value) for value in one.values)
    return one.kind == "below" and other.kind == "at_least" and one.values[0] <= other.values[0]


def _holds(condition: Condition, value: float) -> bool:
    kind, values = condition.kind, condition.values
    if kind == "below":
        return value < values[0]
    if kind == "at_least":
        return value >= values[0]
    return (value in values) == (kind == "in")
