"""Histories are read from real files, their times in UTC microseconds."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from falaj.features import Column, CsvFiles, DataError, DefinitionError, Entity, ParquetFiles, View
from falaj.features.offline.history import create_history, left_out

# What any of them is at: 2026-01-31T08:00:00.000001Z.
_MICROS = 1769846400000001
_VIEW = View(
    name="profile",
    version=1,
    entity=Entity("customer", {"customer_id": "INT64"}),
    source=ParquetFiles("unused"),
    columns=(Column("value", "FP32"),),
    event_time="event",
    known_time="known",
)


def _rows(view: View) -> list[tuple[Any, ...]]:
    with duckdb.connect() as connection:
        create_history(connection, view, "history")
        return connection.execute("SELECT * FROM history").fetchall()


def _parquet(folder: Path, select: str, name: str = "rows") -> View:
    path = folder / f"{name}.parquet"
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'Asia/Dubai'")
        connection.execute(f"COPY ({select}) TO '{path}'")
    return replace(_VIEW, source=ParquetFiles(str(folder / "*.parquet")))


def _csv(folder: Path, *lines: str) -> View:
    path = folder / "it's rows.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return replace(_VIEW, source=CsvFiles(str(path)))


@pytest.mark.parametrize(
    "time",
    [
        "TIMESTAMPTZ '2026-01-31 08:00:00.000001+00'",
        "TIMESTAMPTZ '2026-01-31 12:00:00.000001'",  # of a writer in Dubai
        f"{_MICROS}::BIGINT",
        "'2026-01-31T08:00:00.000001Z'",
        "'2026-01-31 12:00:00.000001+04'",
        "'2026-01-31T03:30:00.000001-0430'",
    ],
)
def test_times_are_microseconds_in_utc_when_their_offset_is_known(tmp_path: Path, time: str) -> None:
    view = _parquet(
        tmp_path, f"SELECT 7::BIGINT AS customer_id, {time} AS event, {time} AS known, 1.5 AS value"
    )
    assert _rows(view) == [(7, _MICROS, _MICROS, 0, False, 1.5)]


@pytest.mark.parametrize("time", ["TIMESTAMP '2026-01-31 08:00:00'", "DATE '2026-01-31'", "1.5::DOUBLE"])
def test_history_is_refused_when_its_times_are_naive(tmp_path: Path, time: str) -> None:
    view = _parquet(tmp_path, f"SELECT 7 AS customer_id, {time} AS event, {time} AS known, 1.5 AS value")
    with pytest.raises(DataError, match="view profile@1, event: expected a timestamp with time zone"):
        _rows(view)


@pytest.mark.parametrize("time", ["'2026-01-31T08:00:00'", "'2026-01-31'", "'2026-01-31 08'", "'soon'", "''"])
def test_history_is_refused_when_a_written_time_has_no_offset(tmp_path: Path, time: str) -> None:
    view = _parquet(tmp_path, f"SELECT 7 AS customer_id, {time} AS event, {time} AS known, 1.5 AS value")
    with pytest.raises(duckdb.Error, match="view profile@1, event: expected a time with its offset, such as"):
        _rows(view)


def test_history_is_refused_when_a_row_has_no_time(tmp_path: Path) -> None:
    view = _parquet(
        tmp_path, "SELECT 7 AS customer_id, 1::BIGINT AS event, NULL::BIGINT AS known, 1.5 AS value"
    )
    with pytest.raises(duckdb.Error, match="view profile@1, known: a row has none"):
        _rows(view)


def test_history_is_refused_when_a_time_is_infinite(tmp_path: Path) -> None:
    time = "'-infinity'::TIMESTAMPTZ"
    view = _parquet(tmp_path, f"SELECT 7 AS customer_id, {time} AS event, {time} AS known, 1.5 AS value")
    with pytest.raises(duckdb.Error, match="view profile@1, event: expected a time, got -infinity"):
        _rows(view)


def test_sequence_is_the_order_of_the_files_when_none_is_named(tmp_path: Path) -> None:
    for name, values in (("b", (3.0, 4.0)), ("a", (1.0, 2.0))):
        rows = " UNION ALL ".join(
            f"SELECT 7 AS customer_id, 1::BIGINT AS event, 1::BIGINT AS known, {value} AS value"
            for value in values
        )
        view = _parquet(tmp_path, rows, name)
    found = sorted(_rows(view), key=lambda row: row[3])
    assert [row[-1] for row in found] == [1.0, 2.0, 3.0, 4.0]


def test_sequence_and_deletions_are_read_when_named(tmp_path: Path) -> None:
    view = _parquet(
        tmp_path,
        "SELECT 7 AS customer_id, 1::BIGINT AS event, 2::BIGINT AS known, 1.5 AS value, n AS number, "
        "CASE n WHEN 5 THEN true WHEN 6 THEN false END AS gone FROM (VALUES (5), (6), (7)) AS t(n)",
    )
    found = _rows(replace(view, sequence="number", deleted="gone"))
    assert sorted(row[3:5] for row in found) == [(5, True), (6, False), (7, False)]


def test_known_time_is_the_event_time_when_none_is_named(tmp_path: Path) -> None:
    view = _parquet(tmp_path, "SELECT 7 AS customer_id, 5::BIGINT AS event, 1.5 AS value")
    assert _rows(replace(view, known_time=None)) == [(7, 5, 5, 0, False, 1.5)]


def test_transformation_is_applied_when_the_view_has_one(tmp_path: Path) -> None:
    view = _parquet(
        tmp_path, "SELECT 7 AS customer_id, 5::BIGINT AS event, 6::BIGINT AS known, 1.5 AS amount"
    )
    doubled = replace(view, sql="SELECT customer_id, event, known, amount * 2 AS value FROM source")
    assert [row[-1] for row in _rows(doubled)] == [3.0]


def test_csv_is_read_when_quoted_and_null(tmp_path: Path) -> None:
    view = _csv(
        tmp_path,
        "customer_id,event,known,value,city",
        '7,2026-01-31T08:00:00.000001Z,2026-01-31 12:00:00.000001+04:00,,""',
        '8,2026-01-31T08:00:00.000001Z,2026-01-31T08:00:00.000001+00,2.5,"a, ""b"""',
        "9,2026-01-31T08:00:00.000001Z,2026-01-31T08:00:00.000001Z,2.5,",
    )
    text = replace(view, columns=(Column("value", "FP32"), Column("city", "BYTES")))
    assert [(row[0], *row[1:3], *row[5:]) for row in _rows(text)] == [
        (7, _MICROS, _MICROS, None, ""),
        (8, _MICROS, _MICROS, 2.5, 'a, "b"'),
        (9, _MICROS, _MICROS, 2.5, None),
    ]


