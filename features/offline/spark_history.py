"""A view's history and a spine as frames of Spark.

DuckDB checks the definition, as it does for its own export, and looks at no more than the heads of files for
that. Parquet files are read by Spark. CSV files, rows of a query, and a spine that is a SELECT become Parquet
on the driver first: so they are read by the same rules.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from decimal import Decimal
from glob import glob
from pathlib import Path
from types import MappingProxyType
from urllib.parse import unquote, urlsplit

import duckdb
import sqlglot
from pyspark.errors import AnalysisException, PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as fn
from pyspark.sql import types as t
from sqlglot.errors import ErrorLevel, SqlglotError

from falaj.features.aggregate import Aggregate
from falaj.features.datatypes import DUCKDB_TYPES, accepts, range_of
from falaj.features.errors import DataError, DefinitionError
from falaj.features.offline.history import (
    DELETED,
    EVENT,
    EVENT_ID,
    KNOWN,
    NEWEST,
    REASON,
    ROW,
    SEQUENCE,
    create_history,
    judged_sql,
    source_sql,
)
from falaj.features.offline.point_in_time import SPINE_ROW, SPINE_TIME, Joined
from falaj.features.offline.spark_demands import SPARK_TYPES, reason_of
from falaj.features.offline.spine import Spine, create_spine, spine_types
from falaj.features.offline.sql import OFFSET, blaming, literal, quoted
from falaj.features.offline.staging import Staged
from falaj.features.source import CsvFiles, ParquetFiles, PushedRows, SqlQuery
from falaj.features.view import Column as ViewColumn
from falaj.features.view import View

_DUCKDB_NAMES: Mapping[type[t.DataType], str] = MappingProxyType(
    {
        t.BooleanType: "BOOLEAN",
        t.ByteType: "TINYINT",
        t.ShortType: "SMALLINT",
        t.IntegerType: "INTEGER",
        t.LongType: "BIGINT",
        t.FloatType: "FLOAT",
        t.DoubleType: "DOUBLE",
        t.StringType: "VARCHAR",
    }
)

# What the export on Spark heeds; what else is set in a definition is refused, not passed over.
_SOURCES = (ParquetFiles, CsvFiles, SqlQuery, PushedRows)
_HEEDED = {
    View: (
        *("name", "version", "owner", "tags", "entity", "source", "columns", "aggregates", "sql", "unique"),
        *("event_time", "known_time", "event_id", "source_delay", "ttl", "sequence", "deleted", "freshness"),
    ),
    ViewColumn: ("name", "datatype", "default", "required", "minimum", "maximum", "one_of", "finite"),
    Aggregate: ("name", "function", "column", "window"),
}
_LOCAL = r"^file:/+"
_OURS = re.compile(r"^falaj\.features\.errors\.\w+: (.+)$", re.MULTILINE)


@contextmanager
def blaming_spark(what: str) -> Iterator[None]:
    """Raise Spark's errors as DataError that name what they are about."""
    try:
        yield
    except PySparkException as error:
        raise DataError(f"{what}: {_said(error)}") from error


def check_view(view: View) -> None:
    """Raise DefinitionError where a view has what the export on Spark does not heed."""
    if type(view.source) not in _SOURCES:
        expected = " or ".join(source.__name__ for source in _SOURCES)
        raise DefinitionError(
            f"{view}: source: Spark reads {expected}, got {type(view.source).__name__}; DuckDB may read it"
        )
    _check_fields(view, View, str(view))
    for column in view.inputs:
        _check_fields(column, ViewColumn, f"{view}, column {column.name!r}")
    for each in view.aggregates:
        _check_fields(each, Aggregate, f"{view}, aggregate {each.name!r}")


def _check_fields(definition: View | ViewColumn | Aggregate, of: type, where: str) -> None:
    for field in fields(definition):
        value = getattr(definition, field.name)
        said = value is not None and value is not False and value != "" and value != ()
        if field.name not in _HEEDED[of] and said and value != field.default:
            raise DefinitionError(f"{where}: {field.name}: is not for Spark; DuckDB may export it")


def key_of(key: str) -> str:
    """Return the name of the column by which a key is compared."""
    return f"__key_{key}"


def late_of(joined: Joined) -> str:
    """Return the name of the column that tells whether something newer was true and not usable yet."""
    return f"__late_{joined.view.name}"


def column_of(name: str) -> Column:
    """Return a column by its name, whatever characters that has."""
    return fn.col("`" + name.replace("`", "``") + "`")


def path_of(path: Path | str) -> str:
    """Return a local file's path for Spark, in which no character is a wildcard."""
    return "file://" + re.sub(r"([\\*?\[\]{}])", r"\\\1", str(Path(path).absolute()))


