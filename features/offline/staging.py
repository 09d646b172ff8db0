"""Rows of another database as a Parquet file, read a chunk at a time."""

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from falaj.features.errors import DataError, DefinitionError
from falaj.features.source import SqlQuery
from falaj.features.view import View

if TYPE_CHECKING:
    import pyarrow as pa

UNFIT = "__unfit"  # of rows staged as text: the first column whose value is of another type, or null
_CHUNK_ROWS = 65_536
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIME, _SEQUENCE = "time", "INT64"
Row = tuple[Any, ...]


@dataclass(frozen=True)
class Staged:
    """Rows as they were read.

    Attributes:
        rows: How many.
        sha256: Of their columns, values and order, in hex; of nothing that a writer of Parquet decides.
    """

    rows: int
    sha256: str


def stage(view: View, path: Path, *, as_text: bool = False) -> Staged:
    """Write the columns of a view's query that the view names to a Parquet file.

    Times become UTC microseconds. At most a chunk of rows is held, where the driver streams.

    Args:
        view: Its source is a SqlQuery.
        as_text: Write text, and what does not fit too, told in UNFIT; for checks.

    Raises:
        DataError: The database cannot be read, or a value does not fit; the message has its row and column.
        DefinitionError: The query has no column of a name that the view has, or has it twice.
    """
    import pyarrow as pa
    from pyarrow import parquet

    assert isinstance(view.source, SqlQuery)
    kinds = _kinds(view)
    names = [*kinds, UNFIT] if as_text else list(kinds)
    types = [pa.string() if as_text else _arrow(kind) for kind in kinds.values()]
    schema = pa.schema(list(zip(names, [*types, pa.string()] if as_text else types, strict=True)))
    convert = _told if as_text else _fitting
    digest, rows = hashlib.sha256(repr(names).encode()), 0
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for chunk in _chunks(view, view.source, list(kinds)):
            made = [convert(view, row, kinds, rows + i) for i, row in enumerate(chunk, 1)]
            rows += len(made)
            for row in made:
                digest.update(repr(row).encode("utf-8", "surrogatepass"))
            writer.write_table(_table(made, schema))
    return Staged(rows, digest.hexdigest())


def _table(rows: list[Row], schema: "pa.Schema") -> "pa.Table":
    import pyarrow as pa

    columns = zip(*rows, strict=True)
    arrays = [pa.array(values, type=field.type) for values, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def _kinds(view: View) -> dict[str, str]:
    kinds = {**view.entity.keys, view.event_time: _TIME}
    if view.known_time is not None:
        kinds[view.known_time] = _TIME
    if view.sequence is not None:
        kinds[view.sequence] = _SEQUENCE
    if view.deleted is not None:
        kinds[view.deleted] = "BOOL"
    return {**kinds, **{column.name: column.datatype for column in view.columns}}


def _arrow(kind: str) -> "pa.DataType":
    # As wide as there is: what does not fit the datatype itself is for DuckDB to find.
    import pyarrow as pa

    if kind == "BOOL":
        return pa.bool_()
    if kind == "BYTES":
        return pa.string()
    if kind.startswith("FP"):
        return pa.float64()
    return pa.uint64() if kind.startswith("U") else pa.int64()


def _chunks(view: View, source: SqlQuery, names: list[str]) -> Iterator[list[Row]]:
    from sqlalchemy import create_engine, text
    from sqlalchemy.exc import SQLAlchemyError
    from sqlalchemy.pool import NullPool

    url = _url(view, source)
    try:
        engine = create_engine(url, poolclass=NullPool)
    except (SQLAlchemyError, ImportError, ValueError) as error:
        # SQLAlchemy's own message may have the URL, and so its password.
        what = f"no module {error.name!r}" if isinstance(error, ImportError) else "not a URL of SQLAlchemy"
        raise DataError(f"{view}, source: url: {what}") from None
    # A colon is no parameter here.
    query = text(source.query.replace(":", "\\:"))
    try:
        with engine.connect().execution_options(stream_results=True) as connection:
            result = connection.execute(query)
            if not result.returns_rows:
                raise DefinitionError(f"{view}: source: query: expected a SELECT, it returns no rows")
            places = _places(view, list(result.keys()), names)
            while rows := result.fetchmany(_CHUNK_ROWS):
                yield [tuple(row[place] for place in places) for row in rows]
    except SQLAlchemyError as error:
        raise DataError(f"{view}, source: {getattr(error, 'orig', None) or error}") from error


def _url(view: View, source: SqlQuery) -> str:
    if not source.url.startswith("env:"):
        return source.url
    name = source.url.removeprefix("env:")
    url = os.environ.get(name)
    if not url:
        raise DataError(f"{view}, source: url: the environment variable {name} is not set")
    return url


def _places(view: View, there: list[str], names: list[str]) -> list[int]:
    for name in names:
        if there.count(name) != 1:
            has = f"the query has {', '.join(there)}"
            raise DefinitionError(f"{view}: source: expected one column {name!r}, {has}")
    return [there.index(name) for name in names]


def _fitting(view: View, row: Row, kinds: dict[str, str], number: int) -> Row:
    made = []
    for (name, kind), value in zip(kinds.items(), row, strict=True):
        try:
            made.append(None if value is None else _FIT[_family(kind)](value))
        except (ValueError, OverflowError) as error:
            wanted = f"expected {'a time with its time zone' if kind == _TIME else kind}"
            raise DataError(f"{view}, row {number}, {name}: {wanted}, got {value!r}") from error
    return tuple(made)


def _told(view: View, row: Row, kinds: dict[str, str], number: int) -> Row:
    made: list[str | None] = []
    unfit = None
    for (name, kind), value in zip(kinds.items(), row, strict=True):
        try:
            fit = None if value is None else _FIT[_family(kind)](value)
            made.append(None if fit is None else str(fit).lower() if isinstance(fit, bool) else str(fit))
        except (ValueError, OverflowError):
            made.append(value if isinstance(value, str) else str(value))
            # Of a time, its text tells what is wrong.
            unfit = unfit if kind == _TIME else unfit or name
    return (*made, unfit)


def _family(kind: str) -> str:
    return kind if kind in (_TIME, "BOOL", "BYTES") else "UINT" if kind[0] == "U" else kind[:2]


def _time(value: Any) -> int:
    if isinstance(value, str):
        if not re.search(r":\d{2}(\.\d+)? ?(Z|[+-]\d{2}(:?\d{2})?)$", value):
            raise ValueError
        value = datetime.fromisoformat(value)
    if isinstance(value, datetime) and value.tzinfo is not None:
        return (value - _EPOCH) // timedelta(microseconds=1)
    return _whole(value)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not -(2**63) <= value < 2**63:
        raise ValueError
    return value


def _unsigned(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**64:
        raise ValueError
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise ValueError
    return float(value)


def _truth(value: Any) -> bool:
    # SQLite has no booleans.
    if not isinstance(value, int) or value not in (0, 1):
        raise ValueError
    return bool(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError
    value.encode()  # lone surrogates are no text
    return value


_FIT: dict[str, Callable[[Any], Any]] = {
    _TIME: _time,
    "BOOL": _truth,
    "BYTES": _text,
    "IN": _whole,
    "UINT": _unsigned,
    "FP": _number,
}
