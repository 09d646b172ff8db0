"""Datatypes of keys and feature columns, by their names in the Open Inference Protocol."""

import math
from collections.abc import Mapping
from types import MappingProxyType

from falaj.features.errors import DefinitionError

# How DuckDB calls them. BYTES are text here: a model that takes BYTES gets its UTF-8.
DUCKDB_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "BOOL": "BOOLEAN",
        "INT8": "TINYINT",
        "INT16": "SMALLINT",
        "INT32": "INTEGER",
        "INT64": "BIGINT",
        "UINT8": "UTINYINT",
        "UINT16": "USMALLINT",
        "UINT32": "UINTEGER",
        "UINT64": "UBIGINT",
        "FP32": "FLOAT",
        "FP64": "DOUBLE",
        "BYTES": "VARCHAR",
    }
)
FLOATS = ("FP32", "FP64")
# Floats are no keys: NaN is not equal to itself, and 0.0 equals -0.0 with other bits.
KEY_TYPES = frozenset(DUCKDB_TYPES) - {*FLOATS, "BOOL"}
Value = bool | int | float | str
_SIGNED = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
_WHOLE = frozenset((*_SIGNED, *(f"U{name}" for name in _SIGNED)))


def accepts(datatype: str, duckdb_type: str) -> bool:
    """Whether values of a type of DuckDB can be of a datatype without being made others.

    DuckDB would round 1.5 to the integer 2, and write numbers as text.
    """
    if "INT" in datatype:
        return duckdb_type in _WHOLE
    if datatype in FLOATS:
        return duckdb_type in _WHOLE | {"FLOAT", "DOUBLE"} or duckdb_type.startswith("DECIMAL")
    return duckdb_type == DUCKDB_TYPES[datatype]


def check_value(value: object, datatype: str, where: str) -> Value:
    """Return a value as one of a datatype. Raises DefinitionError where it is of another, or out of range."""
    if datatype == "BOOL" and isinstance(value, bool):
        return value
    if datatype == "BYTES" and isinstance(value, str):
        return value
    if not isinstance(value, bool):
        if datatype in FLOATS and isinstance(value, int | float):
            return _float(value, datatype, where)
        if "INT" in datatype and isinstance(value, int):
            low, high = range_of(datatype)
            if low <= value <= high:
                return value
            raise DefinitionError(f"{where}: expected {datatype}, {low} to {high}, got {value}")
    raise DefinitionError(f"{where}: expected {datatype}, got {value!r}")


def _float(value: int | float, datatype: str, where: str) -> float:
    # The largest FP32, as C's FLT_MAX.
    largest = 3.4028234663852886e38 if datatype == "FP32" else 1.7976931348623157e308
    if abs(value) > largest and not (isinstance(value, float) and math.isinf(value)):
        raise DefinitionError(f"{where}: expected {datatype}, got {value}, which it cannot hold")
    return float(value)


def range_of(datatype: str) -> tuple[int, int]:
    """Return the least and the greatest value of a datatype of whole numbers."""
    bits = int(datatype.rpartition("INT")[2])
    return (0, 2**bits - 1) if datatype.startswith("U") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
