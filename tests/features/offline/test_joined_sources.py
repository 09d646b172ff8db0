"""What an export joins: sources of every kind, keys of every kind, rows that only their values tell apart."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from falaj.features import Column, CsvFiles, DataError, Entity, ParquetFiles, View
from falaj.features.offline.export import export
from falaj.features.offline.resources import Resources
from falaj.features.offline.spine import Spine

_SHOP = Entity("shop", {"city": "BYTES", "number": "INT16"})
_LARGEST = 2**63 - 1


def _query(sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect() as connection:
        return connection.execute(sql).fetchall()


def _shops(folder: Path, *rows: str, columns: str = "city, number, event, known, sales") -> View:
    """A view of Parquet files with these rows, and one that is nobody's."""
    values = ", ".join(f"({row})" for row in rows)
    times = "* REPLACE (event::BIGINT AS event, known::BIGINT AS known)"
    _query(f"COPY (SELECT {times} FROM (VALUES {values}) AS t({columns})) TO '{folder / 'shops.parquet'}'")
    return View(
        name="shops",
        version=1,
        entity=_SHOP,
        source=ParquetFiles(str(folder / "shops.parquet")),
        columns=(Column("sales", "FP64"),),
        event_time="event",
        known_time="known",
    )


def _answers(folder: Path, views: list[View], *asked: str) -> list[tuple[Any, ...]]:
    """Export a spine of (city, number, time), and return all columns of the views."""
    rows = " UNION ALL ".join(f"SELECT {row}" for row in asked)
    _query(
        "COPY (SELECT c::VARCHAR AS city, n::INTEGER AS number, t::BIGINT AS asked_at "
        f"FROM ({rows}) AS s(c, n, t)) TO '{folder / 'spine.parquet'}'"
    )
    out = folder / "set.parquet"
    export(Spine(str(folder / "spine.parquet"), "asked_at"), views, out)
    return _query(f"SELECT * EXCLUDE (city, number, asked_at) FROM '{out}'")


def test_views_of_all_kinds_are_joined_to_keys_of_several_columns(tmp_path: Path) -> None:
    shops = _shops(
        tmp_path,
        "'Dubai', 1::TINYINT, 10, 10, 1.5",
        "'Dubai', 2, 10, 10, 2.5",
        "'Ajman', 1, 10, 10, 3.5",
        "NULL, 1, 10, 10, 4.5",
        "'Dubai', NULL, 10, 10, 5.5",
    )
    csv = tmp_path / "cities.csv"
    lines = ["city,event,rain", "Dubai,1970-01-01T00:00:00.000010Z,1", "Dubai,1970-01-01T00:00:00.000020Z,2"]
    csv.write_text("\n".join(lines) + "\n", encoding="utf-8")
    cities = View(
        name="cities",
        version=1,
        entity=Entity("city", {"city": "BYTES"}),
        source=CsvFiles(str(csv)),
        columns=(Column("rain", "INT8"),),
        event_time="event",
        known_time=None,
    )
    total = (
        "SELECT city, max(event) AS event, max(known) AS known, sum(sales) AS sales FROM source GROUP BY city"
    )
    totals = replace(shops, name="totals", entity=cities.entity, sql=total)
    assert _answers(
        tmp_path,
        [shops, cities, totals],
        "'Dubai', 2, 25",
        "NULL, 1, 25",
        "'Ajman', 1, 10",
        "'Dubai', NULL, 15",
    ) == [
        ("present", 2.5, "present", 2, "present", 9.5),
        ("missing", None, "missing", None, "missing", None),
        ("present", 3.5, "missing", None, "present", 3.5),
        ("missing", None, "present", 1, "present", 9.5),
    ]


def test_greatest_value_is_taken_when_nothing_else_tells_rows_apart(tmp_path: Path) -> None:
    rows = [f"'Dubai', 1, 10, 10, {value}, 7, false" for value in ("2.5", "9.5", "1.5", "NULL", "4.5")]
    columns = "city, number, event, known, sales, turn, gone"
    shops = replace(_shops(tmp_path, *rows[:3], columns=columns), sequence="turn", deleted="gone")
    assert _answers(tmp_path, [shops], "'Dubai', 1, 10") == [("present", 9.5)]
    _shops(tmp_path, *rows, columns=columns)
    assert _answers(tmp_path, [shops], "'Dubai', 1, 10") == [("present", None)]  # nulls last, as DuckDB sorts
    _shops(tmp_path, "'Dubai', 1, 10, 10, 0.5, 7, true", *rows, columns=columns)
    assert _answers(tmp_path, [shops], "'Dubai', 1, 10") == [("missing", None)]