@dataclass(frozen=True)
class History:
    """A view's rows.

    Attributes:
        rows: Its keys as `key_of` names them, then as `create_history` has it, and REASON: why a row is left
            out by what the definition demands, null where it is not.
        staged: What was read of a query.
    """

    rows: DataFrame
    staged: Staged | None = None

    @property
    def good(self) -> DataFrame:
        """Those that are not left out."""
        return self.rows.where(fn.col(REASON).isNull()).drop(REASON)


def read_history(
    session: SparkSession, connection: duckdb.DuckDBPyConnection, view: View, scratch: Path
) -> History:
    """Return a view's history.

    Args:
        scratch: A folder, for what DuckDB reads, and the rows of a query.

    Raises:
        DataError, DefinitionError: As `create_history`, or its SQL cannot be translated.
    """
    name = f"history-{view.name}"
    staged = create_history(connection, view, name, scratch)
    if isinstance(view.source, CsvFiles):
        made = scratch / f"{name}.parquet"
        rows = judged_sql(view, name) if view.sql is None else source_sql(view)
        with blaming(f"{view}, source"):
            connection.execute(f"COPY ({rows}) TO {literal(str(made))} (FORMAT parquet)")
        source = _read(session, [made], None)
        if view.sql is None:
            plain = [column_of(key).alias(key_of(key)) for key in view.entity.keys]
            event_id = [] if view.event_id is None else [EVENT_ID]
            columns = (EVENT, KNOWN, SEQUENCE, DELETED, *event_id, *(of.name for of in view.inputs), REASON)
            return History(source.select(*plain, *map(column_of, columns)))
    elif isinstance(view.source, SqlQuery):
        source = _read(session, [scratch / f"{name}.parquet"], ROW)
    else:
        _check_same_columns(connection, view, view.source)
        source = _read(session, [Path(path) for path in glob(view.source.glob, recursive=True)], ROW)
    if view.sql is not None:
        source = _transformed(session, source, view)
    return History(source.select(*_columns(view, source)).withColumn(REASON, reason_of(view)), staged)


def read_spine(
    session: SparkSession,
    connection: duckdb.DuckDBPyConnection,
    spine: Spine,
    keys: Mapping[str, str],
    scratch: Path,
) -> tuple[DataFrame, dict[str, str]]:
    """Return a spine with SPINE_TIME, SPINE_ROW and its keys as `key_of` names them.

    Returns:
        That, and its own columns with DuckDB's types of them.

    Raises:
        DataError: As `create_spine`.
    """
    create_spine(connection, spine, keys, "__spine")
    columns = spine_types(connection, "__spine")
    if spine.file is not None and spine.file.endswith(".parquet"):
        frame = _read(session, [Path(spine.file)], SPINE_ROW)
        for column in columns:  # DuckDB adds what the names of folders tell
            if column not in frame.columns:
                raise DataError(f"spine: no column {column!r} in the file itself")
        times = _micros(frame, spine.time, f"spine, {spine.time}").alias(SPINE_TIME)
        typed = [typed_column(frame, key, of, f"spine, {key}").alias(key_of(key)) for key, of in keys.items()]
        return frame.select(*map(column_of, columns), SPINE_ROW, times, *typed), columns
    made = scratch / "spine.parquet"
    own = "".join(f", {quoted(key)}::{DUCKDB_TYPES[of]} AS {quoted(key_of(key))}" for key, of in keys.items())
    with blaming("spine"):
        connection.execute(f"COPY (SELECT *{own} FROM __spine) TO {literal(str(made))} (FORMAT parquet)")
    return _read(session, [made], None), columns


def _read(session: SparkSession, files: list[Path], row: str | None) -> DataFrame:
    """Return the rows of Parquet files, numbered in the column `row` by path and order."""
    with blaming_spark(", ".join(str(file) for file in files[:3])):
        frame = session.read.parquet(*(path_of(file) for file in files))
        if row is None:
            return frame
        paths = sorted(frame.inputFiles(), key=lambda uri: unquote(urlsplit(uri).path))
        # One of them is told as file:///path, the other as file:/path.
        known = fn.array(*(fn.lit(re.sub(_LOCAL, "file:/", path)) for path in paths))
        path = fn.regexp_replace("_metadata.file_path", _LOCAL, "file:/")
        at = fn.array_position(known, path)
        at = fn.when(at == 0, _error("not among the files: ", path)).otherwise(at - 1)
        number = at * fn.lit(1 << 40) + fn.col("_metadata.row_index")
        return frame.select("*", number.alias(row))


def _check_same_columns(
    connection: duckdb.DuckDBPyConnection, view: View, source: ParquetFiles | PushedRows
) -> None:
    """Spark would take a column that a file does not have for one of nulls."""
    schema = f"parquet_schema({literal(source.glob)})"
    with blaming(f"{view}, source"):
        found = connection.execute(
            f"SELECT file_name, list(name) FROM {schema} GROUP BY file_name ORDER BY file_name"
        ).fetchall()
    first, expected = found[0]
    for path, names in found[1:]:
        lacking = [name for name in expected if name not in names]
        if lacking:
            raise DataError(f"{view}, source: {path}: no column {lacking[0]!r}, which {first} has")


