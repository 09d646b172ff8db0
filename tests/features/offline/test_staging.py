"""Queries of real databases, SQLite and PostgreSQL, staged and exported."""

import os
import pwd
import shutil
import socket
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest
from sqlalchemy import create_engine, text

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


def _programs() -> Path:
    found = shutil.which("initdb")
    there = [Path(found)] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    assert there, "no initdb: `make toolchain` installs postgresql"
    return there[-1].parent


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The URL of a cluster of its own, on a free port of the loopback."""
    # PostgreSQL does not run as root; Debian's package makes a user for it.
    user = "postgres" if os.getuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="falaj-postgres-") as folder:
        if user is not None:
            os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]

        def run(*command: str) -> None:
            program, *arguments = command
            subprocess.run(
                [str(_programs() / program), "-D", f"{folder}/data", *arguments],
                user=user,
                cwd=folder,
                stdout=subprocess.DEVNULL,
                check=True,
                timeout=60,
            )

        run("initdb", "-A", "trust", "-U", "falaj", "--no-sync")
        options = f"-p {port} -h 127.0.0.1 -k {folder} -F"
        run("pg_ctl", "start", "-w", "-o", options, "-l", f"{folder}/log")
        try:
            yield f"postgresql+psycopg://falaj@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "stop", "-m", "immediate")


def test_rows_of_postgresql_are_a_history_read_in_chunks(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRM", postgres)
    rows = (
        "SELECT n::bigint AS customer_id, timestamptz '1970-01-01 04:00:01+04' AS event, 2000000 AS known, "
        "30::smallint AS age, 0.5::numeric AS score, 'a%s'::text AS city, true AS vip "
        "FROM generate_series(1, 150000) AS n ORDER BY n"
    )
    view = replace(_VIEW, source=SqlQuery("env:CRM", rows))
    found = _history(view, tmp_path)
    assert len(found) == 150_000
    assert found[-1] == (150_000, 1_000_000, 2_000_000, 149_999, False, 30, 0.5, "a%s", True)


def test_naive_time_of_postgresql_is_an_error(postgres: str, tmp_path: Path) -> None:
    engine = create_engine(postgres)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE naive AS SELECT timestamp '2026-01-31 08:00' AS event"))
    engine.dispose()
    query = (
        "SELECT 1 AS customer_id, event, 1 AS known, 1 AS age, 1 AS score, '' AS city, true AS vip FROM naive"
    )
    with pytest.raises(DataError, match="row 1, event: expected a time with its time zone"):
        stage(replace(_VIEW, source=SqlQuery(postgres, query)), tmp_path / "out")
