"""Writes rows to an online store as they happen, by the names that a view's source has for them.

A pushed row is one that the source will have, or could have, or has by the push: when it is materialised
later, or was before, the store merges both to the same answers.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from falaj._core import OnlineStore
from falaj.features.column import fault
from falaj.features.datatypes import Value
from falaj.features.errors import DataError
from falaj.features.identity import micros_of
from falaj.features.online.lookup import array_of, checked
from falaj.features.online.plain_rows import (
    BEFORE_FILES,
    FIRST_US,
    LAST_US,
    NEWEST,
    Arrays,
    plain_rows,
)
from falaj.features.online.store import open_view
from falaj.features.source import PushedRows
from falaj.features.view import View

Row = Mapping[str, object]


@dataclass(frozen=True)
class Pushed:
    """What was written.

    Attributes:
        rows: Of the push.
        entities: Whose rows changed by it.
        unchanged: Entities that stayed as they were: newer rows were there, or the same. Without a `sequence`
            or an `event_id` a row that is pushed again is a newer one.
    """

    rows: int
    entities: int
    unchanged: int


def push(store: OnlineStore, view: View, rows: Row | Sequence[Row], *, as_of_us: int | None = None) -> Pushed:
    """Write rows, all or none; they are durable, and can be read, when this returns.

    Of a view of pushed rows they are in its log first. Where that succeeds and the store cannot be reached,
    `materialize` brings them into it.

    Args:
        rows: One or some, by the names of the source's columns, behind the view's `sql`: the keys, the event
            time (ISO 8601 with its offset, UTC µs or an aware datetime), and each column of the view, None
            for null; of a view with aggregates what they are of, and the event id. May be left out: the known
            time, which is now then, or the event time where the view has none; `sequence`; `deleted`; the
            columns of a row that is deleted. Of rows of the same times, without a `sequence`, what is pushed
            later is newer, and what comes from files is newer still.
        as_of_us: UTC µs as of which what is superseded is dropped, so that nothing earlier can be asked for;
            None: as of now. For replays.

    Raises:
        DataError: A row does not fit the view, or is bad by what that demands, or events would count twice as
            they have no ids, or the time is out of range; nothing was written.
        InvalidInput: The store has the view by another definition.
        Unavailable, DeadlineExceeded: The store cannot be reached, or the log not written; what was written
            is not known, and it may be pushed again.
    """
    given = [rows] if isinstance(rows, Mapping) else rows
    now_ns = time.time_ns()
    if view.aggregates and view.event_id is None:
        raise DataError(
            f"{view}: has no event_id, without which an event that is pushed again, or comes from the "
            "source too, counts twice; only what is materialised can be counted"
        )
    if as_of_us is not None and not FIRST_US <= as_of_us <= LAST_US:
        raise DataError(f"features_as_of: expected a time of the years 1 to 9999, UTC µs, got {as_of_us}")
    if not given:
        return Pushed(0, 0, 0)
    arrays = plain_rows(view, given, now_ns) or any_rows(view, given, now_ns)
    online = open_view(store, view)
    with _kept(view, arrays):
        changed = online.write(
            arrays.keys,
            arrays.event,
            arrays.known,
            arrays.sequence,
            arrays.deleted,
            arrays.columns,
            arrays.nulls,
            now_ns // 1000 if as_of_us is None else as_of_us,
            None,
        )
    return Pushed(len(given), changed, arrays.entities - changed)


def _kept(view: View, arrays: Arrays) -> AbstractContextManager[None]:
    """Where the rows are the view's source, they are in its log while the context lasts."""
    if not isinstance(view.source, PushedRows):
        return nullcontext()
    from falaj.features.pushed_log import logged  # with pyarrow, which other pushes need not have

    return logged(view, arrays)


def any_rows(view: View, rows: Sequence[Row], now_ns: int) -> Arrays:
    """As `plain_rows`, of all rows that fit the view. Raises DataError where one does not."""
    taken = _Taken(view)
    for place, row in enumerate(rows):
        taken.add(row, place, now_ns)
    return taken.arrays()


