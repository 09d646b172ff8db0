"""Exports of views with aggregates: what the rules say, in parts too, and the same again."""

import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from falaj.features import Aggregate, Column, CsvFiles, DataError, DefinitionError, ParquetFiles, View
from falaj.features.offline.export import export, export_again
from falaj.features.offline.history import create_history
from falaj.features.offline.point_in_time import LATE, SPINE_ROW, SPINE_TIME, STATUS, Joined
from falaj.features.offline.spine import Spine
from falaj.features.offline.windows_join import Asked, write_windows
from tests.features.windows_cases import ASKED, ROW, SECOND, VIEW, wrong
from tests.features.windows_oracle import Row

_TABLE = (
    "(customer_id BIGINT, ordered_at BIGINT, loaded_at BIGINT, number BIGINT, order_id BIGINT, "
    "amount DOUBLE, items INTEGER, shop VARCHAR)"
)


def _write(path: Path, rows: list[Row]) -> None:
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE t {_TABLE}")
        for row in rows:
            values = [row.entity, row.event, row.known, row.sequence, row.id, *row.values]
            connection.execute("INSERT INTO t VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
        connection.execute(f"COPY t TO '{path}'")


def _view(source: Path, **changes: Any) -> View:
    return replace(VIEW, source=ParquetFiles(str(source)), sequence="number", **changes)


@settings(max_examples=40, deadline=None)
@given(st.lists(ROW, max_size=20), ASKED, st.sampled_from([1, 5000, 1 << 20]))
def test_rows_have_what_the_rules_say_however_they_are_divided(
    rows: list[Row], asked: list[tuple[int, int]], memory: int
) -> None:
    with TemporaryDirectory() as folder, duckdb.connect() as connection:
        _write(Path(folder) / "orders.parquet", rows)
        joined = Joined(_view(Path(folder) / "orders.parquet"), "history")
        create_history(connection, joined.view, joined.history)
        connection.execute(f"CREATE TABLE spine (key BIGINT, {SPINE_TIME} BIGINT, {SPINE_ROW} BIGINT)")
        for number, (entity, at) in enumerate([*asked, (None, 0)]):
            connection.execute("INSERT INTO spine VALUES (?, ?, ?)", [entity, at, number])
        connection.execute(
            "CREATE TABLE entities AS SELECT key AS customer_id, row_number() OVER () - 1 AS __entity "
            "FROM (SELECT DISTINCT key FROM spine WHERE key IS NOT NULL)"
        )
        connection.execute(
            f"CREATE TABLE asked AS SELECT {SPINE_ROW}, coalesce(__entity, -1)::INTEGER AS __entity, "
            f"{SPINE_TIME} FROM spine LEFT JOIN entities ON key = customer_id"
        )
        out = Path(folder) / "windows.parquet"
        write_windows(connection, joined, Asked("entities", "asked"), out, memory)
        found = connection.execute(f"SELECT * EXCLUDE ({LATE}) FROM '{out}'")
        names = [column[0] for column in found.description]
        *got, nobody = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    assert nobody == {**dict.fromkeys(names), SPINE_ROW: len(asked), STATUS: 0}
    for number, ((entity, at), row) in enumerate(zip(asked, got, strict=True)):
        assert (row[SPINE_ROW], row[STATUS]) == (number, 2)
        assert not wrong([each for each in rows if each.id is not None], entity, at, row)


@pytest.fixture
def spine(tmp_path: Path) -> Spine:
    path = tmp_path / "spine.csv"
    path.write_text(
        "label,customer_id,asked_at\nb,1,1970-01-01T00:01:00Z\na,1,1970-01-01T00:00:20Z\nc,,1970-01-01T00:00:20Z\n"
    )
    return Spine(str(path), "asked_at")


_ROWS = [
    Row(1, 10 * SECOND, 10 * SECOND, 0, 1, (1.0, 1, "a")),
    Row(1, 10 * SECOND, 40 * SECOND, 1, 1, (9.0, 9, "b")),  # a copy
    Row(1, 15 * SECOND, 30 * SECOND, 0, 2, (2.0, None, "a")),  # late: at 20 s it is not known
]


def test_export_tells_what_it_made_and_makes_it_again(spine: Spine, tmp_path: Path) -> None:
    _write(tmp_path / "orders.parquet", _ROWS)
    view = _view(tmp_path / "orders.parquet")
    out, again = tmp_path / "set.parquet", tmp_path / "again.parquet"
    (told,) = export(spine, [view], out).views
    assert (told.present, told.missing, told.expired, told.late) == (2, 1, 0, 1)
    assert (told.history_rows, told.ahead) == (3, 0)
    assert told.null["amount_std"] == 1
    with duckdb.connect() as connection:
        sql = f"SELECT label, spending__rows, spending__amount_sum, spending__shop_last FROM '{out}'"
        assert connection.execute(sql).fetchall() == [
            ("b", 2, 3.0, "a"),
            ("a", 1, 1.0, "a"),
            ("c", None, None, None),
        ]
    export_again(tmp_path / "set.parquet.manifest.json", again)
    assert again.read_bytes() == out.read_bytes()


def test_what_came_later_is_left_out_when_asked_as_of_a_time(spine: Spine, tmp_path: Path) -> None:
    from datetime import UTC, datetime, timedelta

    _write(tmp_path / "orders.parquet", _ROWS)
    out = tmp_path / "set.parquet"
    known = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=29)
    export(spine, [_view(tmp_path / "orders.parquet")], out, as_of_known=known)
    with duckdb.connect() as connection:
        assert connection.execute(f"SELECT spending__rows FROM '{out}'").fetchall() == [(1,), (1,), (None,)]


