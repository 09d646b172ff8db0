"""Rows of a push as arrays, a column at a time, where all of their values are plain."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt

from falaj.features.column import Column, fault
from falaj.features.datatypes import FLOATS, range_of
from falaj.features.errors import DataError
from falaj.features.identity import micros_of
from falaj.features.online.lookup import array_of
from falaj.features.view import View

NEWEST = 2**63 - 1  # the sequence of a row without one, in the history of a source too
LAST_US = 253_402_300_799_999_999  # of the year 9999
FIRST_US = -62_135_596_800_000_000  # of the year 1
BEFORE_FILES = -(2**62)  # and nanoseconds since 1970 are below 0 until the year 2116
_LARGEST_FP32 = 3.4028234663852886e38


@dataclass(frozen=True)
class Arrays:
    """Rows as an online store takes them.

    Attributes:
        columns: What the view has written, in order, of nulls any value.
        nulls: Of each of these, which are null; None where none is.
    """

    keys: list[npt.NDArray[Any]]
    event: npt.NDArray[np.int64]
    known: npt.NDArray[np.int64]
    sequence: npt.NDArray[np.int64]
    deleted: npt.NDArray[np.bool_]
    columns: list[npt.NDArray[Any]]
    nulls: list[npt.NDArray[np.bool_] | None]

    @property
    def entities(self) -> int:
        """Of how many entities the rows are."""
        return len(set(zip(*(values.tolist() for values in self.keys), strict=True)))


def plain_rows(view: View, rows: Sequence[Mapping[str, object]], now_ns: int) -> Arrays | None:
    """Return rows that have the same names, none deleted, and values of plain types that fit the view.

    None where anything is otherwise, for whoever looks at one row after the other to take it or to say what
    is wrong.

    Args:
        rows: At least one.
    """
    if set(map(type, rows)) != {dict} or len(set(map(len, rows))) != 1 or len(rows[0]) < 2:
        return None
    names = tuple(rows[0])
    try:
        columns = tuple(zip(*map(itemgetter(*names), rows), strict=True))
    except KeyError:
        return None
    given = dict(zip(names, columns, strict=True))
    try:
        return _arrays(view, given, len(rows), now_ns)
    except _Odd:
        return None


class _Odd(Exception):
    """Something is not plain."""


def _arrays(view: View, given: dict[str, tuple[Any, ...]], count: int, now_ns: int) -> Arrays:
    names = set(given)

    def taken(name: str) -> tuple[Any, ...]:
        if name not in given:
            raise _Odd
        names.discard(name)
        return given[name]

    keys = [
        _whole(taken(key), of) if of != "BYTES" else _texts(taken(key))
        for key, of in view.entity.keys.items()
    ]
    event = _times(taken(view.event_time))
    known = event
    if view.known_time is not None:
        known = _times(taken(view.known_time)) if view.known_time in given else np.full(count, now_ns // 1000)
    if view.sequence is None:
        sequence = BEFORE_FILES + now_ns + np.arange(count)
    else:
        sequence = _whole(taken(view.sequence), "INT64") if view.sequence in given else np.full(count, NEWEST)
    if view.deleted in given:
        _are(taken(view.deleted), bool, type(None))
        if True in given[view.deleted]:
            raise _Odd
    columns, nulls = [], []
    for column in view.inputs:
        values, null = _column(taken(column.name), column)
        columns.append(values)
        nulls.append(null)
    if view.event_id is not None:
        columns.append(_ids(taken(view.event_id)))
        nulls.append(None)
    if names:
        raise _Odd
    return Arrays(keys, event, known, sequence, np.zeros(count, bool), columns, nulls)


def _are(values: tuple[Any, ...], *types: type) -> None:
    if not set(map(type, values)) <= set(types):
        raise _Odd


def _whole(values: tuple[Any, ...], datatype: str) -> npt.NDArray[Any]:
    _are(values, int)
    low, high = range_of(datatype)
    if min(values) < low or max(values) > high:
        raise _Odd
    return array_of(values, datatype)


def _texts(values: tuple[Any, ...]) -> npt.NDArray[Any]:
    _are(values, str)
    return array_of(values, "BYTES")


def _ids(values: tuple[Any, ...]) -> npt.NDArray[Any]:
    _are(values, int, str)
    return array_of(tuple(map(str, values)), "BYTES")


def _times(values: tuple[Any, ...]) -> npt.NDArray[np.int64]:
    try:
        if set(map(type, values)) == {str}:
            values = tuple(datetime.fromisoformat(value) for value in values)
        if set(map(type, values)) == {datetime}:
            values = tuple(map(micros_of, values))
    except (ValueError, DataError) as error:
        raise _Odd from error
    _are(values, int)
    if min(values) < FIRST_US or max(values) > LAST_US:
        raise _Odd
    return np.array(values, np.int64)


def _column(values: tuple[Any, ...], column: Column) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]:
    datatype, null, given = column.datatype, None, values
    if type(None) in set(map(type, values)):
        null = np.array([value is None for value in values])
        nothing: Any = "" if datatype == "BYTES" else False if datatype == "BOOL" else 0
        values = tuple(nothing if value is None else value for value in values)
    array: npt.NDArray[Any]
    if datatype == "BYTES":
        array = _texts(values)
    elif datatype == "BOOL":
        _are(values, bool)
        array = array_of(values, datatype)
    else:
        array = _floats(values, datatype) if datatype in FLOATS else _whole(values, datatype)
    demands = replace(column, default=None) != Column(column.name, datatype)
    if demands and any(fault(column, value) is not None for value in given):
        raise _Odd
    return array, null


def _floats(values: tuple[Any, ...], datatype: str) -> npt.NDArray[Any]:
    _are(values, int, float)
    try:
        wide = np.array(values, np.float64)
    except OverflowError as error:
        raise _Odd from error
    if datatype == "FP64":
        return wide
    if np.any(np.abs(wide[np.isfinite(wide)]) > _LARGEST_FP32):
        raise _Odd
    return wide.astype(np.float32)