def test_csv_is_refused_when_a_time_has_no_offset(tmp_path: Path) -> None:
    line = "7,2026-01-31T08:00:00,2026-01-31T08:00:00Z,1.5"
    with pytest.raises(
        duckdb.Error, match=r"event: expected a time with its offset, .* got 2026-01-31T08:00:00"
    ):
        _rows(_csv(tmp_path, "customer_id,event,known,value", line))


def test_column_is_named_when_the_source_lacks_it(tmp_path: Path) -> None:
    view = _parquet(tmp_path, "SELECT 7 AS customer_id, 1::BIGINT AS event, 1::BIGINT AS known")
    complaint = (
        "view profile@1: column 'value': no column 'value' in the source, which has customer_id, event, known"
    )
    with pytest.raises(DefinitionError, match=complaint):
        _rows(view)


@pytest.mark.parametrize(
    ("datatype", "value", "complaint"),
    [
        ("INT8", "1.5::DOUBLE", "column 'value': is INT8, the source has DOUBLE"),
        ("INT8", "'1'", "column 'value': is INT8, the source has VARCHAR"),
        ("FP32", "true", "column 'value': is FP32, the source has BOOLEAN"),
        ("BYTES", "1", "column 'value': is BYTES, the source has INTEGER"),
        ("BOOL", "1", "column 'value': is BOOL, the source has INTEGER"),
    ],
)
def test_column_is_refused_when_its_values_would_become_others(
    tmp_path: Path, datatype: str, value: str, complaint: str
) -> None:
    view = _parquet(
        tmp_path, f"SELECT 7 AS customer_id, 1::BIGINT AS event, 1::BIGINT AS known, {value} AS value"
    )
    with pytest.raises(DefinitionError, match=f"view profile@1: {complaint}"):
        _rows(replace(view, columns=(Column("value", datatype),)))


