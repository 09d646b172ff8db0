"""Looks views up in an online store, by keys as people and programs write them."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from falaj._core import OnlineStore, OnlineView
from falaj.features.datatypes import Value, check_value
from falaj.features.errors import DataError, DefinitionError
from falaj.features.online.store import PRESENT, open_view
from falaj.features.view import View, keys_of

STATUSES = ("missing", "expired", "present")  # by the number that a read tells
_NUMPY = {"FP32": "float32", "FP64": "float64", "BYTES": "object"}  # the others by their own names
Keys = Mapping[str, Sequence[object]]


@dataclass(frozen=True)
class Found:
    """What a view has for entities, a row for each.

    Attributes:
        status: `present`, `missing` or `expired`.
        values: Of each column; None where the row is not present, and where its value is null.
    """

    view: View
    status: list[str]
    values: dict[str, list[Value | None]]


def get(store: OnlineStore, views: Sequence[View], keys: Keys, now_us: int | None = None) -> list[Found]:
    """Look entities up in some views.

    Args:
        keys: The values of each key column of the views, as many of each.
        now_us: As of when, UTC µs; None: now. A store is not asked about the past.

    Raises:
        DataError: A key is missing, is no view's, or is of another type.
        DefinitionError: A key is of one type in one view, and of another in another.
        InvalidInput: The store has a view by another definition.
        Unavailable, DeadlineExceeded: The store cannot be reached.
    """
    return look_up([(view, open_view(store, view)) for view in views], keys, now_us)


def look_up(views: Sequence[tuple[View, OnlineView]], keys: Keys, now_us: int | None = None) -> list[Found]:
    """As `get`, in views that are open already."""
    datatypes = keys_of([view for view, _ in views])
    arrays = _key_arrays(keys, datatypes)
    now = time.time_ns() // 1000 if now_us is None else now_us
    found = []
    for view, online in views:
        status, columns, nulls = online.read([arrays[key] for key in view.entity.keys], now)
        away = status != PRESENT
        values = {
            column.name: _plain(column.datatype, read, null | away)
            for column, read, null in zip(view.features, columns, nulls, strict=True)
        }
        found.append(Found(view, [STATUSES[each] for each in status.tolist()], values))
    return found


def told(found: Sequence[Found]) -> dict[str, Any]:
    """Return it as JSON tells it: by `view@version`, the rows' status, and each column's values."""
    return {
        f"{each.view.name}@{each.view.version}": {"status": each.status, "values": each.values}
        for each in found
    }


def array_of(values: Sequence[Value], datatype: str) -> npt.NDArray[Any]:
    """Return values that are of a datatype as an array of one dimension."""
    return np.array(values, dtype=_NUMPY.get(datatype, datatype.lower()))


def checked(value: object, datatype: str, where: str) -> Value:
    """Return a value as one of a datatype; NumPy's numbers are taken too. Raises DataError."""
    if isinstance(value, np.number | np.bool_):
        value = value.item()
    try:
        return check_value(value, datatype, where)
    except DefinitionError as error:
        raise DataError(str(error)) from error


def _key_arrays(keys: Keys, datatypes: Mapping[str, str]) -> dict[str, npt.NDArray[Any]]:
    for key in datatypes:
        if key not in keys:
            raise DataError(f"keys: expected {', '.join(datatypes)}, got no {key!r}")
    rows = len(keys[next(iter(datatypes))]) if datatypes else 0
    for key, values in keys.items():
        if key not in datatypes:
            raise DataError(f"keys: {key!r} is no key of the views; expected {', '.join(datatypes)}")
        if len(values) != rows:
            raise DataError(f"keys: expected as many of each, got {rows} and, of {key!r}, {len(values)}")
    return {
        key: array_of(
            [checked(value, datatype, f"key {key!r}, row {row}") for row, value in enumerate(keys[key])],
            datatype,
        )
        for key, datatype in datatypes.items()
    }


def _plain(datatype: str, values: npt.NDArray[Any], away: npt.NDArray[Any]) -> list[Value | None]:
    if datatype == "FP32":  # the shortest text that reads back as the same FP32 is read as a float
        values = values.astype(str).astype(np.float64)
    plain = values.astype(object)
    plain[away] = None
    listed: list[Value | None] = plain.tolist()
    return listed
