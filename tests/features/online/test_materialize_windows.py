"""Materialising events of windows: each counts once, with an id or without, whatever happens meanwhile."""

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from falaj.features import Aggregate, Column, DataError, Entity, ParquetFiles, View
from falaj.features.offline.export import export
from falaj.features.offline.spine import Spine
from falaj.features.online.cursor import Cursor, Going, Read, cursor_of, files_now
from falaj.features.online.materialize import Materialized, materialize
from falaj.features.online.store import open_view
from tests.features.online.store_engine import opened

_ENTITIES = 400
_FUNCTIONS = ("count", "sum", "mean", "std", "min", "max", "last", "distinct")
_SECOND = 1_000_000
_END = 3600 * _SECOND


def spending(source: Path | str, event_id: str | None = None, **changes: Any) -> View:
    """Return a view of events with or without ids."""
    amount, shop = Column("amount", "FP64"), Column("shop", "BYTES")
    view = View(
        name="spending",
        version=1,
        entity=Entity("customer", {"customer_id": "INT64"}),
        source=ParquetFiles(str(source)),
        aggregates=(
            *(Aggregate(f"{of}_5m", of, amount, timedelta(minutes=5)) for of in _FUNCTIONS),
            *(Aggregate(f"{of}_1h", of, amount, timedelta(hours=1)) for of in _FUNCTIONS),
            Aggregate("shops", "distinct", shop, timedelta(minutes=30)),
            Aggregate("shop", "last", shop, timedelta(minutes=30)),
        ),
        event_time="ordered_us",
        known_time="loaded_us",
        source_delay=timedelta(seconds=3),
        event_id=event_id,
    )
    return replace(view, **changes)


def _orders(path: Path, first: int, count: int, known: str = "2000") -> None:
    """Write orders of an hour, some of them null, a fifth of them twice."""
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (SELECT (hash(i) % {_ENTITIES})::BIGINT AS customer_id, o.* "
            f"FROM range({first}, {first + count}) AS t(n), LATERAL (SELECT n - n % 5 // 4 AS i), "
            "LATERAL (SELECT i::BIGINT AS order_id, "
            f"(hash(i * 3) % 3600 * {_SECOND})::BIGINT AS ordered_us, "
            f"ordered_us + (hash(n * 7) % {known} * {_SECOND})::BIGINT AS loaded_us, "
            "CASE WHEN hash(i * 11) % 9 > 0 THEN (hash(i * 5) % 1000) / 7 END AS amount, "
            f"'shop ' || hash(i * 13) % 50 AS shop) AS o) TO '{path}'"
        )


def _run(
    view: View, store: str, scratch: Path, until: int | None = None, chunk: int | None = None
) -> Materialized:
    scratch.mkdir()
    online = open_view(opened(store), view)
    with duckdb.connect() as connection:
        kept = scratch.parent / "quarantine"
        return materialize(view, online, connection, scratch, kept, until_us=until, chunk_rows=chunk)


def _state(view: View, store: str, at: int) -> list[tuple[str, list[Any]]]:
    online = open_view(opened(store), view)
    _, columns, nulls = online.read([np.arange(_ENTITIES)], at)
    return [
        (of.name, [None if null else value for value, null in zip(got.tolist(), nots.tolist(), strict=True)])
        for of, got, nots in zip(view.features, columns, nulls, strict=True)
    ]


def _exported(view: View, folder: Path, at: int) -> list[tuple[str, list[Any]]]:
    (folder / "sets").mkdir(exist_ok=True)
    out = folder / "sets" / f"{at}.parquet"
    spine = f"SELECT i AS customer_id, {at} AS spine_ts FROM range({_ENTITIES}) AS t(i) ORDER BY i"
    export(Spine(spine), [view], out)
    with duckdb.connect() as connection:
        columns = ", ".join(f"spending__{of.name}" for of in view.features)
        found = connection.execute(f"SELECT {columns} FROM '{out}'").fetchall()
    return [(of.name, [row[i] for row in found]) for i, of in enumerate(view.features)]


@pytest.mark.parametrize("event_id", [None, "order_id"])
@pytest.mark.parametrize("chunk", [None, 300])
def test_store_has_what_the_export_has_when_files_come_and_time_goes_on(
    empty_url: str, tmp_path: Path, event_id: str | None, chunk: int | None
) -> None:
    view, store = spending(tmp_path / "*.parquet", event_id), empty_url
    _orders(tmp_path / "a.parquet", 0, 3000)
    first = _run(view, store, tmp_path / "s1", until=1000 * _SECOND, chunk=chunk)
    _run(view, store, tmp_path / "s2", until=2000 * _SECOND, chunk=chunk)
    _orders(tmp_path / "b.parquet", 2990, 2000)  # its first order is there already, with ids
    third = _run(view, store, tmp_path / "s3", until=_END + 2000 * _SECOND, chunk=chunk)
    assert first.rows > 0
    assert third.rows > 2000
    assert _run(view, store, tmp_path / "s4", until=_END + 2000 * _SECOND).rows == 0
    for at in (_END + 2000 * _SECOND, _END + 3000 * _SECOND):
        expected = _exported(view, tmp_path, at)
        assert repr(_state(view, store, at)) == repr(expected)
        assert any(any(values) for _, values in expected)


def test_run_that_was_ended_is_done_first_when_another_is_wanted_and_events_have_no_ids(
    tmp_path: Path,
) -> None:
    view, store = spending(tmp_path / "*.parquet"), f"lmdb://{tmp_path / 'store'}"
    _orders(tmp_path / "a.parquet", 0, 2000)
    files = files_now(view)
    _ended(view, store, tmp_path, until=1500 * _SECOND)
    _orders(tmp_path / "b.parquet", 2000, 2000)
    done = _run(view, store, tmp_path / "s2", until=_END + 2000 * _SECOND, chunk=100)
    assert done.resumed
    assert done.rows > 3000
    cursor = cursor_of(open_view(opened(store), view).cursor())
    assert cursor.going is None
    assert cursor.read.files[:1] == files
    at = _END + 2000 * _SECOND
    assert repr(_state(view, store, at)) == repr(_exported(view, tmp_path, at))


