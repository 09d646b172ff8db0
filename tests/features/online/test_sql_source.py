"""A query of a real database is materialised as files are: what has arrived since, and its bad rows apart."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from falaj._core import OnlineView
from falaj.features import Column, DataError, Entity, SqlQuery, View
from falaj.features.online.materialize import Materialized, materialize
from falaj.features.online.store import open_store, open_view

_VIEW = View(
    name="profile",
    version=1,
    entity=Entity("customer", {"id": "INT64"}),
    source=SqlQuery("env:CRM", "SELECT * FROM profiles ORDER BY rowid"),
    columns=(Column("age", "INT8", minimum=0),),
    event_time="event",
    known_time="known",
)
_NUMBERED = replace(_VIEW, sequence="number")


@pytest.fixture
def crm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "crm.db"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE profiles (id, event, known, age, number INTEGER PRIMARY KEY)")
    monkeypatch.setenv("CRM", f"sqlite:///{path}")
    return path


def _change(crm: Path, sql: str, *rows: Sequence[object]) -> None:
    with closing(sqlite3.connect(crm)) as database, database:
        database.executemany(sql, rows or [()])


def _add(crm: Path, *rows: tuple[object, object, object, object]) -> None:
    _change(crm, "INSERT INTO profiles (id, event, known, age) VALUES (?, ?, ?, ?)", *rows)


def _open(view: View, folder: Path) -> OnlineView:
    return open_view(open_store(f"lmdb://{folder / 'store'}", 64 << 20), view)


def _run(view: View, folder: Path, until: int | None, **more: Any) -> Materialized:
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    with duckdb.connect() as connection:
        return materialize(
            view, _open(view, folder), connection, scratch, folder / "bad", until_us=until, **more
        )


def _ages(view: View, folder: Path, *keys: int) -> list[int | None]:
    status, (ages,), _ = _open(view, folder).read([np.array(keys)], 10**6)
    return [int(age) if of == 2 else None for of, age in zip(status, ages, strict=True)]


def test_what_has_arrived_since_is_written(crm: Path, tmp_path: Path) -> None:
    _add(crm, (1, 1, 10, 30), (2, 1, 10, 40), (3, 1, 30, 50))
    assert _run(_VIEW, tmp_path, 20).rows == 2
    assert _ages(_VIEW, tmp_path, 1, 2, 3) == [30, 40, None]
    _add(crm, (1, 2, 25, 31), (4, 1, 60, 60))
    assert _run(_VIEW, tmp_path, 50).rows == 2
    assert _ages(_VIEW, tmp_path, 1, 2, 3, 4) == [31, 40, 50, None]
    assert _run(_VIEW, tmp_path, 50).rows == 0


def test_row_that_arrives_while_it_is_read_is_for_the_next_run(crm: Path, tmp_path: Path) -> None:
    now = "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) * 1000 + 999"
    _add(crm, (1, 1, 1, 30))
    source = SqlQuery("env:CRM", f"SELECT id, event, {now} AS known, age FROM profiles")
    first = _run(replace(_VIEW, source=source), tmp_path, None)
    assert first.rows == 0
    assert first.until_us > 1_700_000_000_000_000


@pytest.mark.parametrize("view", [_VIEW, _NUMBERED])
def test_row_that_comes_later_than_it_says_is_written_too(crm: Path, tmp_path: Path, view: View) -> None:
    _add(crm, (1, 1, 10, 30), (2, 1, 10, 40))
    _run(view, tmp_path, 20)
    _add(crm, (3, 1, 10, 50))
    assert _run(view, tmp_path, 30).rows == 3
    assert _ages(view, tmp_path, 1, 2, 3) == [30, 40, 50]


def test_ties_need_a_sequence_when_older_rows_change(crm: Path, tmp_path: Path) -> None:
    _add(crm, (1, 1, 10, 30), (2, 1, 10, 40), (2, 1, 10, 41))
    _run(_VIEW, tmp_path, 20)
    _add(crm, (2, 3, 30, 42))
    assert _run(_VIEW, tmp_path, 30).rows == 1  # older ones are as they were
    _change(crm, "DELETE FROM profiles WHERE id = 1")
    with pytest.raises(
        DataError, match=r"profile@1, source: its rows of before .* `sequence`, or use --rebuild"
    ):
        _run(_VIEW, tmp_path, 40)


def test_bad_rows_are_kept_once_and_tell_no_url(crm: Path, tmp_path: Path) -> None:
    _add(crm, (1, 1, 10, 30), ("one", 1, 10, 30), (2, "2026-01-01 00:00:00", 10, 30), (3, 1, "soon", 2.5))
    assert _run(_NUMBERED, tmp_path, 20).reasons == {
        "naive time: event": 1,
        "unreadable time: known": 1,
        "wrong type: id": 1,
    }
    _add(crm, (4, 1, 10, -1))  # late, so that all rows are read again
    assert _run(_NUMBERED, tmp_path, 30).reasons == {"below minimum: age": 1}
    with duckdb.connect() as connection:
        rows = f"FROM read_parquet('{tmp_path}/bad/profile@1/*.parquet') ORDER BY number"
        kept = connection.execute(f"SELECT source, number, raw {rows}").fetchall()
    assert [row[:2] for row in kept] == [("env:CRM", number) for number in (2, 3, 4, 5)]
    assert kept[2][2] == '{"id":"3","event":"1","known":"soon","number":"4","age":"2.5"}'


def test_run_that_was_ended_goes_on(crm: Path, tmp_path: Path) -> None:
    _add(crm, *((key, 1, 10, key % 90) for key in range(1000)), (None, 1, 10, 1))

    def end(share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _run(_VIEW, tmp_path, 20, chunk_rows=100, tell=end)
    (tmp_path / "scratch").rename(tmp_path / "left")
    done = _run(_VIEW, tmp_path, 20, chunk_rows=100)
    assert (done.resumed, done.rows, done.bad) == (True, 1000, 1)
    assert _ages(_VIEW, tmp_path, 7, 95, 999) == [7, 5, 9]
    assert len(list((tmp_path / "bad" / "profile@1").iterdir())) == 1


def test_run_begins_again_when_the_rows_are_not_those_of_the_run_that_was_ended(
    crm: Path, tmp_path: Path
) -> None:
    _add(crm, *((key, 1, 10, 1) for key in range(1000)))

    def end(share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _run(_NUMBERED, tmp_path, 20, chunk_rows=100, tell=end)
    (tmp_path / "scratch").rename(tmp_path / "left")
    _add(crm, (7, 2, 10, 77))
    done = _run(_NUMBERED, tmp_path, 20, chunk_rows=100)
    assert (done.resumed, done.rows) == (False, 1001)
    assert _ages(_NUMBERED, tmp_path, 7, 8) == [77, 1]
