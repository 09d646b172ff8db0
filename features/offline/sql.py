"""Pieces of SQL for DuckDB: names, texts, times, files."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import duckdb

from falaj.features.datatypes import DUCKDB_TYPES, FLOATS
from falaj.features.errors import DataError

# Behind a time of day: what ends a mere date looks like an offset too.
OFFSET = r":\d{2}(\.\d+)? ?(Z|[+-]\d{2}(:?\d{2})?)$"


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
    except RuntimeError as error:
        if "Query interrupted" in str(error):  # how DuckDB tells of Ctrl-C
            raise KeyboardInterrupt from error
        raise


def micros_sql(column: str, datatype: str, where: str) -> str:
    """Return SQL for a column of times as UTC microseconds since 1970, by the column's type in DuckDB.

    Integers are taken to be that already, and text must name its offset.

    Raises:
        DataError: A naive timestamp: whose time zone would be a guess.
    """
    missing = f"WHEN {column} IS NULL THEN error({literal(f'{where}: a row has none')})::BIGINT"
    if datatype == "TIMESTAMP WITH TIME ZONE":
        never = literal(f"{where}: expected a time, got ")
        infinite = f"WHEN isinf({column}) THEN error({never} || {column}::VARCHAR)::BIGINT"
        return f"CASE {missing} {infinite} ELSE epoch_us({column}) END"
    if datatype == "BIGINT":
        return f"CASE {missing} ELSE {column} END"
    if datatype == "VARCHAR":
        wrong = literal(f"{where}: expected a time with its offset, such as 2026-01-31T08:00:00Z, got ")
        return (
            f"CASE {missing} WHEN regexp_matches({column}, {literal(OFFSET)}) "
            f"THEN epoch_us({column}::TIMESTAMPTZ) ELSE error({wrong} || {column})::BIGINT END"
        )
    raise DataError(
        f"{where}: expected a timestamp with time zone, or integers of UTC microseconds, got {datatype}; "
        "what a naive timestamp means is not known"
    )


def maybe_micros_sql(column: str, datatype: str) -> str:
    """Return SQL as `micros_sql` does, that is null for what is no such time."""
    if datatype == "BIGINT":
        return column
    if datatype == "TIMESTAMP WITH TIME ZONE":
        return f"epoch_us({column})"
    if datatype != "VARCHAR":
        return "NULL::BIGINT"
    read = f"epoch_us(TRY_CAST({column} AS TIMESTAMPTZ))"
    return f"CASE WHEN regexp_matches({column}, {literal(OFFSET)}) THEN {read} END"


def parquet_sql(glob: str, row: str) -> str:
    """Return SQL for all rows of Parquet files, numbered in the column `row` by path and order."""
    number = f"((file_index << 40) + file_row_number)::BIGINT AS {row}"
    return f"SELECT *, {number} FROM read_parquet({literal(glob)})"


def csv_sql(glob: str, row: str, columns: Mapping[str, str]) -> str:
    """Return SQL for all rows of CSV files with head lines, numbered in the column `row`.

    An empty field is null, a quoted one is a text of nothing.

    Args:
        columns: Those whose types are not to be guessed from their values, and DuckDB's types for them. Times
            and numbers are best left as VARCHAR, and read by `micros_sql`, `whole_sql` and `float_sql`:
            DuckDB takes a time without an offset for UTC, rounds 1.5 to an integer, and makes 1e300 infinite.
    """
    known = ", ".join(f"{literal(name)}: {literal(of)}" for name, of in columns.items())
    options = f"header = true, types = {{{known}}}, nullstr = '', allow_quoted_nulls = false"
    return f"SELECT *, row_number() OVER () AS {row} FROM read_csv({literal(glob)}, {options})"


def csv_type(datatype: str) -> str:
    """Return the type as which a column of a datatype is best read from CSV, see `csv_sql`."""
    return "VARCHAR" if "INT" in datatype or datatype in FLOATS else DUCKDB_TYPES[datatype]


def whole_sql(column: str, datatype: str, where: str) -> str:
    """Return SQL for a column of text as whole numbers; other text is an error."""
    of = DUCKDB_TYPES[datatype]
    wrong = literal(f"{where}: expected {datatype}, got ")
    return (
        f"CASE WHEN {column} IS NULL OR regexp_full_match({column}, '[+-]?[0-9]+') "
        f"THEN {column}::{of} ELSE error({wrong} || {column})::{of} END"
    )


def float_sql(column: str, datatype: str, where: str) -> str:
    """Return SQL for a column of text as floats; other text, and numbers that are too large, are errors."""
    of = DUCKDB_TYPES[datatype]
    wrong = literal(f"{where}: expected {datatype}, got ")
    too_large = f"isinf(TRY_CAST({column} AS {of})) AND regexp_matches({column}, '[0-9]')"
    return (
        f"CASE WHEN {column} IS NOT NULL AND (TRY_CAST({column} AS {of}) IS NULL OR {too_large}) "
        f"THEN error({wrong} || {column})::{of} ELSE TRY_CAST({column} AS {of}) END"
    )