def test_greatest_value_is_taken_when_a_transformation_leaves_rows_without_order(tmp_path: Path) -> None:
    rows = [f"'Dubai', 1, 10, 10, {value}" for value in (2.5, 9.5, 1.5)]
    shops = replace(_shops(tmp_path, *rows), sql="SELECT DISTINCT * EXCLUDE (__row) FROM source")
    assert _answers(tmp_path, [shops], "'Dubai', 1, 10") == [("present", 9.5)]


def test_last_row_of_the_files_is_taken_when_there_is_no_sequence(tmp_path: Path) -> None:
    rows = [f"'Dubai', 1, 10, 10, {value}" for value in (2.5, 9.5, 1.5)]
    assert _answers(tmp_path, [_shops(tmp_path, *rows)], "'Dubai', 1, 10") == [("present", 1.5)]


def test_row_is_the_newest_when_its_sequence_is_null(tmp_path: Path) -> None:
    rows = [f"'Dubai', 1, 10, 10, {value}, {turn}" for value, turn in ((1.5, 3), (2.5, "NULL"), (3.5, 5))]
    shops = _shops(tmp_path, *rows, columns="city, number, event, known, sales, turn")
    assert _answers(tmp_path, [replace(shops, sequence="turn")], "'Dubai', 1, 10") == [("present", 2.5)]


def test_history_is_refused_when_it_is_known_beyond_the_end_of_time(tmp_path: Path) -> None:
    shops = _shops(tmp_path, f"'Dubai', 1, 10, {_LARGEST}, 1.5")
    assert _answers(tmp_path, [shops], "'Dubai', 1, 10") == [("missing", None)]
    late = replace(shops, source_delay=timedelta.resolution)
    with pytest.raises(
        DataError, match=f"view shops@1: known . delay is beyond the largest time: {_LARGEST}"
    ):
        _answers(tmp_path, [late], "'Dubai', 1, 10")


def test_history_is_refused_when_a_row_that_nobody_asks_about_has_no_time(tmp_path: Path) -> None:
    shops = _shops(tmp_path, "'Dubai', 1, 10, 10, 1.5", "'Ajman', 1, 10, NULL, 1.5")
    with pytest.raises(DataError, match="view shops@1, known: a row has none"):
        _answers(tmp_path, [shops], "'Dubai', 1, 10")


def _many_shops(folder: Path, numbers: int) -> View:
    """Write a history and a spine of so many shop numbers, with ties that only values tell apart."""
    history = f"if(i % 7 = 0, NULL, 'city ' || i % {min(3, numbers)}) AS city, (i % 50)::BIGINT AS event"
    history += ", (i % 60)::BIGINT AS known, (hash(i) % 9)::DOUBLE AS sales, i % 2 AS turn, i % 5 = 0 AS gone"
    spine = "if(i % 11 = 0, NULL, 'city ' || i % 4) AS city, (i % 90)::BIGINT AS spine_ts"
    for select, rows, name in ((history, 900_000, "shops"), (spine, 30_000, "spine")):
        number = f"(hash(i) % {numbers})::INTEGER AS number"
        _query(f"COPY (SELECT {number}, {select} FROM range({rows}) AS t(i)) TO '{folder / name}.parquet'")
    return View(
        name="shops",
        version=1,
        entity=_SHOP,
        source=ParquetFiles(str(folder / "shops.parquet")),
        columns=(Column("sales", "FP64"),),
        event_time="event",
        known_time="known",
        source_delay=timedelta(microseconds=3),
        ttl=timedelta(microseconds=20),
        sequence="turn",
        deleted="gone",
    )


@pytest.mark.parametrize("numbers", [1, 5000])  # of few entities, so that some parts have none; of many
def test_parts_answer_as_the_whole_when_the_memory_does_not_hold_the_arrays(
    numbers: int, tmp_path: Path
) -> None:
    view, spine = _many_shops(tmp_path, numbers), Spine(str(tmp_path / "spine.parquet"))
    whole = export(spine, [view], tmp_path / "whole.parquet")
    parts = export(spine, [view], tmp_path / "parts.parquet", resources=Resources("50MB", 2))
    assert parts.out.sha256 == whole.out.sha256
    assert parts.views == whole.views
    (told,) = whole.views
    assert min(told.present, told.missing, told.expired, told.late) > 0