def _transformed(session: SparkSession, source: DataFrame, view: View) -> DataFrame:
    assert view.sql is not None
    source.createOrReplaceTempView("source")
    try:
        (sql,) = sqlglot.transpile(view.sql, read="duckdb", write="spark", unsupported_level=ErrorLevel.RAISE)
        return session.sql(sql)
    except (SqlglotError, AnalysisException, PySparkException, ValueError) as error:
        said = _said(error) if isinstance(error, PySparkException) else str(error)
        raise DefinitionError(f"{view}: sql: cannot be translated for Spark: {said}") from error


def _columns(view: View, source: DataFrame) -> list[Column]:
    event = _micros(source, view.event_time, f"{view}, {view.event_time}")
    known = event
    if view.known_time is not None:
        known = _micros(source, view.known_time, f"{view}, {view.known_time}")
    sequence = fn.coalesce(column_of(view.ordered_by or ROW).cast("bigint"), fn.lit(NEWEST))
    if view.ordered_by is None and ROW not in source.columns:
        sequence = fn.lit(0).cast("bigint")
    deleted = fn.lit(False)
    if view.deleted is not None:
        deleted = fn.coalesce(column_of(view.deleted).cast("boolean"), deleted)
    keys = view.entity.keys.items()
    event_id = [] if view.event_id is None else [_id(source, view.event_id, f"{view}, {view.event_id}")]
    return [
        *(typed_column(source, key, of, f"{view}, {key}").alias(key_of(key)) for key, of in keys),
        event.alias(EVENT),
        known.alias(KNOWN),
        sequence.alias(SEQUENCE),
        deleted.alias(DELETED),
        *event_id,
        *(
            typed_column(source, column.name, column.datatype, f"{view}, {column.name}").alias(column.name)
            for column in view.inputs
        ),
    ]


def _id(frame: DataFrame, name: str, where: str) -> Column:
    """Return a column of event ids, texts or whole numbers."""
    if isinstance(_type(frame, name, where), t.StringType):
        return column_of(name).alias(EVENT_ID)
    return typed_column(frame, name, "INT64", where).alias(EVENT_ID)


def typed_column(frame: DataFrame, name: str, datatype: str, where: str) -> Column:
    """Return a column as one of a datatype; a value that it cannot hold is an error."""
    found, column = _type(frame, name, where), column_of(name)
    named = (
        "HUGEINT" if isinstance(found, t.DecimalType) and not found.scale else found.simpleString().upper()
    )
    if not accepts(datatype, _DUCKDB_NAMES.get(type(found), named)):
        raise DefinitionError(f"{where}: is {datatype}, Spark has {found.simpleString()}")
    cast = column.cast(SPARK_TYPES[datatype])
    if "INT" in datatype:
        low, high = range_of(datatype)
        wrong = ~column.between(fn.lit(Decimal(low)), fn.lit(Decimal(high)))
    elif datatype == "FP32" and isinstance(found, t.DoubleType):
        infinite = fn.lit(float("inf"))
        wrong = (fn.abs(column.cast("float")) == infinite) & (fn.abs(column) != infinite)
    else:
        return cast
    return fn.when(wrong, _error(f"{where}: expected {datatype}, got ", column)).otherwise(cast)


def _micros(frame: DataFrame, name: str, where: str) -> Column:
    """Return a column of times as UTC microseconds since 1970, as `micros_sql` does."""
    found, column = _type(frame, name, where), column_of(name)
    checked = fn.when(column.isNull(), _error(f"{where}: a row has none"))
    if isinstance(found, t.TimestampType):
        return checked.otherwise(fn.unix_micros(column))
    if isinstance(found, t.LongType):
        return checked.otherwise(column)
    if isinstance(found, t.StringType):
        wrong = f"{where}: expected a time with its offset, such as 2026-01-31T08:00:00Z, got "
        read = fn.unix_micros(column.cast("timestamp"))
        return checked.when(column.rlike(OFFSET), read).otherwise(_error(wrong, column))
    raise DataError(f"{where}: expected a timestamp with time zone, Spark has {found.simpleString()}")


def _type(frame: DataFrame, name: str, where: str) -> t.DataType:
    if name not in frame.columns:
        raise DefinitionError(f"{where}: no column {name!r} on Spark, which has {', '.join(frame.columns)}")
    return frame.schema[name].dataType


def _error(text: str, value: Column | None = None) -> Column:
    said = fn.lit(text) if value is None else fn.concat(fn.lit(text), value.cast("string"))
    return fn.raise_error(said)


def _said(error: PySparkException) -> str:
    ours = _OURS.search(str(error))  # an error of Python, behind all that Spark tells of its way
    if ours is not None:
        return ours[1]
    return str(error).partition("\n\nJVM stacktrace:")[0].strip()
