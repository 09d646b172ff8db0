"""A view's history as a relation of DuckDB with fixed columns.

The columns: the entity's keys; EVENT and KNOWN, microseconds since 1970 in UTC; SEQUENCE, which orders rows
of the same two times, the largest there is where the view's is null; DELETED; the view's inputs in
order; and EVENT_ID, a whole number or text, where the view has one. Names with two leading underscores are
ours: no definition can have them.
"""

from pathlib import Path

import duckdb

from falaj.features.datatypes import DUCKDB_TYPES, FLOATS, accepts
from falaj.features.demands import demands
from falaj.features.errors import DefinitionError
from falaj.features.offline.sql import (
    blaming,
    csv_sql,
    csv_type,
    float_sql,
    literal,
    micros_sql,
    parquet_sql,
    quoted,
    whole_sql,
)
from falaj.features.offline.staging import Staged, stage
from falaj.features.source import CsvFiles, SqlQuery
from falaj.features.view import View

EVENT = "__event_ts"
KNOWN = "__known_ts"
SEQUENCE = "__sequence"
DELETED = "__deleted"
EVENT_ID = "__event_id"
REASON = "__reason"
_JUDGED = "__judged"
ROW = "__row"  # of the source's files, in order
NEWEST = 2**63 - 1  # a SEQUENCE that is null in the source


def create_history(
    connection: duckdb.DuckDBPyConnection,
    view: View,
    name: str,
    scratch: Path | None = None,
    *,
    numbered: bool = False,
) -> Staged | None:
    """Create the temporary view `name`, a view's history without the rows that `left_out` counts.

    Args:
        scratch: A folder that outlives the connection; rows of a query are put there.
        numbered: Add the column ROW, by which a row is found again; of Parquet files without `sql`.

    Returns:
        What was read of a query; None where the source is files.

    Raises:
        DataError: The source cannot be read, or a time in it is naive.
        DefinitionError: A column that the definition names is not in the source, or of another type there.
    """
    connection.execute("SET TimeZone = 'UTC'")
    staged, source = _staged(view, name, scratch)
    rows = source if view.sql is None else f"WITH source AS ({source}) SELECT * FROM ({view.sql})"
    with blaming(f"{view}, source"):
        described = connection.execute(f"DESCRIBE {rows}").fetchall()
    types = {str(column[0]): str(column[1]) for column in described}
    select = ", ".join([*_columns(view, types), *([ROW] if numbered else [])])
    typed = f"SELECT {select} FROM ({rows})"
    reason = _reason(view)
    if reason is not None:
        judged = f"SELECT *, {reason} AS {REASON} FROM ({typed})"
        typed = f"SELECT * EXCLUDE {REASON} FROM ({judged}) WHERE {REASON} IS NULL"
    with blaming(f"{view}, source"):
        connection.execute(f"CREATE OR REPLACE TEMP VIEW {quoted(name)} AS {typed}")
        if reason is not None:
            connection.execute(f"CREATE OR REPLACE TEMP VIEW {quoted(name + _JUDGED)} AS {judged}")
    return staged


def left_out(connection: duckdb.DuckDBPyConnection, view: View, name: str) -> dict[str, int]:
    """Count the rows, by reason, that are not in a history because of what the definition demands.

    Raises:
        DataError: The source cannot be read.
    """
    if _reason(view) is None:
        return {}
    judged = quoted(name + _JUDGED)
    sql = f"SELECT {REASON}, count(*) FROM {judged} WHERE {REASON} IS NOT NULL GROUP BY 1 ORDER BY 1"
    with blaming(f"{view}, source"):
        return dict(connection.execute(sql).fetchall())


def judged_sql(view: View, name: str) -> str:
    """Return SQL for a history and the rows that are left out of it, with the column REASON."""
    if _reason(view) is None:
        return f"SELECT *, NULL::VARCHAR AS {REASON} FROM {quoted(name)}"
    return f"SELECT * FROM {quoted(name + _JUDGED)}"


