"""What a view's definition demands of its rows, as SQL for DuckDB: good rows, and bad ones with a reason."""

import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb

from falaj.features.datatypes import DUCKDB_TYPES, FLOATS, Value, accepts
from falaj.features.errors import DataError, DefinitionError
from falaj.features.offline.history import DELETED, EVENT, KNOWN, ROW, SEQUENCE
from falaj.features.offline.manifest import see
from falaj.features.offline.sql import OFFSET, blaming, csv_sql, csv_text_sql, literal, parquet_sql, quoted
from falaj.features.offline.staging import UNFIT, stage
from falaj.features.source import CsvFiles, SqlQuery
from falaj.features.view import Column, View

REASON = "__reason"


@dataclass(frozen=True)
class Checked:
    """A view's rows, split.

    Attributes:
        good: A relation with the columns of a history, see history.py.
        bad: One with the raw columns and REASON, the first thing that is wrong with a row.
        rows: Of both together.
        reasons: How many are bad, by reason.
        newest_us: When the newest good row became known; None where there is none.
    """

    good: str
    bad: str
    rows: int
    reasons: Mapping[str, int]
    newest_us: int | None

    @property
    def bad_rows(self) -> int:
        """How many rows are bad."""
        return sum(self.reasons.values())


def create_raw(connection: duckdb.DuckDBPyConnection, view: View, name: str, scratch: Path) -> None:
    """Create the temporary view `name`, a view's rows before anything is asked of their values.

    Columns of CSV and of queries are text, so that one that cannot be read ends nothing.

    Raises:
        DataError: The source cannot be read at all.
    """
    connection.execute("SET TimeZone = 'UTC'")
    if isinstance(view.source, SqlQuery):
        path = scratch / f"{name}.parquet"
        stage(view, path, as_text=True)
        rows = parquet_sql(str(path), ROW)
    elif isinstance(view.source, CsvFiles):
        times = {time: "VARCHAR" for time in (view.event_time, view.known_time) if time is not None}
        plain = view.sql is None
        rows = csv_text_sql(view.source.glob, ROW) if plain else csv_sql(view.source.glob, ROW, times)
    else:
        rows = parquet_sql(view.source.glob, ROW)
    if view.sql is not None:
        rows = f"WITH source AS ({rows}) SELECT * FROM ({view.sql})"
    with blaming(f"{view}, source"):
        connection.execute(f"CREATE OR REPLACE TEMP VIEW {quoted(name)} AS {rows}")


def check(connection: duckdb.DuckDBPyConnection, view: View, relation: str) -> Checked:
    """Split a view's raw rows, see `create_raw`, into temporary views of good and of bad ones.

    Raises:
        DataError: The rows cannot be read.
        DefinitionError: A column that the definition names is not there, or is of a type none of whose values
            can be of its datatype.
    """
    with blaming(f"{view}, source"):
        described = connection.execute(f"DESCRIBE {quoted(relation)}").fetchall()
    types = {str(column[0]): str(column[1]) for column in described}
    rules = [f"WHEN {rule} THEN {literal(reason)}" for rule, reason in _rules(view, types)]
    reasoned = f"SELECT *, CASE {' '.join(rules)} END AS {REASON} FROM {quoted(relation)}"
    if view.unique:
        reasoned = _without_duplicates(view, types, reasoned)
    good, bad = f"{relation}__good", f"{relation}__bad"
    select = f"SELECT {', '.join(_history(view, types))} FROM ({reasoned}) WHERE {REASON} IS NULL"
    with blaming(f"{view}, source"):
        connection.execute(f"CREATE OR REPLACE TEMP VIEW {quoted(good)} AS {select}")
        wrong = f"SELECT * FROM ({reasoned}) WHERE {REASON} IS NOT NULL"
        connection.execute(f"CREATE OR REPLACE TEMP VIEW {quoted(bad)} AS {wrong}")
        known = _time(view.known_time or view.event_time, types)
        counts = f"SELECT {REASON}, count(*), max({known}) FROM ({reasoned}) GROUP BY 1 ORDER BY 1"
        found = connection.execute(counts).fetchall()
    newest = next((time for reason, _, time in found if reason is None), None)
    reasons = {reason: count for reason, count, _ in found if reason is not None}
    return Checked(good, bad, sum(count for _, count, _ in found), reasons, newest)


