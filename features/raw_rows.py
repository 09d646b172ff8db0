"""Rows of a view's source before anything is asked of their values, as relations of DuckDB."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path

import duckdb

from falaj.features.errors import DataError
from falaj.features.offline.history import ROW
from falaj.features.offline.sql import blaming, csv_sql, maybe_micros_sql, parquet_sql, quoted
from falaj.features.offline.staging import stage
from falaj.features.raw_csv import stage_csv
from falaj.features.source import CsvFiles, PushedRows, SqlQuery
from falaj.features.view import View


@dataclass(frozen=True)
class Part:
    """Rows that are read together: of a file, of a query, or of a transformation of all files.

    Attributes:
        place: Among the parts, in the order of the files.
        source: The file, the glob of the files, or the URL of the query as the definition has it.
        relation: A temporary view. Columns of CSV are text, so that one that cannot be read ends nothing.
        types: Its columns, with DuckDB's types of them.
        first: The number of its first row in ROW; None where its rows are not those of one file.
    """

    place: int
    source: str
    relation: str
    types: Mapping[str, str]
    first: int | None


def files_of(view: View) -> list[str]:
    """Return the files of a view's source, in the order of their paths. Raises DataError without any."""
    assert not isinstance(view.source, SqlQuery)
    paths = sorted(glob(view.source.glob, recursive=True))
    if not paths:
        raise DataError(f"{view}, source: no file matches {view.source.glob!r}")
    return paths


def create_parts(
    connection: duckdb.DuckDBPyConnection,
    view: View,
    scratch: Path,
    files: Sequence[str] = (),
    since: Mapping[str, int] | None = None,
) -> list[Part]:
    """Create a temporary view for each part of a view's source as it is now.

    Args:
        scratch: A folder that outlives the connection; rows of CSV and of a query are put there.
        files: What `files_of` returned; none: it is asked.
        since: Of these files only rows that became known later, UTC µs, are wanted; others may be there.

    Raises:
        DataError: The source cannot be read at all.
    """
    connection.execute("SET TimeZone = 'UTC'")
    parts = []
    selects = _selects(connection, view, scratch, files, since or {})
    for place, (source, rows, first) in enumerate(selects):
        relation = f"__raw_{place}"
        with blaming(f"{view}, source {source}"):
            connection.execute(f"CREATE OR REPLACE TEMP VIEW {relation} AS {rows}")
            described = connection.execute(f"DESCRIBE {relation}").fetchall()
        types = {str(column[0]): str(column[1]) for column in described}
        parts.append(Part(place, source, relation, types, first))
    return parts


def named(view: View) -> list[str]:
    """Return the names of the columns that a definition names, in order: keys, times and others, inputs."""
    others = (view.event_time, view.known_time, view.sequence, view.deleted, view.event_id)
    columns = (column.name for column in view.inputs)
    told = [*view.entity.keys, *(name for name in others if name is not None), *columns]
    return list(dict.fromkeys(told))


def _selects(
    connection: duckdb.DuckDBPyConnection,
    view: View,
    scratch: Path,
    files: Sequence[str],
    since: Mapping[str, int],
) -> Iterator[tuple[str, str, int | None]]:
    source = view.source
    if isinstance(source, SqlQuery):
        path = scratch / "staged.parquet"
        stage(view, path, strict=False)
        yield source.url, parquet_sql(str(path), ROW), 0
    elif view.sql is not None:
        files_of(view)
        yield source.glob, _transformed(view, source.glob), None
    else:
        known = maybe_micros_sql(quoted(view.known_time or view.event_time), "VARCHAR")
        for place, file in enumerate(files or files_of(view)):
            if isinstance(source, CsvFiles):
                where = f"{known} > {since[file]}" if file in since else "true"
                with blaming(f"{view}, source {file}"):
                    rows = stage_csv(connection, file, place, named(view), scratch, where)
                yield file, rows, 1
            elif isinstance(source, PushedRows):
                yield source.kept_as(file), parquet_sql(f"{source.at}/{Path(file).name}", ROW), 0
            else:
                yield file, parquet_sql(file, ROW), 0


def _transformed(view: View, pattern: str) -> str:
    if isinstance(view.source, CsvFiles):
        times = {time: "VARCHAR" for time in (view.event_time, view.known_time) if time is not None}
        rows = csv_sql(pattern, ROW, times)
    else:
        rows = parquet_sql(pattern, ROW)
    return f"WITH source AS ({rows}) SELECT * FROM ({view.sql})"
