"""Rows of another database as a Parquet file, read a chunk at a time."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from falaj.features.errors import DataError, DefinitionError
from falaj.features.offline.sql import OFFSET
from falaj.features.source import SqlQuery
from falaj.features.view import View

if TYPE_CHECKING:
    import pyarrow as pa

UNFIT = "__unfit"  # why a row does not fit; null of those that do
TOLD = "__told"  # a row that does not fit, as JSON of text
_CHUNK_ROWS = 65_536
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIME, _SEQUENCE, _ID = "time", "INT64", "id"
Row = Sequence[Any]


@dataclass(frozen=True)
class Staged:
    """Rows as they were read.

    Attributes:
        rows: How many.
        sha256: Of their columns, values and order, in hex; of nothing that a writer of Parquet decides.
    """

    rows: int
    sha256: str


def stage(view: View, path: Path, *, strict: bool = True) -> Staged:
    """Write the columns of a view's query that the view names to a Parquet file.

    Times become UTC microseconds. At most a chunk of rows is held, where the driver streams.

    Args:
        view: Its source is a SqlQuery.
        strict: A value that does not fit is an error. Otherwise it is null, UNFIT says why and TOLD the row.

    Raises:
        DataError: The database cannot be read, or a value does not fit; the message has its row and column.
        DefinitionError: The query has no column of a name that the view has, or has it twice.
    """
    import pyarrow as pa
    from pyarrow import parquet

    assert isinstance(view.source, SqlQuery)
    kinds = _kinds(view)
    fields = [(name, _arrow(kind)) for name, kind in kinds.items()]
    schema = pa.schema(fields if strict else [*fields, (UNFIT, pa.string()), (TOLD, pa.string())])
    digest, rows = hashlib.sha256(repr(schema.names).encode()), 0
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for chunk in _chunks(view, view.source, list(kinds)):
            columns, faults = _fitted(kinds, chunk)
            if strict and faults:
                place, name = next(iter(faults.items()))
                raise _unfit(view, name, kinds[name], chunk[place][list(kinds).index(name)], rows + place + 1)
            if not strict:
                columns += _told(kinds, chunk, faults)
            for column in columns:
                digest.update(repr(column).encode("utf-8", "surrogatepass"))
            arrays = [pa.array(column, of.type) for column, of in zip(columns, schema, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
            rows += len(chunk)
    return Staged(rows, digest.hexdigest())


def _kinds(view: View) -> dict[str, str]:
    kinds = {**view.entity.keys, view.event_time: _TIME}
    if view.known_time is not None:
        kinds[view.known_time] = _TIME
    if view.sequence is not None:
        kinds[view.sequence] = _SEQUENCE
    if view.deleted is not None:
        kinds[view.deleted] = "BOOL"
    for column in view.inputs:  # one of an aggregate may be one of these, too
        kinds.setdefault(column.name, column.datatype)
    if view.event_id is not None:
        kinds.setdefault(view.event_id, _ID)
    return kinds


def _arrow(kind: str) -> "pa.DataType":
    # As wide as there is: what does not fit the datatype itself is for DuckDB to find.
    import pyarrow as pa

    if kind == "BOOL":
        return pa.bool_()
    if kind in ("BYTES", _ID):
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
            in_order, chosen = places == list(range(len(result.keys()))), itemgetter(*places)
            while rows := result.fetchmany(_CHUNK_ROWS):
                yield list(rows) if in_order else [chosen(row) for row in rows]
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


def _fitted(kinds: dict[str, str], rows: list[Row]) -> tuple[list[Row], dict[int, str]]:
    """The columns of rows, null where a value does not fit; and of a row, by its place, the first such."""
    columns: list[Row] = []
    faults: dict[int, str] = {}
    for (name, kind), values in zip(kinds.items(), zip(*rows, strict=True), strict=True):
        family = _family(kind)
        if _are_as_they_are(family, values):
            columns.append(values)
            continue
        fit, column = _FIT[family], []
        for place, value in enumerate(values):
            try:
                column.append(None if value is None else fit(value))
            except (ValueError, OverflowError):
                column.append(None)
                faults.setdefault(place, name)
        columns.append(column)
    return columns, dict(sorted(faults.items()))


def _are_as_they_are(family: str, values: Row) -> bool:
    """Whether all values are of the one type that need not be looked at one by one."""
    if not set(map(type, values)) <= {_PLAIN[family], type(None)}:
        return False
    there = [value for value in values if value is not None]
    if _PLAIN[family] is str:
        return _is_text("".join(there))
    if _PLAIN[family] is not int or not there:
        return True
    least, below = (0, 2**64) if family == "UINT" else (-(2**63), 2**63)
    return bool(least <= min(there) and max(there) < below)


def _is_text(value: str) -> bool:
    # Lone surrogates are none.
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _told(kinds: dict[str, str], rows: list[Row], faults: dict[int, str]) -> list[Row]:
    reasons: list[str | None] = [None] * len(rows)
    texts: list[str | None] = [None] * len(rows)
    for place, name in faults.items():
        row = dict(zip(kinds, rows[place], strict=True))
        what = _time_fault(row[name]) if kinds[name] == _TIME else "wrong type"
        reasons[place] = f"{what}: {name}"
        told = {
            key: value if value is None or isinstance(value, str) else str(value)
            for key, value in row.items()
        }
        text = json.dumps(told, ensure_ascii=False, separators=(",", ":"))
        texts[place] = text.encode("utf-8", "backslashreplace").decode()
    return [reasons, texts]


def _unfit(view: View, name: str, kind: str, value: Any, number: int) -> DataError:
    wanted = {_TIME: "a time with its time zone", _ID: "a whole number or text"}.get(kind, kind)
    return DataError(f"{view}, row {number}, {name}: expected {wanted}, got {value!r}")


def _family(kind: str) -> str:
    return kind if kind in (_TIME, _ID, "BOOL", "BYTES") else "UINT" if kind[0] == "U" else kind[:2]


def _time(value: Any) -> int:
    if isinstance(value, str):
        if not re.search(OFFSET, value):
            raise ValueError
        value = datetime.fromisoformat(value)
    if isinstance(value, datetime) and value.tzinfo is not None:
        return (value - _EPOCH) // timedelta(microseconds=1)
    return _whole(value)


def _time_fault(value: Any) -> str:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return "unreadable time"
    return "naive time" if isinstance(value, date) else "unreadable time"


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
    if not isinstance(value, str) or not _is_text(value):
        raise ValueError
    return value


def _id(value: Any) -> str:
    return _text(value) if isinstance(value, str) else str(_whole(value))


_PLAIN: dict[str, type] = {
    _TIME: int,
    _ID: str,
    "BOOL": bool,
    "BYTES": str,
    "IN": int,
    "UINT": int,
    "FP": float,
}
_FIT: dict[str, Callable[[Any], Any]] = {
    _TIME: _time,
    _ID: _id,
    "BOOL": _truth,
    "BYTES": _text,
    "IN": _whole,
    "UINT": _unsigned,
    "FP": _number,
}