def quarantine(
    connection: duckdb.DuckDBPyConnection, view: View, checked: Checked, folder: Path
) -> Path | None:
    """Write the bad rows to `<folder>/<view>@<version>/<hash>.parquet`; the same rows are the same file.

    Nothing is there under that name before it is complete.

    Returns:
        The file; None where no row is bad.

    Raises:
        DataError: It cannot be written.
    """
    if not checked.reasons:
        return None
    place = folder / f"{view.name}@{view.version}"
    try:
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".falaj-", dir=place) as scratch:
            made = Path(scratch) / "bad.parquet"
            rows = f"SELECT * FROM {quoted(checked.bad)} ORDER BY ALL"
            with blaming(f"{view}, quarantine"):
                connection.execute(
                    f"COPY ({rows}) TO {literal(str(made))} (FORMAT parquet, COMPRESSION zstd)"
                )
            with made.open("rb") as file:
                os.fsync(file.fileno())
            out = place / f"{see(made).sha256[:32]}.parquet"
            os.replace(made, out)
    except OSError as error:
        raise DataError(f"{view}, quarantine: {error}") from error
    return out


def _rules(view: View, types: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """What makes a row bad, and the reason: the first that holds is told."""
    for role, name in _named(view):
        if name not in types:
            there = ", ".join(each for each in types if not each.startswith("__"))
            raise DefinitionError(f"{view}: {role}: no column {name!r} in the source, which has {there}")
    if UNFIT in types:
        for _, name in _named(view):
            yield f"{UNFIT} = {literal(name)}", f"wrong type: {name}"
    for key, datatype in view.entity.keys.items():
        yield f"{quoted(key)} IS NULL", f"null key: {key}"
        yield from _typed(view, key, datatype, types)
    for time in (view.event_time, view.known_time):
        if time is not None:
            yield from _timed(view, time, types)
    if view.sequence is not None:
        yield f"{quoted(view.sequence)} IS NULL", f"null sequence: {view.sequence}"
        yield from _typed(view, view.sequence, "INT64", types)
    if view.deleted is not None:
        yield from _typed(view, view.deleted, "BOOL", types)
    gone = _gone(view)
    for column in view.columns:
        yield from _typed(view, column.name, column.datatype, types)
        for rule, reason in _declared(column):
            # A tombstone has no values to demand anything of.
            yield f"NOT {gone} AND {rule}", f"{reason}: {column.name}"


def _named(view: View) -> Iterator[tuple[str, str]]:
    for key in view.entity.keys:
        yield f"key {key!r}", key
    optional = {"known_time": view.known_time, "sequence": view.sequence, "deleted": view.deleted}
    yield "event_time", view.event_time
    yield from ((role, name) for role, name in optional.items() if name is not None)
    for column in view.columns:
        yield f"column {column.name!r}", column.name


def _typed(view: View, name: str, datatype: str, types: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    column, of = quoted(name), types[name]
    if of == "VARCHAR" and datatype != "BYTES" and _is_text(view):
        if "INT" in datatype:
            yield f"NOT regexp_full_match({column}, '[+-]?[0-9]+')", f"wrong type: {name}"
        else:
            wide = "BOOLEAN" if datatype == "BOOL" else "DOUBLE"
            yield f"{column} IS NOT NULL AND TRY_CAST({column} AS {wide}) IS NULL", f"wrong type: {name}"
    elif not accepts(datatype, of):
        raise DefinitionError(f"{view}: {name!r}: is {datatype}, the source has {of}")
    yield f"{column} IS NOT NULL AND {_value(name, datatype)} IS NULL", f"out of range of {datatype}: {name}"


def _is_text(view: View) -> bool:
    return view.sql is None and isinstance(view.source, CsvFiles | SqlQuery)


def _timed(view: View, name: str, types: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    column, of = quoted(name), types[name]
    yield f"{column} IS NULL", f"missing time: {name}"
    if (of.startswith("TIMESTAMP") and of != "TIMESTAMP WITH TIME ZONE") or of == "DATE":
        yield "true", f"naive time: {name}"
    elif of == "VARCHAR":
        naive = (
            f"TRY_CAST({column} AS TIMESTAMP) IS NOT NULL AND NOT regexp_matches({column}, {literal(OFFSET)})"
        )
        yield naive, f"naive time: {name}"
        yield f"{_time(name, types)} IS NULL", f"unreadable time: {name}"
    elif of not in ("BIGINT", "TIMESTAMP WITH TIME ZONE"):
        raise DefinitionError(f"{view}: {name!r}: expected times, the source has {of}")


def _declared(column: Column) -> Iterator[tuple[str, str]]:
    value = _value(column.name, column.datatype)
    if column.required:
        yield f"{quoted(column.name)} IS NULL", "null"
    if column.finite:
        yield f"coalesce(NOT isfinite({value}), false)", "not finite"
    bounded = column.minimum is not None or column.maximum is not None
    if bounded and column.datatype in FLOATS:
        # DuckDB has NaN above all numbers.
        yield f"coalesce(isnan({value}), false)", "not a number"
    if column.minimum is not None:
        yield f"coalesce({value} < {_told(column.minimum, column)}, false)", "below minimum"
    if column.maximum is not None:
        yield f"coalesce({value} > {_told(column.maximum, column)}, false)", "above maximum"
    if column.one_of is not None:
        allowed = ", ".join(_told(each, column) for each in column.one_of)
        yield f"coalesce({value} NOT IN ({allowed}), false)", "not one of"


def _told(value: Value, column: Column) -> str:
    """A value of a definition as the column's own type: 0.1 is another number as FP32."""
    text = value if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else repr(value)
    return f"CAST({literal(text)} AS {DUCKDB_TYPES[column.datatype]})"


def _value(name: str, datatype: str) -> str:
    value = f"TRY_CAST({quoted(name)} AS {DUCKDB_TYPES[datatype]})"
    if datatype not in FLOATS:
        return value
    # DuckDB reads text of a number that is too large as an infinity.
    too_large = f"isinf({value}) AND regexp_matches({quoted(name)}::VARCHAR, '[0-9]')"
    return f"CASE WHEN {too_large} THEN NULL ELSE {value} END"


def _time(name: str, types: Mapping[str, str]) -> str:
    column, of = quoted(name), types[name]
    if of == "BIGINT":
        return column
    if of == "TIMESTAMP WITH TIME ZONE":
        return f"epoch_us({column})"
    if of != "VARCHAR":
        return "NULL::BIGINT"
    with_offset = f"epoch_us(TRY_CAST({column} AS TIMESTAMPTZ))"
    # Staging writes integers, as text.
    whole = f"WHEN regexp_full_match({column}, '-?[0-9]+') THEN TRY_CAST({column} AS BIGINT) "
    return (
        f"CASE {whole if UNFIT in types else ''}"
        f"WHEN regexp_matches({column}, {literal(OFFSET)}) THEN {with_offset} END"
    )


def _gone(view: View) -> str:
    return "false" if view.deleted is None else f"coalesce({_value(view.deleted, 'BOOL')}, false)"


def _without_duplicates(view: View, types: Mapping[str, str], reasoned: str) -> str:
    same = [_value(key, datatype) for key, datatype in view.entity.keys.items()]
    same += [_time(time, types) for time in (view.event_time, view.known_time) if time is not None]
    if view.sequence is not None:
        same.append(_value(view.sequence, "INT64"))
    # The one that stays is the one that a join would have taken.
    rest = ", ".join(f"{quoted(name)} DESC" for name in types if name != ROW)
    order = f"{ROW} DESC" if ROW in types else rest
    among = f"PARTITION BY {', '.join(same)}, {REASON} IS NULL ORDER BY {order}"
    twice = f"row_number() OVER ({among}) > 1"
    return (
        f"SELECT * REPLACE (CASE WHEN {REASON} IS NULL AND {twice} THEN 'duplicate' ELSE {REASON} END "
        f"AS {REASON}) FROM ({reasoned})"
    )


def _history(view: View, types: Mapping[str, str]) -> Iterator[str]:
    for key, datatype in view.entity.keys.items():
        yield f"{_value(key, datatype)} AS {quoted(key)}"
    yield f"{_time(view.event_time, types)} AS {EVENT}"
    yield f"{_time(view.known_time or view.event_time, types)} AS {KNOWN}"
    row = ROW if ROW in types else "0::BIGINT"
    yield f"{row if view.sequence is None else _value(view.sequence, 'INT64')} AS {SEQUENCE}"
    yield f"{_gone(view)} AS {DELETED}"
    for column in view.columns:
        yield f"{_value(column.name, column.datatype)} AS {quoted(column.name)}"
