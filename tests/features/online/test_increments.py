"""Runs one by one come to what one run does, whatever comes in between: the same store, the same bad rows."""

import os
import random
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from falaj.features import Column, CsvFiles, Entity, SqlQuery, View
from falaj.features.online.materialize import materialize_views
from falaj.features.online.store import open_store, open_view

_MAP_BYTES = 16 << 20
_VIEW = View(
    name="profile",
    version=1,
    entity=Entity("customer", {"id": "INT64"}),
    source=CsvFiles("unused"),
    columns=(Column("age", "INT8", minimum=0),),
    event_time="event",
    known_time="known",
)


def _row(draw: random.Random) -> tuple[object, ...]:
    def time(wrong: str) -> str:
        return f"1970-01-01T00:00:{draw.randrange(60):02}Z" if draw.random() < 0.95 else wrong

    return draw.choice([1, 2, 3, 4, ""]), time("soon"), time(""), draw.choice([1, 2, 3, -1, 300, ""])


class _Csv:
    """Files to which rows are added, and new files."""

    def __init__(self, folder: Path, draw: random.Random) -> None:
        self._folder, self._draw, self._files, self._changes = folder, draw, 0, 0
        self.view = replace(_VIEW, source=CsvFiles(str(folder / "*.csv")))

    def add(self, rows: list[tuple[object, ...]]) -> None:
        if not self._files or self._draw.random() < 0.6:
            self._files += 1
        path = self._folder / f"{self._files:03}.csv"
        head = "" if path.exists() else "id,event,known,age\n"
        with path.open("a") as file:
            file.write(head + "".join(",".join(map(str, row)) + "\n" for row in rows))
        self._changes += 1
        os.utime(path, ns=(self._changes, self._changes))


class _Sql:
    """A table to which rows are added, some of them later than they say."""

    def __init__(self, folder: Path, draw: random.Random) -> None:
        self._path = folder / "crm.db"
        query = SqlQuery(f"sqlite:///{self._path}", "SELECT * FROM rows ORDER BY number")
        self.view = replace(_VIEW, source=query, sequence="number")
        with closing(sqlite3.connect(self._path)) as database, database:
            database.execute("CREATE TABLE rows (id, event, known, age, number INTEGER PRIMARY KEY)")

    def add(self, rows: list[tuple[object, ...]]) -> None:
        with closing(sqlite3.connect(self._path)) as database, database:
            database.executemany("INSERT INTO rows (id, event, known, age) VALUES (?, ?, ?, ?)", rows)


def _run(view: View, folder: Path, until: int) -> None:
    folder.mkdir(exist_ok=True)
    store = open_store(f"lmdb://{folder / 'store'}", _MAP_BYTES)
    materialize_views([view], store, folder, until_us=until * 10**6)


def _state(view: View, folder: Path) -> list[Any]:
    online = open_view(open_store(f"lmdb://{folder / 'store'}", _MAP_BYTES), view)
    status, (ages,), (nulls,) = online.read([np.arange(5)], 10**9)
    return [status.tolist(), ages.tolist(), nulls.tolist()]


def _kept(folder: Path) -> list[tuple[Any, ...]]:
    files = folder / "quarantine" / "profile@1"
    if not files.is_dir():
        return []
    with duckdb.connect() as connection:
        rows = f"SELECT source, reason, raw FROM read_parquet('{files}/*.parquet') ORDER BY ALL"
        return connection.execute(rows).fetchall()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("kind", "unique"), [(_Csv, False), (_Csv, True), (_Sql, False)])
def test_runs_come_to_what_one_run_does(
    tmp_path: Path, kind: type[_Csv | _Sql], unique: bool, seed: int
) -> None:
    draw, until = random.Random(seed), 0
    source = kind(tmp_path, draw)
    view = replace(source.view, unique=unique)
    for _ in range(draw.randrange(2, 6)):
        source.add([_row(draw) for _ in range(draw.randrange(25))])
        until = min(70, until + draw.randrange(30))
        _run(view, tmp_path / "one by one", until)
    _run(view, tmp_path / "at once", until)
    assert _state(view, tmp_path / "one by one") == _state(view, tmp_path / "at once")
    assert _kept(tmp_path / "one by one") == _kept(tmp_path / "at once")
