"""What a definition demands of values beyond their datatypes, as SQL for DuckDB."""

from collections.abc import Iterator

from falaj.features.column import Column
from falaj.features.datatypes import DUCKDB_TYPES, FLOATS, Value
from falaj.features.offline.sql import literal


def demands(column: Column, value: str) -> Iterator[tuple[str, str]]:
    """Yield SQL that is true, and never null, where a value is bad; and the reason.

    Args:
        value: SQL for it, of the column's datatype.
    """
    if column.required:
        yield f"({value}) IS NULL", f"null: {column.name}"
    if column.finite:
        yield f"coalesce(NOT isfinite({value}), false)", f"not finite: {column.name}"
    bounded = column.minimum is not None or column.maximum is not None
    if bounded and column.datatype in FLOATS:
        # DuckDB has NaN above all numbers.
        yield f"coalesce(isnan({value}), false)", f"not a number: {column.name}"
    if column.minimum is not None:
        yield f"coalesce({value} < {_told(column.minimum, column)}, false)", f"below minimum: {column.name}"
    if column.maximum is not None:
        yield f"coalesce({value} > {_told(column.maximum, column)}, false)", f"above maximum: {column.name}"
    if column.one_of is not None:
        allowed = ", ".join(_told(each, column) for each in column.one_of)
        yield f"coalesce({value} NOT IN ({allowed}), false)", f"not one of: {column.name}"


def _told(value: Value, column: Column) -> str:
    """A value of a definition as the column's own type: 0.1 is another number as FP32."""
    text = value if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else repr(value)
    return f"CAST({literal(text)} AS {DUCKDB_TYPES[column.datatype]})"
