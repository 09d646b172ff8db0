"""Windows, demands, queries and transforms on Spark are what the rules say, and what DuckDB exports."""

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from falaj.features import (
    Aggregate,
    Column,
    CsvFiles,
    DataError,
    Entity,
    ParquetFiles,
    SqlQuery,
    View,
)
from falaj.features.datatypes import DUCKDB_TYPES
from falaj.features.identity import meaning
from falaj.features.offline import spark as by_spark
from falaj.features.offline import spark_windows
from falaj.features.offline.history import EVENT, EVENT_ID, KNOWN, SEQUENCE
from falaj.features.offline.point_in_time import SPINE_ROW, SPINE_TIME
from falaj.features.offline.spark_history import key_of
from falaj.features.offline.spine import Spine
from falaj.features.offline.transformed import Transforms
from falaj.features.transform import transform
from tests.features.offline.spark_engine import assert_same_export, rows_of, spark_session
from tests.features.windows_cases import ASKED, COLUMNS, ROW, VIEW, wrong
from tests.features.windows_oracle import Row

Drawn = list[tuple[list[Row], list[tuple[int, int]]]]


@pytest.fixture(scope="module")
def session() -> Iterator[SparkSession]:
    with spark_session() as session:
        yield session


def _write(path: Path, columns: str, rows: list[tuple[Any, ...]]) -> None:
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE t ({columns})")
        connection.executemany(f"INSERT INTO t VALUES ({', '.join('?' for _ in rows[0])})", rows)
        connection.execute(f"COPY t TO '{path}' (FORMAT parquet)")


