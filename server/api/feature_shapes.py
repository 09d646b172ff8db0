"""The JSON objects of the operations on features."""

from typing import Literal

import msgspec


class _Shape(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of all: immutable, no unknown keys."""


class FeaturesRequest(_Shape, frozen=True):
    """`views`: VIEW or VIEW@VERSION, by default the latest. `keys`: the values of each key column."""

    views: list[str]
    keys: dict[str, list[int | str]]


class ViewFound(_Shape, frozen=True):
    """By row. A value is null where the row is not present, and where it is null itself. Floats may be NaN,
    Infinity and -Infinity, as Python's json writes them."""

    status: list[Literal["present", "missing", "expired"]]
    values: dict[str, list[bool | int | float | str | None]]


class FeaturesFound(_Shape, frozen=True):
    """What there is, by name@version."""

    views: dict[str, ViewFound]