class _Taken:
    """Rows on their way into arrays, checked as they come."""

    def __init__(self, view: View) -> None:
        self._view = view
        times = (view.event_time, view.known_time, view.sequence, view.deleted)
        columns = [column.name for column in view.written]
        self._names = [*view.entity.keys, *(name for name in times if name is not None), *columns]
        self._keys: list[list[Value]] = [[] for _ in view.entity.keys]
        self._event: list[int] = []
        self._known: list[int] = []
        self._sequence: list[int] = []
        self._deleted: list[bool] = []
        self._values: list[list[Value | None]] = [[] for _ in view.written]

    def add(self, row: Row, place: int, now_ns: int) -> None:
        """Take a row. Raises DataError."""
        view, at = self._view, f"row {place}"
        if not isinstance(row, Mapping):
            raise DataError(f"{at}: expected the values of a row by their names, got {row!r}")
        for name in row:
            if name not in self._names:
                raise DataError(f"{at}: {name!r} is nothing of {view}; it takes {', '.join(self._names)}")
        for values, (key, datatype) in zip(self._keys, view.entity.keys.items(), strict=True):
            values.append(checked(_of(row, key, at), datatype, f"{at}, key {key!r}"))
        event = _time(_of(row, view.event_time, at), f"{at}, {view.event_time!r}")
        self._event.append(event)
        self._known.append(self._known_of(row, at, event, now_ns))
        self._sequence.append(self._sequence_of(row, at, now_ns + place))
        gone = None if view.deleted is None else row.get(view.deleted)
        self._deleted.append(gone is not None and bool(checked(gone, "BOOL", f"{at}, {view.deleted!r}")))
        for filled, column in zip(self._values, view.inputs, strict=False):
            value = row.get(column.name) if self._deleted[-1] else _of(row, column.name, at)
            where = f"{at}, column {column.name!r}"
            value = None if value is None else checked(value, column.datatype, where)
            bad = None if self._deleted[-1] else fault(column, value)
            if bad is not None:
                raise DataError(f"{where}: got {value!r}, which is bad: {bad}")
            filled.append(value)
        if view.event_id is not None:
            self._values[-1].append(_id(_of(row, view.event_id, at), f"{at}, {view.event_id!r}"))

    def arrays(self) -> Arrays:
        """Return them."""
        columns = [column.datatype for column in self._view.written]
        return Arrays(
            [
                array_of(values, datatype)
                for values, datatype in zip(self._keys, self._view.entity.keys.values(), strict=True)
            ],
            np.array(self._event, np.int64),
            np.array(self._known, np.int64),
            np.array(self._sequence, np.int64),
            np.array(self._deleted, bool),
            [_filled(values, datatype) for values, datatype in zip(self._values, columns, strict=True)],
            [np.array([value is None for value in values]) for values in self._values],
        )

    def _known_of(self, row: Row, at: str, event: int, now_ns: int) -> int:
        name = self._view.known_time
        if name is None:
            return event
        given = row.get(name)
        return now_ns // 1000 if given is None else _time(given, f"{at}, {name!r}")

    def _sequence_of(self, row: Row, at: str, arrived_ns: int) -> int:
        name = self._view.sequence
        if name is None:
            return BEFORE_FILES + arrived_ns
        given = row.get(name)
        return NEWEST if given is None else int(checked(given, "INT64", f"{at}, {name!r}"))


def _of(row: Row, name: str, at: str) -> object:
    if name not in row:
        raise DataError(f"{at}: no {name!r}; what is null is said to be null")
    return row[name]


def _id(value: object, where: str) -> str:
    if isinstance(value, np.integer):
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise DataError(f"{where}: expected the event's id, a whole number or text, got {value!r}")
    return str(value)


def _filled(values: Sequence[Value | None], datatype: str) -> Any:
    nothing: Value | None = None if datatype == "BYTES" else 0
    plain: Any = [nothing if value is None else value for value in values]
    return array_of(plain, datatype)


def _time(value: object, where: str) -> int:
    """A time as UTC µs. Raises DataError."""
    if isinstance(value, np.integer):
        value = value.item()
    try:
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
        micros = micros_of(value) if isinstance(value, datetime) else value
    except (ValueError, DataError) as error:
        raise DataError(f"{where}: {error}") from error
    if isinstance(micros, bool) or not isinstance(micros, int):
        raise DataError(f"{where}: expected a time with its offset, or UTC microseconds, got {value!r}")
    if not FIRST_US <= micros <= LAST_US:
        raise DataError(f"{where}: expected a time of the years 1 to 9999, got {micros}")
    return micros
