"""A CSV file as a Parquet file of text, with the lines that are no rows of it beside."""

import csv
from collections.abc import Iterable
from pathlib import Path

import duckdb

from falaj.features.errors import DataError
from falaj.features.offline.history import ROW
from falaj.features.offline.sql import literal, quoted
from falaj.features.offline.staging import TOLD, UNFIT

_DELIMITERS = ",;\t|"


def stage_csv(
    connection: duckdb.DuckDBPyConnection,
    file: str,
    place: int,
    wanted: Iterable[str],
    scratch: Path,
    where: str,
) -> str:
    """Read a file once, and return SQL for its rows, numbered in ROW.

    All columns are text; an empty field is null, a quoted one a text of nothing. Of a line that is no row
    UNFIT says why and TOLD what it is; it has no number.

    Args:
        place: A number that no other file of the connection has.
        wanted: Names of columns, by which the delimiter is told: a comma, a semicolon, a tab or a bar.
        where: SQL for which rows are wanted, by their columns; of the other lines all are there.

    Raises:
        DataError: It has no head line, or that is not in UTF-8.
        duckdb.Error: It cannot be read.
    """
    delimiter, names = _head(file, set(wanted))
    columns = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in names)
    rejects = f"__rejects_{place}"
    options = (
        f"auto_detect = false, header = true, delim = {literal(delimiter)}, quote = '\"', escape = '\"', "
        f"columns = {{{columns}}}, nullstr = '', allow_quoted_nulls = false, store_rejects = true, "
        f"rejects_table = {literal(rejects)}, rejects_scan = {literal(rejects + '_scan')}"
    )
    # All columns are read at once: which lines DuckDB rejects depends on the columns that it reads.
    rows = f"SELECT *, row_number() OVER () AS {ROW} FROM read_csv({literal(file)}, {options})"
    for name in (rejects, f"{rejects}_scan"):  # of a run that was done before on the connection
        connection.execute(f"DROP TABLE IF EXISTS {quoted(name)}")
    staged = scratch / f"csv_{place}.parquet"
    connection.execute(
        f"COPY (SELECT * FROM ({rows}) AS raw WHERE {where}) TO {literal(str(staged))} "
        "(FORMAT parquet, COMPRESSION snappy)"
    )
    told = "to_json({line: line::VARCHAR, text: any_value(csv_line)})::VARCHAR"
    broken = (
        f"SELECT 'broken line: ' || lower(min(error_type)) AS {UNFIT}, {told} AS {TOLD} "
        f"FROM {quoted(rejects)} GROUP BY line, line_byte_position"
    )
    return f"SELECT * FROM read_parquet({literal(str(staged))}) UNION ALL BY NAME {broken}"


def _head(file: str, wanted: set[str]) -> tuple[str, list[str]]:
    """The delimiter and the names of the columns, each once, by the first line."""
    try:
        lines = {of: _first(file, of) for of in _DELIMITERS}
    except (OSError, UnicodeError, csv.Error) as error:
        raise DataError(f"{file}: {error}") from error
    delimiter = max(lines, key=lambda of: len(wanted.intersection(lines[of])))
    if not lines[delimiter]:
        raise DataError(f"{file}: expected a head line, got none")
    names: dict[str, str] = {}  # DuckDB does not tell them apart by case
    for number, name in enumerate(lines[delimiter]):
        name = name or f"column{number}"
        while name.lower() in names:
            name += "_"
        names[name.lower()] = name
    return delimiter, list(names.values())


def _first(file: str, delimiter: str) -> list[str]:
    # What is behind the head may be in no encoding at all.
    with open(file, encoding="utf-8-sig", errors="surrogateescape", newline="") as opened:
        names = next(csv.reader(opened, delimiter=delimiter), [])
    for name in names:
        name.encode()
    return names