@settings(
    max_examples=2, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(st.lists(st.tuples(st.lists(ROW, max_size=20), ASKED), min_size=25, max_size=25))
def test_windows_are_what_the_rules_say_and_duckdb_has(
    session: SparkSession, tmp_path_factory: pytest.TempPathFactory, drawn: Drawn
) -> None:
    folder = tmp_path_factory.mktemp("drawn")
    events = [(-1, 0, 0, 0, None, 1.0, 1, "a")]  # of nobody who is asked about
    for i, (rows, _) in enumerate(drawn):  # each with keys of its own
        events += [
            (10 * i + row.entity, row.event, row.known, row.sequence, row.id, *row.values) for row in rows
        ]
    asked = [(10 * i + entity, at) for i, (_, times) in enumerate(drawn) for entity, at in times]
    _write(
        folder / "orders.parquet",
        "customer_id BIGINT, ordered_at BIGINT, loaded_at BIGINT, number BIGINT, order_id BIGINT, "
        "amount DOUBLE, items INTEGER, shop VARCHAR",
        events,
    )
    _write(folder / "spine.parquet", "customer_id BIGINT, spine_ts BIGINT", [*asked, (None, 0)])
    view = replace(VIEW, source=ParquetFiles(str(folder / "orders.parquet")), sequence="number")
    assert_same_export(session, Spine(str(folder / "spine.parquet")), [view], folder)
    with duckdb.connect() as connection:
        found = connection.execute(f"SELECT * FROM '{folder}/two.parquet/part-*.parquet'")
        names = [column[0].removeprefix("spending__") for column in found.description]
        *got, nobody = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    assert (nobody["status"], nobody["rows"]) == ("missing", None)
    for (key, at), row in zip(asked, got, strict=True):
        assert row["status"] == "present"
        events_of = [each for each in drawn[key // 10][0] if each.id is not None]  # the others are bad
        assert not wrong(events_of, key % 10, at, row)


_DATATYPES = ("BOOL", "INT8", "UINT8", "INT16", "UINT16", "INT32", "UINT32", "INT64", "FP32", "FP64", "BYTES")


def _functions(datatype: str) -> tuple[str, ...]:
    if datatype == "BYTES":
        return ("count", "last", "distinct")
    return ("last", "distinct", *(("sum",) if datatype == "BOOL" else ("sum", "mean", "std", "min", "max")))


def _some(datatype: str, at: int) -> str:
    """SQL for values of a datatype, with nulls."""
    number = f"(hash(i, {at}) % 100)::INTEGER - {0 if datatype[0] == 'U' else 50}"
    value = f"'c' || {number}" if datatype == "BYTES" else number
    return f"if(hash(i, {at + 20}) % 5 = 0, NULL, {value})::{DUCKDB_TYPES[datatype]}"


def _every(folder: Path) -> View:
    """Events with columns of all datatypes, of entities with three keys, in two files."""
    aggregates = tuple(
        Aggregate(f"{of.lower()}_{function}", function, Column(f"c_{of.lower()}", of), timedelta(hours=1))
        for of in _DATATYPES
        for function in _functions(of)
    )
    columns = ", ".join(f"{_some(of, at)} AS c_{of.lower()}" for at, of in enumerate(_DATATYPES))
    for part in (1, 2):
        rows_of(
            f"COPY (SELECT nullif('é' || hash(i, 1) % 6, 'é5') AS shop, hash(i, 2) % 2 AS till, "
            f"(18446744073709551615 - hash(i, 3) % 2)::UBIGINT AS chain, "
            f"1767225600000000 + (hash(i, {part}) % 7200 * 1000000)::BIGINT AS at, "
            f"make_timestamptz(1767225600000000 + (hash(i, 6) % 9000 * 1000000)::BIGINT) AS known, "
            f"if(i % 9 = 0, NULL, 'id' || hash(i, {part}) % 7200) AS id, {columns} "
            f"FROM range(600) AS t(i)) TO '{folder}/every-{part}.parquet'"
        )
    return View(
        name="every",
        version=1,
        entity=Entity("till", {"shop": "BYTES", "till": "INT16", "chain": "UINT64"}),
        source=ParquetFiles(f"{folder}/every-*.parquet"),
        aggregates=aggregates,
        event_time="at",
        known_time="known",
        event_id="id",
        source_delay=timedelta(seconds=90),
    )


@pytest.mark.parametrize("until", [None, datetime(2026, 1, 1, 1, tzinfo=UTC)], ids=["all", "as_of"])
def test_windows_of_every_datatype_are_those_of_duckdb(
    session: SparkSession, tmp_path: Path, until: datetime | None
) -> None:
    every = _every(tmp_path)
    lines = ["till,at,order_id,price"]
    lines += [f"{i % 3},2026-01-01T0{i % 3}:{i % 60:02}:00Z,{i % 70},{i / 4}" for i in range(200)]
    (tmp_path / "prices.csv").write_text("\n".join(lines) + "\n")
    price = Column("price", "FP64", minimum=10.0)
    prices = replace(
        every,
        name="prices",
        entity=Entity("number", {"till": "INT16"}),
        source=CsvFiles(str(tmp_path / "prices.csv")),
        aggregates=(Aggregate("dearest", "max", price, timedelta(hours=1)),),
        known_time=None,
        event_id="order_id",
    )
    plain = replace(prices, name="plain", columns=(Column("price", "FP64"),), aggregates=(), event_id=None)
    asked = (
        "SELECT nullif('é' || hash(i, 1) % 7, 'é6') AS shop, (hash(i, 2) % 3)::SMALLINT AS till, i AS n, "
        "(18446744073709551615 - hash(i, 3) % 2)::UBIGINT AS chain, "
        "1767225600000000 + (hash(i, 9) % 9000 * 1000000)::BIGINT AS spine_ts FROM range(900) AS t(i)"
    )
    rows_of(f"COPY ({asked}) TO '{tmp_path}/spine.parquet'")
    told = assert_same_export(
        session, Spine(str(tmp_path / "spine.parquet")), [every, plain, prices], tmp_path, as_of_known=until
    )
    assert min(told.views[0].present, told.views[0].missing, told.views[0].late) > 0
    assert told.views[2].bad == {"below minimum: price": 40}


def _table(rows: list[Row], asked: list[tuple[int, int]]) -> pa.Table:
    """Rows as Spark hands them over: of one entity after the other."""
    rows = [row for row in rows if row.id is not None]
    fields = [(key_of("customer_id"), pa.int64()), (SPINE_ROW, pa.int64()), (SPINE_TIME, pa.int64())]
    fields += [(name, pa.int64()) for name in (EVENT, KNOWN, SEQUENCE, EVENT_ID)]
    fields += zip((column.name for column in COLUMNS), (pa.float64(), pa.int32(), pa.string()), strict=True)
    lines = [(entity, at, time, *[None] * 7) for at, (entity, time) in enumerate(asked)]
    lines += [
        (row.entity, None, None, row.event, row.known, row.sequence, row.id, *row.values) for row in rows
    ]
    lines.sort(key=lambda line: line[0])
    columns = [*zip(*lines, strict=True)]
    return pa.table({name: pa.array(of, as_) for (name, as_), of in zip(fields, columns, strict=True)})


@settings(max_examples=60, deadline=None)
@given(st.lists(ROW, max_size=25), ASKED, st.integers(1, 12), st.integers(1, 5))
def test_answers_are_the_same_when_entities_come_in_parts(
    rows: list[Row], asked: list[tuple[int, int]], enough: int, batch: int
) -> None:
    table, told = _table(rows, asked), meaning(replace(VIEW, sequence="number"))
    (whole,) = spark_windows._answers(iter(table.to_batches()), told)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spark_windows, "_ROWS", enough)
        parts = [*spark_windows._answers(iter(table.to_batches(max_chunksize=batch)), told)]
    assert repr(pa.Table.from_batches(parts).to_pylist()) == repr(pa.Table.from_batches([whole]).to_pylist())


def test_view_is_named_when_a_sum_leaves_64_bits(session: SparkSession, tmp_path: Path) -> None:
    rows_of(
        "COPY (SELECT 7 AS id, 1::BIGINT AS at, 4611686018427387904 AS n FROM range(2)) "
        f"TO '{tmp_path}/events.parquet'"
    )
    total = Aggregate("total", "sum", Column("n", "INT64"), timedelta(hours=1))
    view = View(
        name="big",
        version=1,
        entity=Entity("it", {"id": "INT64"}),
        source=ParquetFiles(f"{tmp_path}/events.parquet"),
        aggregates=(total,),
        event_time="at",
        known_time=None,
    )
    with pytest.raises(DataError) as raised:
        by_spark.export(
            Spine("SELECT 7 AS id, 9::BIGINT AS spine_ts"), [view], tmp_path / "set", session=session
        )
    assert str(raised.value).startswith("export: view big@1: a sum of integers is outside INT64")


_DEMANDING = (
    Column("size", "UINT8", required=True, maximum=200),
    Column("score", "FP32", minimum=0.1, maximum=float("inf")),
    Column("ratio", "FP64", finite=True, one_of=(0.0, 0.5, 1e300)),
    Column("city", "BYTES", one_of=("", "Dubai", "it's")),
    Column("big", "UINT64", minimum=2**63),
    Column("good", "BOOL", one_of=(True,)),
)
_ROWS = (
    "SELECT i % 40 AS customer_id, 1767225600000000 + i * 1000000 AS at, "
    "if(i % 13 = 0, NULL, i % 256)::UTINYINT AS size, "
    "[0.1, 0.1::FLOAT, 0.09999999, 'nan'::FLOAT, 'inf'::FLOAT, '-inf'::FLOAT, -0.0]"
    "[1 + i % 7]::FLOAT AS score, "
    "[0.0, -0.0, 0.5, 1e300, 'nan'::DOUBLE, 'inf'::DOUBLE, 0.25, NULL][1 + i % 8]::DOUBLE AS ratio, "
    "['', 'Dubai', 'it''s', 'Sharjah', NULL][1 + i % 5] AS city, "
    "[9223372036854775807, 9223372036854775808, 18446744073709551615][1 + i % 3]::UBIGINT AS big, "
    "i % 11 > 0 AS good, i % 17 = 0 AS gone FROM range(3000) AS t(i)"
)


def _demanding(folder: Path, **changes: Any) -> View:
    view = View(
        name="demanding",
        version=1,
        entity=Entity("customer", {"customer_id": "INT64"}),
        source=ParquetFiles(f"{folder}/rows.parquet"),
        columns=_DEMANDING,
        event_time="at",
        known_time=None,
        deleted="gone",
    )
    return replace(view, **changes)


def test_bad_rows_are_left_out_and_counted_as_by_duckdb(session: SparkSession, tmp_path: Path) -> None:
    rows_of(f"COPY ({_ROWS}) TO '{tmp_path}/rows.parquet'")
    dated = (
        f'SELECT * REPLACE (strftime(make_timestamp("at"), $$%Y-%m-%dT%H:%M:%SZ$$) AS "at") FROM ({_ROWS})'
    )
    rows_of(f"COPY ({dated} LIMIT 90) TO '{tmp_path}/rows.csv'")
    views = [
        _demanding(tmp_path),
        _demanding(tmp_path, name="csv", source=CsvFiles(f"{tmp_path}/rows.csv"), columns=_DEMANDING[:4]),
        _demanding(tmp_path, name="kept", columns=tuple(Column(of.name, of.datatype) for of in _DEMANDING)),
    ]
    spine = "SELECT i % 40 AS customer_id, 1767225600000000 + i * 5000000 AS spine_ts FROM range(600) AS t(i)"
    told = assert_same_export(session, Spine(spine), views, tmp_path)
    assert set(told.views[0].bad) == {
        *("null: size", "above maximum: size", "below minimum: score", "not a number: score"),
        *(
            "not finite: ratio",
            "not one of: ratio",
            "not one of: city",
            "below minimum: big",
            "not one of: good",
        ),
    }
    assert told.views[1].bad
    assert not told.views[2].bad


def test_rows_of_a_query_are_those_that_duckdb_has(session: SparkSession, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "shop.db") as database:
        database.execute("CREATE TABLE orders (customer_id, at, known, id, amount, note, turn)")
        day = datetime(2026, 1, 1, tzinfo=UTC)
        rows = [
            (
                i % 20,
                (day + timedelta(minutes=i)).isoformat(),
                (day + timedelta(minutes=i + i % 30)).isoformat(),
                [f"a{i % 150}", i % 150, None][i % 3],
                [i / 8, None, float("inf"), -1][i % 4],
                ["", "é", None][i % 3],
                i % 4,
            )
            for i in range(400)
        ]
        database.executemany("INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
    amount = Column("amount", "FP64", minimum=0.0)
    spent = View(
        name="spent",
        version=1,
        entity=Entity("customer", {"customer_id": "INT64"}),
        source=SqlQuery(f"sqlite:///{tmp_path / 'shop.db'}", "SELECT * FROM orders ORDER BY rowid"),
        aggregates=(Aggregate("total", "sum", amount, timedelta(hours=1)),),
        event_time="at",
        known_time="known",
        event_id="id",
    )
    note = replace(
        spent,
        name="note",
        aggregates=(),
        event_id=None,
        columns=(amount, Column("note", "BYTES")),
        sequence="turn",
    )
    asked = (
        "SELECT i % 25 AS customer_id, 1767225600000000 + i * 60000000 AS spine_ts FROM range(500) AS t(i)"
    )
    told = assert_same_export(session, Spine(asked), [spent, note], tmp_path)
    assert told.views[0].bad == {"below minimum: amount": 67, "null: id": 133}
    assert told.views[0].staged is not None
    assert told.views[0].staged.rows == 400


def test_transforms_give_what_they_give_for_duckdb(session: SparkSession, tmp_path: Path) -> None:
    rows_of(f"COPY ({_ROWS}) TO '{tmp_path}/rows.parquet'")
    defaults = {"size": 3, "score": 0.1, "city": "", "big": 2**64 - 1}
    view = _demanding(
        tmp_path,
        name="kept",
        columns=tuple(Column(of.name, of.datatype, default=defaults.get(of.name)) for of in _DEMANDING),
        ttl=timedelta(seconds=30),
    )

    def first(xp: Any, amount: Any, name: Any, kept__score: Any, kept__ratio: Any, kept__city: Any) -> Any:
        ratio = kept__ratio / xp.astype(amount, xp.float64)
        return ratio, xp.tanh(kept__score), xp.where(name == kept__city, "same", kept__city)

    def second(xp: Any, kept__size: Any, kept__big: Any, kept__good: Any, place: Any) -> Any:
        return kept__size + 250, kept__big - 1, kept__good == 1.0, place != "same"

    brought = {"amount": "FP32", "name": "BYTES"}
    scores = {"kept__score": "FP32", "kept__ratio": "FP64", "kept__city": "BYTES"}
    places = {"ratio": "FP64", "bent": "FP32", "place": "BYTES"}
    sizes = {"kept__size": "UINT8", "kept__big": "UINT64", "kept__good": "FP32", "place": "BYTES"}
    small = {"size": "UINT8", "big": "UINT64", "good": "BOOL", "elsewhere": "BOOL"}
    both = (transform(brought | scores, places)(first), transform(sizes, small)(second))
    spine = (
        "SELECT i % 45 AS customer_id, 1767225600000000 + i * 500000 AS spine_ts, i % 7 - 3 AS amount, "
        "['Dubai', ''][1 + i % 2] AS name FROM range(6000) AS t(i)"
    )
    rows_of(f"COPY ({spine}) TO '{tmp_path}/spine.parquet'")
    given, transforms = Spine(f"{tmp_path}/spine.parquet"), Transforms(both, "reject")
    told = assert_same_export(session, given, [view], tmp_path, transforms=transforms)
    assert min(told.views[0].present, told.views[0].missing, told.views[0].expired) > 0
    assert [each.transform() for each in told.transforms] == [*both]
    nothing = f"SELECT count(*) FROM '{tmp_path}/two.parquet/part-*.parquet' WHERE size IS NULL"
    assert rows_of(nothing) == [(told.views[0].missing + told.views[0].expired,)]
    rows_of(f"COPY (SELECT * REPLACE (nullif(amount, 3) AS amount) FROM ({spine})) TO '{given.given}'")
    with pytest.raises(DataError, match=r"export: transform 'first', input 'amount': null in row [0-9]+ of"):
        by_spark.export(given, [view], tmp_path / "set", transforms=transforms, session=session)
