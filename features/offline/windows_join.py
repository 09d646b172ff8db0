"""The part of an export that is windows: what a view with aggregates had for each row of the spine."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from falaj.features.datatypes import DUCKDB_TYPES
from falaj.features.identity import micros
from falaj.features.offline.history import EVENT, EVENT_ID, KNOWN, SEQUENCE
from falaj.features.offline.point_in_time import LATE, SPINE_ROW, SPINE_TIME, STATUS, Joined
from falaj.features.offline.sql import literal, quoted
from falaj.features.offline.windows import Events, Spine, Values, windowed

_EVENTS, _WINDOWS, _GIVEN = "__windows_events", "__windows", "__windows_given"
_ENTITY = "__entity"
_MISSING, _PRESENT = 0, 2  # as the native join numbers them
_ROW_BYTES, _VALUE_BYTES = 100, 40  # of an event or a row of the spine in memory, and of a value of it; about


@dataclass(frozen=True)
class Asked:
    """The spine of a view.

    Attributes:
        entities: A table of keys, each once, and of their numbers.
        rows: A table of SPINE_ROW, SPINE_TIME and the number of the entity; below 0 where the key is null.
        known_until: Only what had arrived by then (UTC µs, inclusive); None: everything.
    """

    entities: str
    rows: str
    known_until: int | None = None


def write_windows(
    connection: duckdb.DuckDBPyConnection, joined: Joined, asked: Asked, path: Path, memory: int
) -> None:
    """Write what a view has for the spine's rows, see `PointInTime.join`.

    An entity without events is present: it has windows of none. A row is late where the newest event that was
    true could not be used yet; copies of one are not looked at.

    Args:
        memory: How many bytes the arrays may take, about, but all of one entity are in memory at once.

    Raises:
        DataError: A sum of integers leaves 64 bits, or the history cannot be read.
    """
    view = joined.view
    keys = ", ".join(quoted(key) for key in view.entity.keys)
    known = "true" if asked.known_until is None else f"{KNOWN} <= {asked.known_until}"
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {_EVENTS} AS SELECT * FROM {quoted(joined.history)} "
        f"JOIN {asked.entities} USING ({keys}) WHERE {known}"
    )
    features = [f"{quoted(each.name)} {DUCKDB_TYPES[each.datatype]}" for each in view.features]
    described = ", ".join([f"{SPINE_ROW} BIGINT", *features])
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {_WINDOWS} ({described})")
    row_bytes = _ROW_BYTES + _VALUE_BYTES * (len(view.inputs) + len(view.aggregates))
    for first, end in _parts(connection, asked, max(1, memory // row_bytes)):
        part = f"WHERE {_ENTITY} >= {first} AND {_ENTITY} < {end}"
        rows = connection.execute(f"SELECT * FROM {asked.rows} {part}").fetchnumpy()
        seen = connection.execute(f"SELECT * FROM {_EVENTS} {part}").fetchnumpy()
        spine = Spine(rows[_ENTITY].astype(np.int64), rows[SPINE_TIME])
        _insert(connection, rows[SPINE_ROW], windowed(_events(seen, joined), spine, view))
    connection.execute(f"COPY ({_answers_sql(joined, asked)}) TO {literal(str(path))} (FORMAT parquet)")
    connection.execute(f"DROP TABLE {_EVENTS}")
    connection.execute(f"DROP TABLE {_WINDOWS}")


def _answers_sql(joined: Joined, asked: Asked) -> str:
    copies = ""
    if joined.view.event_id is not None:
        copies = (
            "QUALIFY row_number() OVER "
            f"(PARTITION BY {_ENTITY}, {EVENT_ID} ORDER BY {KNOWN}, {EVENT}, {SEQUENCE}) = 1"
        )
    newest = (
        f"SELECT {_ENTITY}, {EVENT}, max({KNOWN}) AS {KNOWN} FROM (SELECT * FROM {_EVENTS} {copies}) "
        f"GROUP BY {_ENTITY}, {EVENT}"
    )
    late = f"coalesce(e.{KNOWN} + {micros(joined.view.source_delay)} > a.{SPINE_TIME}, false)"
    return (
        f"SELECT a.{SPINE_ROW}, if(a.{_ENTITY} < 0, {_MISSING}, {_PRESENT})::UTINYINT AS {STATUS}, "
        f"{late} AS {LATE}, w.* EXCLUDE ({SPINE_ROW}) FROM {asked.rows} AS a "
        f"LEFT JOIN {_WINDOWS} AS w ON a.{SPINE_ROW} = w.{SPINE_ROW} "
        f"ASOF LEFT JOIN ({newest}) AS e ON a.{_ENTITY} = e.{_ENTITY} AND a.{SPINE_TIME} >= e.{EVENT} "
        f"ORDER BY a.{SPINE_ROW}"
    )


def _parts(connection: duckdb.DuckDBPyConnection, asked: Asked, most_rows: int) -> list[tuple[int, int]]:
    """Divide the entities, which are numbered from 0, into parts of about so many rows."""

    def count(table: str) -> int:
        (found,) = connection.execute(f"SELECT count(*) FROM {table}").fetchall()[0]
        assert isinstance(found, int)
        return found

    entities = count(asked.entities)
    parts = max(1, -(-(count(_EVENTS) + count(asked.rows)) // most_rows))
    each = max(1, -(-entities // parts))
    return [(first, first + each) for first in range(0, entities, each)]


def _events(arrays: Mapping[str, Any], joined: Joined) -> Events:
    def column(name: str) -> Values:
        array = arrays[name]
        if isinstance(array, np.ma.MaskedArray):
            return Values(array.data, ~np.ma.getmaskarray(array))
        return Values(array)

    view = joined.view
    return Events(
        entity=arrays[_ENTITY].astype(np.int64),
        event=column(EVENT).values,
        known=column(KNOWN).values,
        sequence=column(SEQUENCE).values,
        columns={each.name: column(each.name) for each in view.inputs},
        event_id=None if view.event_id is None else column(EVENT_ID),
    )


def _insert(connection: duckdb.DuckDBPyConnection, rows: Any, values: Mapping[str, Values]) -> None:
    # DuckDB takes a NaN of an array for null, and guesses the type of objects by the first of them.
    given, columns = {SPINE_ROW: rows}, [SPINE_ROW]
    for i, of in enumerate(values.values()):
        array, valid = of.values, of.valid
        assert valid is not None
        nan = ""
        if array.dtype == object:
            array = np.where(valid, array, "")
        elif array.dtype.kind == "f":
            given[f"n{i}"] = np.isnan(array)
            nan = f"WHEN n{i} THEN 'nan'::DOUBLE"
        given[f"v{i}"], given[f"ok{i}"] = array, valid
        columns.append(f"CASE WHEN NOT ok{i} THEN NULL {nan} ELSE v{i} END")
    connection.register(_GIVEN, given)
    connection.execute(f"INSERT INTO {_WINDOWS} SELECT {', '.join(columns)} FROM {_GIVEN}")
    connection.unregister(_GIVEN)
