"""Definitions say what is wrong with them, and where."""

import math
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from falaj.features import Aggregate, Column, CsvFiles, DefinitionError, Entity, ParquetFiles, SqlQuery, View

CUSTOMER = Entity("customer", {"customer_id": "INT64"})
PROFILE = View(
    name="profile",
    version=2,
    entity=CUSTOMER,
    source=ParquetFiles("profiles/*.parquet"),
    columns=(Column("age", "INT8", default=-1), Column("city", "BYTES", default="")),
    event_time="moved_at",
    known_time="loaded_at",
)


def test_entity_has_composite_keys_in_order_when_given() -> None:
    pair = Entity("pair", {"user_id": "INT64", "item": "BYTES"})
    assert list(pair.keys) == ["user_id", "item"]


@pytest.mark.parametrize(
    ("name", "keys", "complaint"),
    [
        ("Customer", {"id": "INT64"}, "entity 'Customer': expected a name of small letters"),
        ("c" * 64, {"id": "INT64"}, "expected a name of small letters, digits and underscores, at most 63"),
        ("c", {}, "entity 'c': expected 1 to 8 keys, got 0"),
        ("c", {f"k{i}": "INT64" for i in range(9)}, "expected 1 to 8 keys, got 9"),
        ("c", {"_id": "INT64"}, "entity 'c', key '_id': expected a name"),
        ("c", {"id": "FP32"}, "entity 'c', key 'id': expected one of BYTES, INT16"),
        ("c", {"id": "BIGINT"}, "got 'BIGINT'"),
    ],
)
def test_entity_is_refused_when_it_cannot_be_used(name: str, keys: dict[str, str], complaint: str) -> None:
    with pytest.raises(DefinitionError, match=complaint):
        Entity(name, keys)


