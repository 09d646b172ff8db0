"""The spine of an export: which entities are asked about, and for what time each."""

from collections.abc import Mapping
from dataclasses import dataclass

import duckdb

from falaj.features.datatypes import accepts
from falaj.features.errors import DataError
from falaj.features.offline.point_in_time import SPINE_ROW, SPINE_TIME
from falaj.features.offline.sql import (
    blaming,
    csv_sql,
    csv_type,
    micros_sql,
    parquet_sql,
    quoted,
    whole_sql,
)

_CSV = (".csv", ".csv.gz")


@dataclass(frozen=True)
class Spine:
    """Rows to which features are added.

    Args:
        given: A Parquet or CSV file, by its name's ending, or a SELECT of DuckDB. A SELECT without ORDER BY
            has no order that is the same each time.
        time: Its column of times.
    """

    given: str
    time: str = "spine_ts"

    @property
    def file(self) -> str | None:
        """The file, or None where it is a SELECT."""
        return self.given if self.given.endswith((".parquet", *_CSV)) else None


def create_spine(
    connection: duckdb.DuckDBPyConnection, spine: Spine, keys: Mapping[str, str], name: str
) -> list[str]:
    """Create the temporary view `name`, the spine with SPINE_TIME and SPINE_ROW, in the order of the latter.

    Args:
        keys: That it has to have, and their datatypes.

    Returns:
        Its own columns.

    Raises:
        DataError: It cannot be read, or lacks a column or has another type there, or its times are naive.
    """
    whole: list[str] = []  # keys that are read as text
    if spine.file is None:
        rows = f"SELECT *, row_number() OVER () AS {SPINE_ROW} FROM ({spine.given})"
    elif spine.file.endswith(_CSV):
        whole = [key for key, datatype in keys.items() if "INT" in datatype]
        types = {**{key: csv_type(of) for key, of in keys.items()}, spine.time: "VARCHAR"}
        rows = csv_sql(spine.file, SPINE_ROW, types)
    else:
        rows = parquet_sql(spine.file, SPINE_ROW)
    with blaming("spine"):
        described = connection.execute(f"DESCRIBE {rows}").fetchall()
    types = {str(column[0]): str(column[1]) for column in described}
    columns = [column for column in types if column != SPINE_ROW]
    for needed in (spine.time, *keys):
        if needed not in columns:
            raise DataError(f"spine: no column {needed!r}, it has {', '.join(columns)}")
    for key, datatype in keys.items():
        if key not in whole and not accepts(datatype, types[key]):
            raise DataError(f"spine: key {key!r}: expected {datatype}, got {types[key]}")
    times = micros_sql(quoted(spine.time), types[spine.time], f"spine, {spine.time}")
    numbers = [f"{whole_sql(quoted(key), keys[key], f'spine, {key}')} AS {quoted(key)}" for key in whole]
    every = f"* REPLACE ({', '.join(numbers)})" if numbers else "*"
    select = f"SELECT {every}, {times} AS {SPINE_TIME} FROM ({rows})"
    with blaming("spine"):
        connection.execute(f"CREATE OR REPLACE TEMP VIEW {quoted(name)} AS {select}")
    return columns


def spine_types(connection: duckdb.DuckDBPyConnection, name: str) -> dict[str, str]:
    """Return the columns that a spine has of its own, and DuckDB's types of them."""
    with blaming("spine"):
        described = connection.execute(f"DESCRIBE {quoted(name)}").fetchall()
    return {str(of[0]): str(of[1]) for of in described if of[0] not in (SPINE_TIME, SPINE_ROW)}