@pytest.mark.parametrize(
    ("datatype", "value", "expected"),
    [("INT8", "100::BIGINT", 100), ("FP64", "1.25::DECIMAL(5, 2)", 1.25), ("FP32", "3::UTINYINT", 3.0)],
)
def test_column_is_taken_when_its_values_stay_what_they_are(
    tmp_path: Path, datatype: str, value: str, expected: float
) -> None:
    view = _parquet(
        tmp_path, f"SELECT 7 AS customer_id, 1::BIGINT AS event, 1::BIGINT AS known, {value} AS value"
    )
    assert _rows(replace(view, columns=(Column("value", datatype),)))[0][-1] == expected


def test_history_is_refused_when_a_value_is_out_of_range(tmp_path: Path) -> None:
    view = _parquet(tmp_path, "SELECT 7 AS customer_id, 1::BIGINT AS event, 1::BIGINT AS known, 300 AS value")
    with pytest.raises(duckdb.Error, match="300"):
        _rows(replace(view, columns=(Column("value", "INT8"),)))


def test_csv_is_read_by_its_definition_when_its_values_do_not_tell_their_type(tmp_path: Path) -> None:
    time = "2026-01-31T08:00:00.000001Z"
    view = _csv(tmp_path, "customer_id,event,known,value,city", f"7,{time},{time},,12")
    text = replace(view, columns=(Column("value", "INT8"), Column("city", "BYTES")))
    assert _rows(text) == [(7, _MICROS, _MICROS, 1, False, None, "12")]
    broken = _csv(tmp_path, "customer_id,event,known,value", f"7,{time},{time},1.5")
    with pytest.raises(duckdb.Error, match=r"view profile@1, value: expected INT8, got 1\.5"):
        _rows(replace(broken, columns=(Column("value", "INT8"),)))


def test_source_is_named_when_there_are_no_such_files(tmp_path: Path) -> None:
    view = replace(_VIEW, source=ParquetFiles(str(tmp_path / "none*.parquet")))
    with pytest.raises(DataError, match=r"view profile@1, source: .*none"):
        _rows(view)


def test_rows_that_are_not_as_demanded_are_left_out_and_counted(tmp_path: Path) -> None:
    values = ("1.5", "0.05", "NULL", "'nan'::FLOAT", "'inf'::FLOAT")
    rows = " UNION ALL ".join(
        f"SELECT 7 AS customer_id, 1::BIGINT AS event, 1::BIGINT AS known, {value}::FLOAT AS value, "
        f"{gone} AS gone"
        for value in values
        for gone in ("false", "true")
    )
    column = Column("value", "FP32", required=True, minimum=0.1, finite=True)
    view = replace(_parquet(tmp_path, rows), columns=(column,), deleted="gone")
    with duckdb.connect() as connection:
        create_history(connection, view, "history")
        found = connection.execute("SELECT * FROM history").fetchall()
        counted = left_out(connection, view, "history")
    assert [row[-1] for row in found if not row[-2]] == [1.5]
    assert sum(row[-2] for row in found) == 5  # a tombstone has no values
    assert counted == {"below minimum: value": 1, "not finite: value": 2, "null: value": 1}


@pytest.mark.parametrize(("datatype", "text"), [("FP32", "1e300"), ("FP64", "-1e400"), ("FP32", "much")])
def test_csv_is_refused_when_a_number_is_none_or_too_large(tmp_path: Path, datatype: str, text: str) -> None:
    time = "2026-01-31T08:00:00Z"
    view = replace(
        _csv(tmp_path, "customer_id,event,known,value", f"7,{time},{time},{text}"),
        columns=(Column("value", datatype),),
    )
    with pytest.raises(duckdb.Error, match=f"view profile@1, value: expected {datatype}, got {text}"):
        _rows(view)


def test_csv_has_infinities_where_they_are_written(tmp_path: Path) -> None:
    time = "2026-01-31T08:00:00Z"
    lines = [f"7,{time},{time},{text}" for text in ("inf", "-Infinity", "3.4e38")]
    found = _rows(_csv(tmp_path, "customer_id,event,known,value", *lines))
    assert [row[-1] for row in found] == [math.inf, -math.inf, pytest.approx(3.4e38)]
