"""A view's history as a relation of DuckDB with fixed columns.

The columns: the entity's keys; EVENT and KNOWN, microseconds since 1970 in UTC; SEQUENCE, which orders rows
of the same two times; DELETED; and the view's features in order. Names with two leading underscores are
ours: no definition can have them.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from falaj.features.datatypes import DUCKDB_TYPES
from falaj.features.errors import DataError, DefinitionError
from falaj.features.source import CsvFiles, Source
from falaj.features.view import View

EVENT = "__event_ts"
KNOWN = "__known_ts"
SEQUENCE = "__sequence"
DELETED = "__deleted"
_ROW = "__row"  # of the source's files, in order
# Behind a time of day: what ends a mere date looks like an offset too.
_OFFSET = r":\d{2}(\.\d+)? ?(Z|[+-]\d{2}(:?\d{2})?)$"


def quoted(name: str) -> str:
    """Return an identifier for SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return a string for SQL."""
    return "'" + text.replace("'", "''") + "'"


@contextmanager
def blaming(what: str) -> Iterator[None]:
    """Raise DuckDB's errors as DataError that name what they are about."""
    try:
        yield
    except duckdb.Error as error:
        raise DataError(f"{what}: {error}") from error


def micros_sql(column: str, datatype: str, where: str) -> str:
    """Return SQL for a column of times as UTC microseconds since 1970, by the column's type in DuckDB.

    Integers are taken to be that already, and text must name its offset.

    Raises:
        DataError: A naive timestamp: whose time zone would be a guess.
    """
    missing = f"WHEN {column} IS NULL THEN error({literal(f'{where}: a row has none')})::BIGINT"
    if datatype == "TIMESTAMP WITH TIME ZONE":
        return f"CASE {missing} ELSE epoch_us({column}) END"
    if datatype == "BIGINT":
        return f"CASE {missing} ELSE {column} END"
    if datatype == "VARCHAR":
        wrong = literal(f"{where}: expected a time with its offset, such as 2026-01-31T08:00:00Z, got ")
        return (
            f"CASE {missing} WHEN regexp_matches({column}, {literal(_OFFSET)}) "
            f"THEN epoch_us({column}::TIMESTAMPTZ) ELSE error({wrong} || {column})::BIGINT END"
        )
    raise DataError(
        f"{where}: expected a timestamp with time zone, or integers of UTC microseconds, got {datatype}; "
        "what a naive timestamp means is not known"
    )


def create_history(connection: duckdb.DuckDBPyConnection, view: View, name: str) -> None:
    """Create the temporary view `name`, a view's history.

    Raises:
        DataError: The source cannot be read, or a time in it is naive.
        DefinitionError: A column that the definition names is not in the source.
    """
    connection.execute("SET TimeZone = 'UTC'")
    source = _source_sql(view.source, [each for each in (view.event_time, view.known_time) if each])
    rows = source if view.sql is None else f"WITH source AS ({source}) SELECT * FROM ({view.sql})"
    with blaming(f"{view}, source"):
        described = connection.execute(f"DESCRIBE {rows}").fetchall()
    types = {str(column[0]): str(column[1]) for column in described}
    select = ", ".join(_columns(view, types))
    with blaming(f"{view}, source"):
        connection.execute(f"CREATE OR REPLACE TEMP VIEW {quoted(name)} AS SELECT {select} FROM ({rows})")


def _source_sql(source: Source, times: list[str]) -> str:
    files = literal(source.glob)
    if not isinstance(source, CsvFiles):
        return f"SELECT *, (file_index << 40) + file_row_number AS {_ROW} FROM read_parquet({files})"
    # As text: DuckDB would take a time without an offset for one in UTC.
    kept = ", ".join(f"{literal(time)}: 'VARCHAR'" for time in times)
    return (
        f"SELECT *, row_number() OVER () AS {_ROW} "
        f"FROM read_csv({files}, header = true, types = {{{kept}}}, nullstr = '', allow_quoted_nulls = false)"
    )


def _columns(view: View, types: dict[str, str]) -> list[str]:
    def found(role: str, name: str) -> str:
        if name not in types:
            there = ", ".join(each for each in types if each != _ROW)
            raise DefinitionError(f"{view}: {role}: no column {name!r} in the source, which has {there}")
        return quoted(name)

    columns = []
    for key, datatype in view.entity.keys.items():
        columns.append(f"{found('key', key)}::{DUCKDB_TYPES[datatype]} AS {quoted(key)}")
    event = found("event_time", view.event_time)
    event = micros_sql(event, types[view.event_time], f"{view}, {view.event_time}")
    columns.append(f"{event} AS {EVENT}")
    if view.known_time is None:
        columns.append(f"{event} AS {KNOWN}")
    else:
        known = found("known_time", view.known_time)
        columns.append(
            f"{micros_sql(known, types[view.known_time], f'{view}, {view.known_time}')} AS {KNOWN}"
        )
    if view.sequence is not None:
        columns.append(f"{found('sequence', view.sequence)}::BIGINT AS {SEQUENCE}")
    else:
        columns.append(f"{_ROW if _ROW in types else '0::BIGINT'} AS {SEQUENCE}")
    gone = "false" if view.deleted is None else f"coalesce({found('deleted', view.deleted)}::BOOLEAN, false)"
    columns.append(f"{gone} AS {DELETED}")
    for column in view.columns:
        name = found(f"column {column.name!r}", column.name)
        columns.append(f"{name}::{DUCKDB_TYPES[column.datatype]} AS {quoted(column.name)}")
    return columns
