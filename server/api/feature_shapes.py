"""The JSON objects of the operations on features."""

from typing import Any, Literal

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


class FeaturesPush(_Shape, frozen=True):
    """`rows`: one or some, by the names of the columns of the view's source. Times are ISO 8601 with their
    offset, or UTC µs. What is null is said to be null. Floats may be NaN, Infinity, -Infinity.
    `features_as_of`: UTC µs, to replay the past, where features.as_of is set."""

    rows: dict[str, Any] | list[dict[str, Any]]
    features_as_of: int | None = None


class FeaturesPushed(_Shape, frozen=True):
    """What is durable now: in which name@version, the rows of the request, and the entities that changed."""

    view: str
    rows: int
    entities: int


class FeaturesFound(_Shape, frozen=True):
    """What there is, by name@version."""

    views: dict[str, ViewFound]
