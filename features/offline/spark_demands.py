"""What a definition demands of values beyond their datatypes, on Spark: the rules of demands.py."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from pyspark.sql import Column
from pyspark.sql import functions as fn
from pyspark.sql import types as t

from falaj.features.column import Column as ViewColumn
from falaj.features.datatypes import FLOATS, Value
from falaj.features.offline.history import DELETED, EVENT_ID
from falaj.features.view import View

# Spark has no unsigned types: the next wider one has room for their values.
SPARK_TYPES: Mapping[str, t.DataType] = MappingProxyType(
    {
        "BOOL": t.BooleanType(),
        "INT8": t.ByteType(),
        "INT16": t.ShortType(),
        "INT32": t.IntegerType(),
        "INT64": t.LongType(),
        "UINT8": t.ShortType(),
        "UINT16": t.IntegerType(),
        "UINT32": t.LongType(),
        "UINT64": t.DecimalType(20, 0),
        "FP32": t.FloatType(),
        "FP64": t.DoubleType(),
        "BYTES": t.StringType(),
    }
)


def reason_of(view: View) -> Column:
    """Return why a row of a history is left out, the first reason that holds; null where none does."""
    rules = [rule for column in view.inputs for rule in _demands(column)]
    if view.event_id is not None:  # an event without one would count each time that it is written
        rules.insert(0, (fn.col(EVENT_ID).isNull(), f"null: {view.event_id}"))
    told = fn.lit(None).cast("string")
    for rule, reason in reversed(rules):
        # A tombstone has no values to demand anything of.
        told = fn.when(~fn.col(DELETED) & fn.coalesce(rule, fn.lit(False)), reason).otherwise(told)
    return told


def _demands(column: ViewColumn) -> Iterator[tuple[Column, str]]:
    value = fn.col(column.name)
    if column.required:
        yield value.isNull(), f"null: {column.name}"
    if column.finite:
        yield fn.isnan(value) | (fn.abs(value) == fn.lit(float("inf"))), f"not finite: {column.name}"
    if (column.minimum is not None or column.maximum is not None) and column.datatype in FLOATS:
        yield fn.isnan(value), f"not a number: {column.name}"
    if column.minimum is not None:
        yield value < _told(column.minimum, column), f"below minimum: {column.name}"
    if column.maximum is not None:
        yield value > _told(column.maximum, column), f"above maximum: {column.name}"
    if column.one_of is not None:
        # Not `isin`, which tells -0.0 from 0.0 among many.
        other = fn.lit(True)
        for each in column.one_of:
            other = other & (value != _told(each, column))
        yield other, f"not one of: {column.name}"


def _told(value: Value, column: ViewColumn) -> Column:
    """A value of a definition as the column's own type: 0.1 is another number as FP32."""
    text = value if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else repr(value)
    return fn.lit(text).cast(SPARK_TYPES[column.datatype])
