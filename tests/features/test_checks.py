"""Rows of a real CSV file are split into good ones and bad ones, each with its reason."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from falaj.features import Column, CsvFiles, DataError, DefinitionError, Entity, ParquetFiles, View
from falaj.features.checks import check
from falaj.features.column import fault
from falaj.features.datatypes import DUCKDB_TYPES, FLOATS, Value
from falaj.features.demands import demands
from falaj.features.identity import meaning, view_of
from falaj.features.quarantine import write_by_hash
from falaj.features.raw_rows import create_parts
from tests.features.test_cli import Commands

_LINES = """id,event,age,score,city
1,2026-01-01T00:00:00Z,30,0.5,Dubai
1,2026-01-01T00:00:00Z,31,0.5,Dubai
,2026-01-01T00:00:00Z,30,0.5,Dubai
2,,30,0.5,Dubai
2,2026-01-01T00:00:00,30,0.5,Dubai
2,soon,30,0.5,Dubai
2,2026-01-01T00:00:00Z,old,0.5,Dubai
2,2026-01-01T00:00:00Z,300,0.5,Dubai
2,2026-01-01T00:00:00Z,-1,0.5,Dubai
2,2026-01-01T00:00:00Z,,0.5,Dubai
2,2026-01-01T00:00:00Z,30,nan,Dubai
2,2026-01-01T00:00:00Z,30,1.5,Dubai
2,2026-01-01T00:00:00Z,30,0.5,Paris
"""
_VIEW = View(
    name="profile",
    version=1,
    entity=Entity("customer", {"id": "INT64"}),
    source=CsvFiles("unused"),
    columns=(
        Column("age", "INT8", required=True, minimum=0),
        Column("score", "FP32", maximum=1.0, finite=True),
        Column("city", "BYTES", one_of=("Dubai",)),
    ),
    event_time="event",
    known_time=None,
    unique=True,
)


_FLOATS = st.sampled_from([None, math.nan, math.inf, -math.inf, -0.0, 0.0, 0.1, 0.5, 1.0, 1e-40, 16777217.0])
_WHOLES = st.sampled_from([None, -128, -1, 0, 1, 127])
_BOUND = st.sampled_from([None, -1, 0, 0.5, 1])


@st.composite
def _demanding(draw: st.DrawFn) -> tuple[Column, Value | None]:
    datatype = draw(st.sampled_from(["FP32", "FP64", "INT8", "BYTES", "BOOL"]))
    is_number = datatype not in ("BYTES", "BOOL")
    values: st.SearchStrategy[Any] = {
        "INT8": _WHOLES,
        "BYTES": st.sampled_from([None, "", "a", "é", "o'"]),
        "BOOL": st.sampled_from([None, True, False]),
    }.get(datatype, _FLOATS)
    bound = _WHOLES if datatype == "INT8" else _BOUND if is_number else st.none()
    column = Column(
        "x",
        datatype,
        required=draw(st.booleans()),
        minimum=draw(bound),
        maximum=draw(bound),
        one_of=draw(st.none() | st.lists(values.filter(lambda of: of is not None), min_size=1).map(tuple)),
        finite=datatype in FLOATS and draw(st.booleans()),
    )
    return column, draw(values)


@settings(max_examples=300, deadline=None)
@given(_demanding())
def test_value_is_bad_for_the_same_reason_when_it_is_pushed(drawn: tuple[Column, Value | None]) -> None:
    column, value = drawn
    of = DUCKDB_TYPES[column.datatype]
    told = " ".join(f"WHEN {rule} THEN '{reason}'" for rule, reason in demands(column, "x"))
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE t (x {of})")
        connection.execute("INSERT INTO t VALUES (?)", [value])
        sql = f"SELECT CASE {told} END FROM t" if told else "SELECT NULL"
        assert connection.execute(sql).fetchall() == [(fault(column, value),)]


def test_bad_rows_have_reasons_and_are_written_once(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(_LINES, encoding="utf-8")
    view = replace(_VIEW, source=CsvFiles(str(tmp_path / "rows.csv")))
    with duckdb.connect() as connection:
        checked = check(connection, view, create_parts(connection, view, tmp_path))
        good = connection.execute(f"SELECT id, age FROM {checked.good}").fetchall()
        files = {write_by_hash(connection, view, checked, tmp_path / "bad") for _ in range(2)}
        (file,) = files
        assert file is not None
        text = f"SELECT number, raw FROM read_parquet('{file}') WHERE reason = 'wrong type: age'"
        assert connection.execute(text).fetchall() == [
            (7, '{"id":"2","event":"2026-01-01T00:00:00Z","age":"old","score":"0.5","city":"Dubai"}')
        ]
    assert good == [(1, 31)]
    assert checked.good_rows == 1
    assert checked.reasons == {
        "above maximum: score": 1,
        "below minimum: age": 1,
        "duplicate": 1,
        "missing time: event": 1,
        "naive time: event": 1,
        "not finite: score": 1,
        "not one of: city": 1,
        "null key: id": 1,
        "null: age": 1,
        "out of range of INT8: age": 1,
        "unreadable time: event": 1,
        "wrong type: age": 1,
    }
    assert file.parent == tmp_path / "bad" / "profile@1"


def test_demands_are_part_of_the_meaning() -> None:
    assert view_of(meaning(_VIEW)) == _VIEW


def _reasons(folder: Path, column: Column, *values: str) -> list[tuple[str, str | None]]:
    """Of each value, in a CSV file of its own rows."""
    lines = "".join(f"{i},1970-01-01T00:00:00Z,{value}\n" for i, value in enumerate(values))
    (folder / "rows.csv").write_text(f"id,event,value\n{lines}", encoding="utf-8")
    view = replace(_VIEW, source=CsvFiles(str(folder / "rows.csv")), columns=(column,), unique=False)
    with duckdb.connect() as connection:
        checked = check(connection, view, create_parts(connection, view, folder))
        bad = dict(connection.execute(f"SELECT __number, __reason FROM {checked.bad}").fetchall())
        assert checked.good_rows == len(values) - len(bad)
    return [(value, bad.get(i)) for i, value in enumerate(values, 1)]


@pytest.mark.parametrize("datatype", ["FP32", "FP64"])
def test_bounds_are_numbers_of_the_column(tmp_path: Path, datatype: str) -> None:
    bounded = Column("value", datatype, minimum=0.1, maximum=0.7)  # as FP32 one is more, the other less
    assert _reasons(tmp_path, bounded, "0.1", "0.7", "0.09", "0.71", "nan") == [
        ("0.1", None),
        ("0.7", None),
        ("0.09", "below minimum: value"),
        ("0.71", "above maximum: value"),
        ("nan", "not a number: value"),
    ]
    few = Column("value", datatype, one_of=(0.1, 0.7))
    assert _reasons(tmp_path, few, "0.7", "0.5") == [("0.7", None), ("0.5", "not one of: value")]


@pytest.mark.parametrize(
    ("datatype", "largest", "above"), [("FP32", "3.4e38", "1e300"), ("FP64", "1e300", "1e400")]
)
def test_number_that_is_too_large_is_no_infinity(
    tmp_path: Path, datatype: str, largest: str, above: str
) -> None:
    wrong = f"out of range of {datatype}: value"
    assert _reasons(tmp_path, Column("value", datatype), largest, above, f"-{above}", "inf", "-Infinity") == [
        (largest, None),
        (above, wrong),
        (f"-{above}", wrong),
        ("inf", None),
        ("-Infinity", None),
    ]


def test_command_ends_with_1_when_rows_are_bad(tmp_path: Path) -> None:
    commands = Commands(tmp_path)
    source = f"CsvFiles({str(tmp_path / '*.csv')!r})"
    commands.write(
        "from datetime import timedelta\n"
        "from falaj.features import Column, CsvFiles, Entity, View\n"
        f"profile = View(name='profile', version=1, entity=Entity('customer', {{'id': 'INT64'}}), "
        f"source={source}, columns=(Column('age', 'INT8', maximum=120),), "
        "event_time='event', known_time=None, freshness=timedelta(days=1))\n"
    )
    assert commands.apply()[0] == 0
    line = "2,1970-01-01T00:00:01Z,30\n"
    (tmp_path / "a.csv").write_text(f"id,event,age\n{line}", encoding="utf-8")
    assert commands.run("check") == (0, "profile@1: 1 rows, 0 bad; stale\n", "")
    (tmp_path / "b.csv").write_text(f"id,event,age\n{line}3,1970-01-01T00:00:01Z,121\n", encoding="utf-8")
    kept = str(tmp_path / "kept")
    code, said, _ = commands.run("check", "--views", "profile@1", "--quarantine", kept, "--json")
    (told,) = json.loads(said)
    assert (code, told["rows"], told["bad"], told["stale"]) == (1, 3, 1, True)
    assert told["reasons"] == {"above maximum: age": 1}
    rows = duckdb.execute(f"SELECT source, number FROM read_parquet('{told['quarantined']}')").fetchall()
    assert rows == [(str(tmp_path / "b.csv"), 2)]
    assert commands.run("check")[:2] == (1, "profile@1: 3 rows, 1 bad; stale\n  1 above maximum: age\n")


def _of_parquet(folder: Path) -> View:
    source = ParquetFiles(str(folder / "*.parquet"))
    return replace(_VIEW, source=source, columns=(Column("age", "INT8"),))


def test_source_that_can_have_no_good_row_is_an_error(tmp_path: Path) -> None:
    with duckdb.connect() as connection:
        connection.execute(f"COPY (SELECT 1 AS id, 1::BIGINT AS event, 'x' AS age) TO '{tmp_path}/a.parquet'")
        view = _of_parquet(tmp_path)
        with pytest.raises(
            DefinitionError, match=r"view profile@1: 'age': is INT8, .*a\.parquet has VARCHAR"
        ):
            check(connection, view, create_parts(connection, view, tmp_path))
        missing = replace(view, columns=(Column("score", "INT8"),))
        with pytest.raises(
            DefinitionError, match=r"no column 'score' in .*a\.parquet, which has id, event, age"
        ):
            check(connection, missing, create_parts(connection, missing, tmp_path))
        nowhere = replace(view, source=ParquetFiles(str(tmp_path / "none*.parquet")))
        with pytest.raises(DataError, match="view profile@1, source: no file matches"):
            create_parts(connection, nowhere, tmp_path)


def test_time_that_no_clock_has_is_unreadable(tmp_path: Path) -> None:
    with duckdb.connect() as connection:
        connection.execute(
            "COPY (SELECT 1 AS id, 1::TINYINT AS age, "
            "unnest(['infinity'::TIMESTAMPTZ, NULL, '1970-01-01 00:00:01+00']) AS event) "
            f"TO '{tmp_path}/a.parquet'"
        )
        view = _of_parquet(tmp_path)
        checked = check(connection, view, create_parts(connection, view, tmp_path))
    assert checked.reasons == {"missing time: event": 1, "unreadable time: event": 1}
    assert (checked.good_rows, checked.newest_us) == (1, 1_000_000)


def test_null_sequence_is_the_newest(tmp_path: Path) -> None:
    view = replace(_of_csv(tmp_path, "id,event,number,age\n1,1970-01-01T00:00:01Z,,3\n"), sequence="number")
    with duckdb.connect() as connection:
        checked = check(connection, view, create_parts(connection, view, tmp_path))
        found = connection.execute(f"SELECT __sequence FROM {checked.good}").fetchall()
    assert (found, checked.reasons) == ([(2**63 - 1,)], {})


def _of_csv(folder: Path, text: str) -> View:
    (folder / "rows.csv").write_text(text, encoding="utf-8")
    return replace(_VIEW, source=CsvFiles(str(folder / "rows.csv")), columns=(Column("age", "INT8"),))