def _ended(view: View, store: str, tmp_path: Path, until: int) -> None:
    """Leave a run behind that was ended after some of its chunks."""

    class Ended(Exception):
        pass

    def tell(share: float) -> None:
        if share > 0.4:
            raise Ended

    scratch = tmp_path / "ended"
    scratch.mkdir()
    online = open_view(opened(store), view)
    kept = tmp_path / "quarantine"
    with duckdb.connect() as connection, pytest.raises(Ended):
        materialize(view, online, connection, scratch, kept, until_us=until, chunk_rows=100, tell=tell)


def test_events_without_ids_are_refused_when_they_would_count_twice(tmp_path: Path) -> None:
    source, store = tmp_path / "a.parquet", f"lmdb://{tmp_path / 'store'}"
    view = spending(tmp_path / "*.parquet", sequence="order_id")
    _orders(source, 0, 500)
    _run(view, store, tmp_path / "s1", until=_END)
    os.utime(source, ns=(1, 1))
    with pytest.raises(
        DataError, match=r"a\.parquet has changed since it was read, so events would count twice"
    ):
        _run(view, store, tmp_path / "s2")
    assert _run(spending(tmp_path / "*.parquet", "order_id", version=2), store, tmp_path / "s3").rows > 0
    source.unlink()
    _orders(tmp_path / "b.parquet", 500, 500)
    assert _run(view, store, tmp_path / "s4", until=_END).rows > 0  # what was read may go

    _orders(source, 0, 500)
    twice = spending(source, version=3, sql="SELECT * FROM source")
    _run(twice, store, tmp_path / "s5", until=_END)
    assert _run(twice, store, tmp_path / "s6", until=_END).rows == 0
    twice = replace(twice, source=ParquetFiles(str(tmp_path / "*.parquet")))
    online = open_view(opened(f"lmdb://{tmp_path / 'other'}"), twice)
    with duckdb.connect() as connection:
        materialize(twice, online, connection, tmp_path, tmp_path / "kept", until_us=_END)
        _orders(tmp_path / "c.parquet", 1000, 500)
        with pytest.raises(DataError, match="`sql` may make rows of old files again"):
            materialize(twice, online, connection, tmp_path, tmp_path / "kept", until_us=_END)


def test_run_that_was_ended_is_refused_when_its_files_or_duckdb_are_others(tmp_path: Path) -> None:
    view, store = spending(tmp_path / "*.parquet"), f"lmdb://{tmp_path / 'store'}"
    _orders(tmp_path / "a.parquet", 0, 500)
    online = open_view(opened(store), view)
    read = Read(files_now(view), _END)
    for going in (
        Going(read, chunks=2, done=1, divided_by="another"),
        Going(replace(read, files=(replace(read.files[0], path="gone"),)), 2, 1, duckdb.__version__),
    ):
        none: Any = np.zeros(0, np.int64)
        empty = [np.zeros(0), np.zeros(0, object)]
        columns = [[none], none, none, none, np.zeros(0, bool), empty, [None, None], 0]
        online.write(*columns, Cursor(going=going).to_bytes())
        with pytest.raises(DataError, match="a run was ended midway, and its files or DuckDB are others now"):
            _run(view, store, tmp_path / going.divided_by)


_CHILD = """
import sys, pathlib, duckdb
sys.path.insert(0, sys.argv[4])
from tests.features.online.store_engine import opened
from tests.features.online.test_materialize_windows import spending
from falaj.features.online.materialize import materialize
from falaj.features.online.store import open_view
source, store, scratch = pathlib.Path(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3])
scratch.mkdir()
view = spending(source)
online = open_view(opened(store), view)
with duckdb.connect() as connection:
    tell = lambda share: print(share, flush=True)
    kept = scratch.parent / "quarantine"
    materialize(view, online, connection, scratch, kept, until_us=6 * 10**9, chunk_rows=1000, tell=tell)
"""


def test_events_without_ids_count_once_when_runs_were_killed(tmp_path: Path) -> None:
    """kill -9 at moments of a run that are spread over it, until one comes to its end."""
    source = tmp_path / "a.parquet"
    _orders(source, 0, 40_000)
    root = str(Path(__file__).resolve().parents[3])
    draw, seen = random.Random(5), [0.0]
    while seen[-1] < 1.0:
        arguments = [
            str(source),
            f"lmdb://{tmp_path / 'killed'}",
            str(tmp_path / f"scratch{len(seen)}"),
            root,
        ]
        command = [sys.executable, "-c", _CHILD, *arguments]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as child:
            assert child.stdout is not None
            said = [float(child.stdout.readline()) for _ in range(draw.randrange(1, 9)) if seen[-1] < 0.7]
            time.sleep(draw.uniform(0.0, 0.02))
            if said:
                os.kill(child.pid, signal.SIGKILL)
            said += [float(line) for line in child.stdout]
        assert said[0] > seen[-1]  # what was in was not written again
        seen.append(said[-1])
    assert len(seen) > 4
    view = spending(source)
    killed, undisturbed = f"lmdb://{tmp_path / 'killed'}", f"lmdb://{tmp_path / 'undisturbed'}"
    _run(view, undisturbed, tmp_path / "scratch", until=6 * 10**9)
    at = 6 * 10**9
    assert repr(_state(view, killed, at)) == repr(_state(view, undisturbed, at))
