"""Windowed aggregates for training sets: a view's events and a spine to what the view had for each row."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from falaj import _core
from falaj.features.aggregate import Aggregate
from falaj.features.column import Column
from falaj.features.errors import DataError
from falaj.features.identity import micros
from falaj.features.view import View

_Array: TypeAlias = npt.NDArray[Any]
_Whole: TypeAlias = npt.NDArray[np.int64]
# How values of a datatype are in NumPy: texts as objects.
_DTYPES = {
    "BOOL": "bool",
    **{f"{sign}INT{bits}": f"{sign.lower()}int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)},
    "FP32": "float32",
    "FP64": "float64",
    "BYTES": "object",
}


@dataclass(frozen=True)
class Values:
    """A column.

    Args:
        values: Of a length; anything where null.
        valid: Which are not null, as booleans; None: all.
    """

    values: _Array
    valid: _Array | None = None


@dataclass(frozen=True)
class Events:
    """Rows of a view's source, in any order.

    Args:
        entity: Whom they are about: whole numbers, the same as in the spine.
        event: Event times, UTC microseconds.
        known: When they arrived, UTC microseconds.
        sequence: Orders rows of the same two times.
        columns: By name, each that an aggregate of the view is of, with the NumPy type of its datatype; texts
            as objects.
        event_id: Whole numbers or texts, where the view has one.
    """

    entity: _Array
    event: _Array
    known: _Array
    sequence: _Array
    columns: Mapping[str, Values]
    event_id: Values | None = None


@dataclass(frozen=True)
class Spine:
    """Whom the features are asked of, and when (UTC microseconds), in any order."""

    entity: _Array
    time: _Array


def windowed(events: Events, spine: Spine, view: View) -> dict[str, Values]:
    """Return each aggregate of a view for each row of the spine, in its order.

    The same events give the same bits in whatever order they are, and whatever copies there are of those with
    ids (see csrc/join/window.h).

    Raises:
        DataError: An array is missing, of another length or type; or a sum of integers leaves 64 bits.
    """
    order = np.argsort(_whole(events.entity, f"{view}: events' entity"), kind="stable")
    asked = np.lexsort((_whole(spine.time, "spine's time"), _whole(spine.entity, "spine's entity")))
    length = len(events.entity)
    _expect(spine.time, len(spine.entity), "spine's time")

    def sorted_whole(values: _Array, role: str) -> _Whole:
        where = f"{view}: events' {role}"
        _expect(values, length, where)
        return np.ascontiguousarray(_whole(values, where)[order])

    names = [column.name for column in view.inputs]
    columns, texts = [], {}
    for column in view.inputs:
        values, texts[column.name] = _coded(_found(events, column, view), column.datatype)
        columns.append((_sorted(values.values, order), _sorted_mask(values.valid, order)))
    ids = _ids(events, view, length)
    try:
        swept = _core.sweep_windows(
            aggregates=[each.plain(names) for each in view.aggregates],
            delay=micros(view.source_delay),
            entity=sorted_whole(events.entity, "entity"),
            event=sorted_whole(events.event, "event"),
            known=sorted_whole(events.known, "known"),
            sequence=sorted_whole(events.sequence, "sequence"),
            id=None if ids is None else _sorted(ids.values, order),
            id_valid=None if ids is None else _sorted_mask(ids.valid, order),
            columns=columns,
            spine_entity=_sorted(_whole(spine.entity, "spine's entity"), asked),
            spine_time=_sorted(_whole(spine.time, "spine's time"), asked),
        )
    except _core.InvalidInput as error:
        raise DataError(f"{view}: {error}") from error
    return {
        each.name: _result(each, got, texts, asked) for each, got in zip(view.aggregates, swept, strict=True)
    }


def _result(
    of: Aggregate, got: tuple[_Array, _Array], texts: dict[str, _Array | None], asked: _Array
) -> Values:
    values, valid = np.empty_like(got[0]), np.empty(len(asked), bool)
    values[asked], valid[asked] = got[0], got[1].view(bool)
    if of.datatype != "BYTES":
        # FP32 only where it was: extremes and the last. Where null, 0.
        return Values(values.astype(_DTYPES[of.datatype], copy=False), valid)
    decoded = np.full(len(values), None, object)
    coded = None if of.column is None else texts[of.column.name]
    if coded is not None:
        decoded[valid] = coded[values[valid]]
    return Values(decoded, valid)


def _found(events: Events, column: Column, view: View) -> Values:
    where = f"{view}, column {column.name!r}"
    if column.name not in events.columns:
        raise DataError(f"{where}: is not in the events, which have {', '.join(events.columns) or 'none'}")
    found = events.columns[column.name]
    if found.values.dtype != _DTYPES[column.datatype]:
        raise DataError(f"{where}: expected {_DTYPES[column.datatype]}, got {found.values.dtype}")
    _expect(found.values, len(events.entity), where)
    _expect_mask(found.valid, len(events.entity), where)
    return found


def _coded(column: Values, datatype: str) -> tuple[Values, _Array | None]:
    """Return a column as float64 or int64; for texts codes that ascend as they do, and what they mean."""
    if datatype != "BYTES":
        return Values(column.values.astype("float64" if "FP" in datatype else "int64"), column.valid), None
    codes = np.zeros(len(column.values), np.int64)
    valid = np.ones(len(codes), bool) if column.valid is None else column.valid
    texts, codes[valid] = np.unique(column.values[valid], return_inverse=True)
    return Values(codes, column.valid), texts


def _ids(events: Events, view: View, length: int) -> Values | None:
    where = f"{view}: events' event_id"
    if (events.event_id is None) != (view.event_id is None):
        raise DataError(f"{where}: expected {'none' if view.event_id is None else 'one'}")
    if events.event_id is None:
        return None
    _expect(events.event_id.values, length, where)
    _expect_mask(events.event_id.valid, length, where)
    if events.event_id.values.dtype == object:
        return _coded(events.event_id, "BYTES")[0]
    return Values(_whole(events.event_id.values, where), events.event_id.valid)


def _whole(values: _Array, where: str) -> _Whole:
    if values.dtype != np.int64:
        raise DataError(f"{where}: expected int64, got {values.dtype}")
    return values


def _expect(values: _Array, length: int, where: str) -> None:
    if values.shape != (length,):
        raise DataError(f"{where}: expected {length} values, got an array of shape {values.shape}")


def _expect_mask(valid: _Array | None, length: int, where: str) -> None:
    if valid is not None:
        _expect(valid, length, f"{where}, valid")
        if valid.dtype != np.bool_:
            raise DataError(f"{where}, valid: expected bool, got {valid.dtype}")


def _sorted(values: _Array, order: _Array) -> _Array:
    return np.ascontiguousarray(values[order])


def _sorted_mask(valid: _Array | None, order: _Array) -> _Array | None:
    return None if valid is None else _sorted(valid, order)
