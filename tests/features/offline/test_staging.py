"""Queries of a real database, SQLite, staged and exported."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from falaj.features import Column, DataError, DefinitionError, Entity, SqlQuery, View
from falaj.features.identity import meaning, view_of
from falaj.features.offline.export import export, export_again
from falaj.features.offline.history import create_history
from falaj.features.offline.spine import Spine
from falaj.features.offline.staging import stage

_VIEW = View(
    name="profile",
    version=1,
    entity=Entity("customer", {"customer_id": "INT64"}),
    source=SqlQuery("env:UNUSED", "SELECT 1"),
    columns=(Column("age", "INT8"), Column("score", "FP32"), Column("city", "BYTES"), Column("vip", "BOOL")),
    event_time="event",
    known_time="known",
)
_ROW = (1, 1_000_000, "1970-01-01T04:00:02+04:00", 30, 0.5, "Dubai: ٪ %", 1)


def _sqlite(path: Path, *rows: tuple[Any, ...]) -> View:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE IF NOT EXISTS rows (customer_id, event, known, age, score, city, vip)")
        database.executemany("INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
    return replace(_VIEW, source=SqlQuery(f"sqlite:///{path}", "SELECT * FROM rows ORDER BY rowid"))


def _history(view: View, scratch: Path) -> list[tuple[Any, ...]]:
    with duckdb.connect() as connection:
        create_history(connection, view, "history", scratch)
        return connection.execute("SELECT * FROM history").fetchall()


def test_rows_of_sqlite_are_a_history(tmp_path: Path) -> None:
    view = _sqlite(tmp_path / "crm.db", _ROW, (2, 5, 6, None, None, None, None))
    assert _history(view, tmp_path) == [
        (1, 1_000_000, 2_000_000, 0, False, 30, 0.5, "Dubai: ٪ %", True),
        (2, 5, 6, 1, False, None, None, None, None),
    ]


def test_query_without_rows_is_an_empty_history(tmp_path: Path) -> None:
    assert _history(_sqlite(tmp_path / "crm.db"), tmp_path) == []


def test_colons_and_percent_signs_of_a_query_are_its_own(tmp_path: Path) -> None:
    view = _sqlite(tmp_path / "crm.db", _ROW)
    query = "SELECT customer_id, event, known, age, score, ':a \\:b %s 08:00' AS city, vip FROM rows"
    view = replace(view, source=SqlQuery(view.source.url, query))  # type: ignore[union-attr]
    assert _history(view, tmp_path)[0][7] == ":a \\:b %s 08:00"


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (0, "1", "row 2, customer_id: expected INT64, got '1'"),
        (1, "2026-01-31T08:00:00", "row 2, event: expected a time with its time zone, got '2026-01-31"),
        (1, 1.5, "row 2, event: expected a time with its time zone, got 1.5"),
        (1, None, "event: a row has none"),
        (3, 1.5, "row 2, age: expected INT8, got 1.5"),
        (3, 300, "300"),
        (4, "much", "row 2, score: expected FP32, got 'much'"),
        (5, 7, "row 2, city: expected BYTES, got 7"),
        (6, 2, "row 2, vip: expected BOOL, got 2"),
    ],
)
def test_value_that_does_not_fit_is_an_error(tmp_path: Path, place: int, value: Any, said: str) -> None:
    wrong = (*_ROW[:place], value, *_ROW[place + 1 :])
    view = _sqlite(tmp_path / "crm.db", _ROW, wrong)
    with pytest.raises((DataError, duckdb.Error)) as raised:
        _history(view, tmp_path)
    assert said in str(raised.value)


def test_hash_is_of_values_and_order(tmp_path: Path) -> None:
    other = (2, *_ROW[1:])
    one, same = _sqlite(tmp_path / "1.db", _ROW, other), _sqlite(tmp_path / "2.db", _ROW, other)
    turned = _sqlite(tmp_path / "3.db", other, _ROW)
    first, second, third = (stage(view, tmp_path / "out") for view in (one, same, turned))
    assert first == second
    assert first.rows == third.rows == 2
    assert first.sha256 != third.sha256


def test_export_is_made_again_until_the_query_gives_other_rows(tmp_path: Path) -> None:
    view = _sqlite(tmp_path / "crm.db", _ROW)
    spine = Spine("SELECT 1::BIGINT AS customer_id, 3000000::BIGINT AS spine_ts")
    made = export(spine, [view], tmp_path / "out.parquet")
    (told,) = made.views
    assert (told.present, told.files) == (1, ())
    assert told.staged is not None
    assert told.staged.rows == 1
    manifest = tmp_path / "out.parquet.manifest.json"
    assert export_again(manifest, tmp_path / "again.parquet").views == made.views
    again = tmp_path / "third.parquet"
    for change, said in (
        ("UPDATE rows SET age = 31", "profile@1, source: its query gives as many, of other values"),
        ("DELETE FROM rows", "profile@1, source: its query gives other rows .* 0 rows, .*; it tells 1, "),
        ("DROP TABLE rows", "profile@1, source: no such table: rows"),
    ):
        with closing(sqlite3.connect(tmp_path / "crm.db")) as database, database:
            database.execute(change)
        with pytest.raises(DataError, match=said):
            export_again(manifest, again)
        assert not again.exists()


def test_definition_is_told_and_read_back() -> None:
    told = meaning(_VIEW)
    assert told["source"] == {"kind": "sql", "url": "env:UNUSED", "query": "SELECT 1"}
    assert view_of(told) == _VIEW


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:secret@host/db",
        "postgresql+psycopg://me:se/c@ret@host:5432/db",
        "postgresql://host/db?user=me&password=secret",
    ],
)
def test_password_in_a_definition_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(DefinitionError, match="env:NAME") as raised:
        SqlQuery(url, "SELECT 1")
    assert "se" not in str(raised.value).replace("source", "").replace("say", "")


def test_errors_do_not_tell_the_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    view = replace(_VIEW, source=SqlQuery("env:CRM", "SELECT 1"))
    monkeypatch.delenv("CRM", raising=False)
    with pytest.raises(DataError, match="variable CRM is not set"):
        stage(view, tmp_path / "out")
    for url in ("nonsense:secret@host", "nosuch://me:secret@host/db"):
        monkeypatch.setenv("CRM", url)
        with pytest.raises(DataError, match="profile@1, source: url: ") as raised:
            stage(view, tmp_path / "out")
        assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("query", "said"),
    [("SELECT customer_id FROM rows", "one column 'event'"), ("SELECT * FROM nowhere", "no such table")],
)
def test_query_that_does_not_fit_is_an_error(tmp_path: Path, query: str, said: str) -> None:
    _sqlite(tmp_path / "crm.db", _ROW)
    view = replace(_VIEW, source=SqlQuery(f"sqlite:///{tmp_path / 'crm.db'}", query))
    with pytest.raises((DataError, DefinitionError), match=said):
        stage(view, tmp_path / "out")


def test_rows_are_read_in_chunks(tmp_path: Path) -> None:
    query = (
        "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers LIMIT 150000) SELECT "
        "n AS customer_id, 1000000 AS event, 2000000 AS known, 30 AS age, 0.5 AS score, 'a%s' AS city, "
        "1 AS vip FROM numbers"
    )
    found = _history(replace(_VIEW, source=SqlQuery("sqlite://", query)), tmp_path)
    assert len(found) == 150_000
    assert found[-1] == (150_000, 1_000_000, 2_000_000, 149_999, False, 30, 0.5, "a%s", True)


@pytest.fixture
def typed(tmp_path: Path) -> View:
    """A view of a table whose driver gives times, decimals and booleans, as those of other databases do."""
    sqlite3.register_converter("aware", lambda told: datetime.fromisoformat(told.decode()))
    sqlite3.register_converter("exact", lambda told: Decimal(told.decode()))
    sqlite3.register_converter("truth", lambda told: told == b"1")
    path = tmp_path / "typed.db"
    with closing(sqlite3.connect(path)) as database, database:
        columns = "customer_id, event aware, known aware, age, score exact, city, vip truth"
        database.execute(f"CREATE TABLE rows ({columns})")
    return replace(_VIEW, source=SqlQuery(f"sqlite:///{path}?detect_types=1", "SELECT * FROM rows"))


def _insert(folder: Path, event: str) -> None:
    with closing(sqlite3.connect(folder / "typed.db")) as database, database:
        values = (7, event, "1970-01-01T00:00:02+00:00", 30, "0.50", "Dubai", 1)
        database.execute("INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?)", values)


def test_types_of_a_driver_are_read(typed: View, tmp_path: Path) -> None:
    _insert(tmp_path, "1970-01-01T04:00:01+04:00")
    assert _history(typed, tmp_path) == [(7, 1_000_000, 2_000_000, 0, False, 30, 0.5, "Dubai", True)]


def test_naive_time_of_a_driver_is_an_error(typed: View, tmp_path: Path) -> None:
    _insert(tmp_path, "1970-01-01T04:00:01")
    with pytest.raises(DataError, match=r"row 1, event: expected a time with its time zone, got datetime\."):
        _history(typed, tmp_path)