def _reason(view: View) -> str | None:
    """SQL for what is bad about a typed row; None where the definition demands nothing."""
    rules = [rule for column in view.inputs for rule in demands(column, quoted(column.name))]
    if view.event_id is not None:  # an event without one would count each time that it is written
        rules.insert(0, (f"{EVENT_ID} IS NULL", f"null: {view.event_id}"))
    told = " ".join(f"WHEN NOT {DELETED} AND {rule} THEN {literal(reason)}" for rule, reason in rules)
    return f"CASE {told} END" if rules else None


def _is_plain_csv(view: View) -> bool:
    """Whether the columns of the files, which are text, are those of the view."""
    return isinstance(view.source, CsvFiles) and view.sql is None


def _staged(view: View, name: str, scratch: Path | None) -> tuple[Staged | None, str]:
    if not isinstance(view.source, SqlQuery):
        return None, source_sql(view)
    if scratch is None:
        raise ValueError(f"{view}: a query needs a scratch folder")
    path = scratch / f"{name}.parquet"
    return stage(view, path), parquet_sql(str(path), ROW)


def source_sql(view: View) -> str:
    """Return SQL for the rows of a view's files, before its transformation."""
    assert not isinstance(view.source, SqlQuery)
    if not isinstance(view.source, CsvFiles):
        return parquet_sql(view.source.glob, ROW)
    types = {time: "VARCHAR" for time in (view.event_time, view.known_time) if time is not None}
    if _is_plain_csv(view):
        types.update({key: csv_type(of) for key, of in view.entity.keys.items()})
        types.update({column.name: csv_type(column.datatype) for column in view.inputs})
        types.update({} if view.event_id is None else {view.event_id: "VARCHAR"})
    return csv_sql(view.source.glob, ROW, types)


def _columns(view: View, types: dict[str, str]) -> list[str]:
    def found(role: str, name: str) -> str:
        if name not in types:
            there = ", ".join(each for each in types if each != ROW)
            raise DefinitionError(f"{view}: {role}: no column {name!r} in the source, which has {there}")
        return quoted(name)

    def typed(role: str, name: str, datatype: str) -> str:
        column = found(role, name)
        if _is_plain_csv(view) and "INT" in datatype:
            return f"{whole_sql(column, datatype, f'{view}, {name}')} AS {column}"
        if _is_plain_csv(view) and datatype in FLOATS:
            return f"{float_sql(column, datatype, f'{view}, {name}')} AS {column}"
        if not accepts(datatype, types[name]):
            raise DefinitionError(f"{view}: {role}: is {datatype}, the source has {types[name]}")
        return f"{column}::{DUCKDB_TYPES[datatype]} AS {column}"

    columns = [typed(f"key {key!r}", key, datatype) for key, datatype in view.entity.keys.items()]
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
    if view.ordered_by is not None:
        columns.append(f"coalesce({found('sequence', view.ordered_by)}::BIGINT, {NEWEST}) AS {SEQUENCE}")
    else:
        columns.append(f"{ROW if ROW in types else '0::BIGINT'} AS {SEQUENCE}")
    gone = "false" if view.deleted is None else f"coalesce({found('deleted', view.deleted)}::BOOLEAN, false)"
    columns.append(f"{gone} AS {DELETED}")
    for each in view.inputs:
        columns.append(typed(f"column {each.name!r}", each.name, each.datatype))
    if view.event_id is not None:
        number = _id_sql(found("event_id", view.event_id), types[view.event_id], view)
        columns.append(f"{number} AS {EVENT_ID}")
    return columns


def _id_sql(column: str, datatype: str, view: View) -> str:
    if datatype == "VARCHAR":
        return column
    if accepts("INT64", datatype):
        return f"{column}::BIGINT"
    raise DefinitionError(f"{view}: event_id: expected whole numbers or text, the source has {datatype}")