def test_ids_are_text_when_files_are_csv_and_spines_are_asked_twice(tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text(
        "customer_id,ordered_at,loaded_at,order_id,amount\n"
        "1,1970-01-01T00:00:10Z,1970-01-01T00:00:10Z,07,1\n"
        "1,1970-01-01T00:00:10Z,1970-01-01T00:00:10Z,07,1\n"
        "1,1970-01-01T00:00:10Z,1970-01-01T00:00:10Z,7,1\n"
    )
    aggregates = (Aggregate("rows", "count", None, VIEW.aggregates[0].window),)
    view = replace(VIEW, source=CsvFiles(str(tmp_path / "orders.csv")), aggregates=aggregates)
    out = tmp_path / "set.parquet"
    # Its order is another each time.
    time = "TIMESTAMPTZ '1970-01-01 00:00:00Z' + to_seconds(i)"
    asked = f"SELECT 1 AS customer_id, {time} AS asked_at FROM range(100) AS t(i) ORDER BY random()"
    export(Spine(asked, "asked_at"), [view], out)
    with duckdb.connect() as connection:
        rows = connection.execute(f"SELECT epoch(asked_at), spending__rows FROM '{out}'").fetchall()
    assert len(rows) == 100
    assert all(count == (2 if second >= 17 else 0) for second, count in rows)


def test_history_is_refused_when_it_cannot_be_summed_up(spine: Spine, tmp_path: Path) -> None:
    _write(tmp_path / "orders.parquet", _ROWS)
    source, out = tmp_path / "orders.parquet", tmp_path / "set.parquet"
    with pytest.raises(
        DefinitionError, match="event_id: expected whole numbers or text, the source has DOUBLE"
    ):
        export(spine, [_view(source, event_id="amount")], out)
    wide = Aggregate("total", "sum", Column("big", "INT64"), VIEW.aggregates[0].window)
    view = _view(source, aggregates=(wide,), sql="SELECT *, 9223372036854775807 AS big FROM source")
    with pytest.raises(DataError, match="view spending@1: a sum of integers is outside INT64"):
        export(spine, [view], out)
    assert not out.exists()


def test_manifest_has_the_aggregates(spine: Spine, tmp_path: Path) -> None:
    _write(tmp_path / "orders.parquet", _ROWS)
    export(spine, [_view(tmp_path / "orders.parquet")], tmp_path / "set.parquet")
    (told,) = json.loads((tmp_path / "set.parquet.manifest.json").read_text())["views"]
    assert told["meaning"]["aggregates"]["rows"] == {
        "function": "count",
        "column": None,
        "window_us": 300 * SECOND,
        "tile_us": 5 * SECOND,
    }