@pytest.mark.parametrize("kind", [ParquetFiles, CsvFiles])
def test_source_is_refused_when_it_names_no_files(kind: type[ParquetFiles | CsvFiles]) -> None:
    with pytest.raises(DefinitionError, match="source: expected the path of files, got none"):
        kind("")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"name": "my-view"}, "view my-view@2: expected a name of small letters"),
        ({"name": "my__view"}, "view my__view@2: name: expected no two underscores in a row and none at the"),
        ({"name": "my_"}, "view my_@2: name: expected no two underscores in a row and none at the end"),
        (
            {"columns": (Column("status", "BYTES"),)},
            "view profile@2, column 'status': expected another name: profile__status tells whether there are",
        ),
        ({"event_time": "__row"}, "event_time: '__row': names that begin so are Falaj's own"),
        ({"deleted": "__deleted"}, "deleted: '__deleted': names that begin so are Falaj's own"),
        ({"version": 0}, "view profile@0: version: expected 1 to 2147483647, got 0"),
        ({"version": True}, "version: expected 1 to 2147483647, got True"),
        ({"source_delay": timedelta(seconds=-1)}, "view profile@2: source_delay: expected 0 or more"),
        ({"ttl": timedelta(microseconds=-1)}, "view profile@2: ttl: expected 0 or more"),
        ({"freshness": timedelta(seconds=-1)}, "view profile@2: freshness: expected 0 or more"),
        (
            {"source": SqlQuery("env:CRM", "SELECT 1"), "sql": "SELECT * FROM source"},
            "view profile@2: sql: its source is a query: put the transformation into that",
        ),
        ({"columns": ()}, "view profile@2: columns: expected at least one"),
        ({"columns": (Column("age", "INT8", minimum=-129),)}, "'age': minimum: expected INT8, -128 to 127"),
        (
            {"columns": (Column("age", "FP32", maximum=math.nan),)},
            "'age': maximum: expected a number of FP32",
        ),
        (
            {"columns": (Column("age", "INT8", minimum=2, maximum=1),)},
            "'age': minimum: 2 is above the maximum",
        ),
        ({"columns": (Column("city", "BYTES", maximum=1),)}, "'city': maximum: is for numbers, not BYTES"),
        ({"columns": (Column("age", "INT8", one_of=()),)}, "'age': one_of: expected at least one value"),
        ({"columns": (Column("age", "INT8", one_of=("1",)),)}, "'age': one_of: expected INT8, got '1'"),
        ({"columns": (Column("age", "INT8", finite=True),)}, "'age': finite: is for floats, not INT8"),
        ({"columns": (Column("age", "INT"),)}, "column 'age': expected one of BOOL, INT8"),
        ({"columns": (Column("age", "INT8"),) * 2}, "column 'age': is already a column"),
        ({"columns": (Column("customer_id", "INT8"),)}, "column 'customer_id': is already a key of customer"),
        ({"columns": (Column("moved_at", "INT8"),)}, "column 'moved_at': is already event_time"),
        ({"columns": (Column("a b", "INT8"),)}, "column 'a b': expected a name"),
        ({"event_time": ""}, "event_time: expected the name of a column, got none"),
        ({"event_time": "customer_id"}, "event_time: 'customer_id' is already a key of customer"),
        ({"known_time": "moved_at"}, "known_time: 'moved_at' is already event_time"),
        ({"deleted": "loaded_at"}, "deleted: 'loaded_at' is already known_time"),
    ],
)
def test_view_is_refused_when_it_cannot_be_used(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(DefinitionError, match=complaint):
        replace(PROFILE, **change)


@pytest.mark.parametrize(
    ("datatype", "default"),
    [
        ("BOOL", True),
        ("INT8", -128),
        ("UINT64", 2**64 - 1),
        ("FP32", 1),
        ("FP32", float("nan")),
        ("FP32", float("-inf")),
        ("FP64", 1e300),
        ("BYTES", "Al Ain"),
    ],
)
def test_default_is_taken_when_it_is_of_the_type(datatype: str, default: Any) -> None:
    replace(PROFILE, columns=(Column("age", datatype, default),))


@pytest.mark.parametrize(
    ("datatype", "default", "complaint"),
    [
        ("INT8", 128, "column 'age': default: expected INT8, -128 to 127, got 128"),
        ("UINT8", -1, "expected UINT8, 0 to 255, got -1"),
        ("UINT64", 2**64, "expected UINT64, 0 to 18446744073709551615"),
        ("INT8", 1.0, "expected INT8, got 1.0"),
        ("INT8", True, "expected INT8, got True"),
        ("BOOL", 1, "expected BOOL, got 1"),
        ("FP32", 1e39, "expected FP32, got 1e\\+39, which it cannot hold"),
        ("FP64", 10**400, "which it cannot hold"),
        ("FP32", "1", "expected FP32, got '1'"),
        ("BYTES", b"x", "expected BYTES, got b'x'"),
    ],
)
def test_default_is_refused_when_it_is_not_of_the_type(datatype: str, default: Any, complaint: str) -> None:
    with pytest.raises(DefinitionError, match=complaint):
        replace(PROFILE, columns=(Column("age", datatype, default),))


_AMOUNT = Column("amount", "FP32")


@pytest.mark.parametrize(
    ("function", "column", "datatype"),
    [
        ("count", None, "INT64"),
        ("count", Column("shop", "BYTES"), "INT64"),
        ("distinct", Column("shop", "BYTES"), "INT64"),
        ("last", Column("shop", "BYTES"), "BYTES"),
        ("sum", _AMOUNT, "FP64"),
        ("sum", Column("items", "INT8"), "INT64"),
        ("mean", Column("items", "INT8"), "FP64"),
        ("max", _AMOUNT, "FP32"),
    ],
)
def test_aggregate_has_the_datatype_of_its_function_when_made(
    function: str, column: Column | None, datatype: str
) -> None:
    assert Aggregate("spent", function, column, timedelta(hours=1)).datatype == datatype


@pytest.mark.parametrize("minutes", [5, 60, 24 * 60, 7 * 24 * 60, 30 * 24 * 60, 90 * 24 * 60])
def test_aggregate_has_60_to_360_tiles_when_its_window_is_usual(minutes: int) -> None:
    aggregate = Aggregate("spent", "sum", _AMOUNT, timedelta(minutes=minutes))
    assert 60 <= aggregate.window / aggregate.tile <= 360


@pytest.mark.parametrize(
    ("function", "column", "window", "complaint"),
    [
        ("median", _AMOUNT, timedelta(hours=1), "function: expected one of count, .*, got 'median'"),
        ("sum", None, timedelta(hours=1), "column: sum is of a column, got none"),
        ("sum", Column("shop", "BYTES"), timedelta(hours=1), "sum is of numbers, got BYTES"),
        ("max", Column("paid", "BOOL"), timedelta(hours=1), "max is of numbers, got BOOL"),
        ("sum", Column("n", "UINT64"), timedelta(hours=1), "expected one of .*, got 'UINT64'"),
        (
            "sum",
            Column("n", "INT8", default=0),
            timedelta(hours=1),
            "default: an aggregate's column has none",
        ),
        ("sum", Column("n", "INT8", minimum=300), timedelta(hours=1), "column 'n': minimum: "),
        ("sum", _AMOUNT, timedelta(minutes=4), "window: expected 5 minutes to 90 days, got 0:04:00"),
        ("sum", _AMOUNT, timedelta(minutes=5, seconds=1), "window: expected a multiple of 0:00:05"),
    ],
)
def test_aggregate_is_refused_when_it_cannot_be_used(
    function: str, column: Column | None, window: timedelta, complaint: str
) -> None:
    with pytest.raises(DefinitionError, match=f"aggregate 'spent'.*{complaint}"):
        Aggregate("spent", function, column, window)


_SPENT = Aggregate("spent", "sum", _AMOUNT, timedelta(hours=1))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"aggregates": (_SPENT,)}, "expected columns or aggregates, got both"),
        ({"event_id": "id"}, "event_id: is of a view with aggregates"),
        (
            {"columns": (), "ttl": None, "aggregates": (replace(_SPENT, name="status"),)},
            "column 'status': expected another name: profile__status tells whether",
        ),
        ({"columns": (), "aggregates": (_SPENT,), "ttl": timedelta(1)}, "expected neither ttl nor deleted"),
        ({"columns": (), "aggregates": (_SPENT, _SPENT), "ttl": None}, "column 'spent': is already a column"),
        (
            {
                "columns": (),
                "ttl": None,
                "aggregates": (
                    _SPENT,
                    Aggregate("n", "count", Column("amount", "INT8"), timedelta(hours=1)),
                ),
            },
            "column 'amount': is FP32 and INT8",
        ),
        (
            {
                "columns": (),
                "ttl": None,
                "aggregates": (
                    _SPENT,
                    Aggregate("n", "count", Column("amount", "FP32", minimum=0), timedelta(hours=1)),
                ),
            },
            "column 'amount': two aggregates demand otherwise of it",
        ),
        (
            {"columns": (), "aggregates": (_SPENT,), "ttl": None, "unique": True},
            "unique: is not beside aggregates; event_id tells copies of events",
        ),
        (
            {"columns": (), "aggregates": (_SPENT,), "ttl": None, "source": SqlQuery("env:CRM", "SELECT 1")},
            "event_id: expected one, since a query is read again as a whole, got none",
        ),
    ],
)
def test_windowed_view_is_refused_when_it_cannot_be_used(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(DefinitionError, match=complaint):
        replace(PROFILE, **change)
