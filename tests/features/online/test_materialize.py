"""Materialising: incremental, whatever the chunks, and whole after having been killed."""

import fcntl
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import duckdb
import numpy as np
import pytest

from falaj import Unavailable
from falaj.features import Column, CsvFiles, DataError, Entity, ParquetFiles, View
from falaj.features.online.materialize import Materialized, materialize, materialize_views
from falaj.features.online.store import open_store, open_view
from tests.features.online.fault_proxy import fault_proxy
from tests.features.online.lmdb_state import difference
from tests.features.online.redis_server import RedisServer
from tests.features.oracle import EXPIRED, MISSING, PRESENT, Answer, Row, Rules, answer

_STATUS = {0: MISSING, 1: EXPIRED, 2: PRESENT}
_MAP_BYTES = 256 << 20
NewStore = Callable[[str], str]
CUSTOMER = Entity("customer", {"customer_id": "INT64"})


def _view(glob: Path, kind: type[ParquetFiles] | type[CsvFiles] = ParquetFiles, **more: object) -> View:
    return View(
        name="profile",
        version=1,
        entity=CUSTOMER,
        source=kind(str(glob)),
        columns=(Column("value", "FP64"),),
        event_time="event_us",
        known_time="known_us",
        deleted="gone",
        **more,  # type: ignore[arg-type]
    )


def _write_parquet(path: Path, rows: list[Row]) -> None:
    with duckdb.connect() as connection:
        connection.execute(
            "CREATE TABLE t (customer_id BIGINT, event_us BIGINT, known_us BIGINT, value DOUBLE, "
            "gone BOOLEAN)"
        )
        for row in rows:
            values = [row.key, row.event, row.known, row.value, row.deleted]
            connection.execute("INSERT INTO t VALUES (?, ?, ?, ?, ?)", values)
        connection.execute(f"COPY t TO '{path}'")


def _rows(seed: int, count: int, first: int = 0) -> list[Row]:
    """Rows in the order of their sequence, many of them ties."""
    draw = random.Random(seed)
    return [
        Row(
            draw.choice([None, *range(6)]),
            draw.randrange(50),
            draw.randrange(50),
            draw.choice([None, draw.random()]),
            sequence=first + number,
            deleted=draw.random() < 0.1,
        )
        for number in range(count)
    ]


def _run(
    view: View,
    store: str,
    scratch: Path,
    until: int | None = None,
    chunk: int | None = None,
    write: int | None = None,
) -> Materialized:
    scratch.mkdir()
    online = open_view(open_store(store, _MAP_BYTES), view)
    with duckdb.connect() as connection:
        kept = scratch.with_name("quarantine")
        return materialize(
            view, online, connection, scratch, kept, until_us=until, chunk_rows=chunk, write_rows=write
        )


def _read(view: View, store: str, at: int) -> list[Answer]:
    online = open_view(open_store(store, _MAP_BYTES), view)
    status, (values,), (nulls,) = online.read([np.arange(6)], at)
    return [
        (_STATUS[of], None if null else value)
        for of, value, null in zip(status.tolist(), values.tolist(), nulls.tolist(), strict=True)
    ]


def _expected(rows: list[Row], at: int, until: int | None = None) -> list[Answer]:
    return [answer(rows, key, at, Rules(known_until=until)) for key in range(6)]


@pytest.mark.parametrize(("chunk", "write"), [(None, None), (7, None), (None, 1), (60, 20), (200, 150)])
def test_store_has_what_the_oracle_says_when_a_source_was_read_at_once(
    new_store: NewStore, tmp_path: Path, chunk: int | None, write: int | None
) -> None:
    rows = _rows(1, 300)
    _write_parquet(tmp_path / "a.parquet", rows[:200])
    _write_parquet(tmp_path / "b.parquet", rows[200:])
    view = _view(tmp_path / "*.parquet")
    done = _run(view, new_store("store"), tmp_path / "scratch", chunk=chunk, write=write)
    assert done.rows == sum(row.key is not None for row in rows)
    assert done.reasons == {"null key: customer_id": sum(row.key is None for row in rows)}
    assert _read(view, new_store("store"), 100) == _expected(rows, 100)


@pytest.mark.parametrize("delay", [0, 7])
@pytest.mark.parametrize("until", [5, 25, 60])
def test_bytes_are_the_same_when_rows_that_cannot_answer_are_left_out_or_not(
    tmp_path: Path, until: int, delay: int
) -> None:
    rows = _rows(8, 500)
    _write_parquet(tmp_path / "a.parquet", rows[:300])
    view = _view(tmp_path / "*.parquet", source_delay=timedelta(microseconds=delay))
    stores = {chunk: tmp_path / f"store{chunk}" for chunk in (2, 1000)}
    for chunk, store in stores.items():  # of 1000 rows a chunk there is one, and all rows are in it
        _run(view, f"lmdb://{store}", tmp_path / f"s{chunk}", until=until, chunk=chunk)
    assert difference(*stores.values()) is None
    _write_parquet(tmp_path / "b.parquet", rows[300:])
    for chunk, store in stores.items():
        _run(view, f"lmdb://{store}", tmp_path / f"t{chunk}", until=until + 9, chunk=chunk)
    assert difference(*stores.values()) is None


def test_only_what_is_new_is_read_when_time_goes_on_and_files_come(
    new_store: NewStore, tmp_path: Path
) -> None:
    rows = _rows(2, 400)
    _write_parquet(tmp_path / "a.parquet", rows[:200])
    view, store = _view(tmp_path / "*.parquet"), new_store("store")
    first = _run(view, store, tmp_path / "s1", until=20)
    assert first.rows == sum(row.key is not None and row.known <= 20 for row in rows[:200])
    assert _read(view, store, 60) == _expected(rows[:200], 60, until=20)

    second = _run(view, store, tmp_path / "s2", until=30)
    assert second.rows == sum(row.key is not None and 20 < row.known <= 30 for row in rows[:200])

    # A file that comes late has rows that were known before all that was read.
    _write_parquet(tmp_path / "b.parquet", rows[200:])
    third = _run(view, store, tmp_path / "s3", until=40)
    from_old = sum(row.key is not None and 30 < row.known <= 40 for row in rows[:200])
    assert third.rows == from_old + sum(row.key is not None and row.known <= 40 for row in rows[200:])
    assert _read(view, store, 60) == _expected(rows, 60, until=40)

    assert _run(view, store, tmp_path / "s4", until=40).rows == 0


def test_csv_files_are_read_in_their_order_too(new_store: NewStore, tmp_path: Path) -> None:
    head = "customer_id,event_us,known_us,value,gone\n"
    for name, value in (("a", 1.5), ("b", 2.5)):
        line = f"3,1970-01-01T00:00:10Z,1970-01-01T00:00:10Z,{value},false\n"
        (tmp_path / f"{name}.csv").write_text(head + line)
    view = _view(tmp_path / "*.csv", CsvFiles)
    _run(view, new_store("store"), tmp_path / "scratch")
    assert _read(view, new_store("store"), 20_000_000)[3] == (PRESENT, 2.5)


def test_files_that_are_put_before_others_are_refused_where_their_order_decides(
    new_store: NewStore, tmp_path: Path
) -> None:
    _write_parquet(tmp_path / "b.parquet", _rows(3, 5))
    view = _view(tmp_path / "*.parquet")
    _run(view, new_store("store"), tmp_path / "s1")
    _write_parquet(tmp_path / "a.parquet", _rows(4, 5))
    with pytest.raises(DataError, match=r"a\.parquet does not stand where it did.*--rebuild"):
        _run(view, new_store("store"), tmp_path / "s2")


def test_a_source_without_files_is_an_error(new_store: NewStore, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file matches"):
        _run(_view(tmp_path / "*.parquet"), new_store("store"), tmp_path / "scratch")


def test_what_a_killed_run_left_is_removed_and_two_runs_do_not_mix(
    new_store: NewStore, tmp_path: Path
) -> None:
    _write_parquet(tmp_path / "a.parquet", _rows(6, 5))
    store = open_store(new_store("store"), _MAP_BYTES)
    view = _view(tmp_path / "*.parquet")
    left = tmp_path / ".materialize" / "0"
    left.mkdir(parents=True)
    (left / "data.parquet").write_bytes(b"left")
    with (tmp_path / ".materialize.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DataError, match="another run of materialize is under way"):
            materialize_views([view], store, tmp_path)
    assert left.exists()
    (done,) = materialize_views([view], store, tmp_path)
    assert done.rows == sum(row.key is not None for row in _rows(6, 5))
    assert not left.parent.exists()


_CHILD = """
import sys, pathlib, duckdb
sys.path.insert(0, sys.argv[4])
from tests.features.online.test_materialize import _view, _MAP_BYTES
from falaj.features.online.materialize import materialize
from falaj.features.online.store import open_store, open_view
store, source, scratch = sys.argv[2], *map(pathlib.Path, sys.argv[1:4:2])
scratch.mkdir()
view = _view(source)
online = open_view(open_store(store, _MAP_BYTES), view)
print("begun", flush=True)
with duckdb.connect() as connection:
    kept = scratch.with_name("quarantine")
    tell = lambda share: print("chunk", flush=True)
    done = materialize(view, online, connection, scratch, kept, until_us=10**15, chunk_rows=1000, tell=tell)
print("done", done.resumed, flush=True)
"""


def test_state_is_the_same_when_runs_were_killed(new_store: NewStore, tmp_path: Path) -> None:
    """kill -9 after some chunks of a run or in the middle of one, until a run comes to its end."""
    source = tmp_path / "a.parquet"
    with duckdb.connect() as connection:
        connection.execute(
            "COPY (SELECT CASE WHEN i % 100 > 0 THEN (hash(i) % 80_000)::BIGINT END AS customer_id, "
            "(hash(i * 3) % 900)::BIGINT AS event_us, "
            "(hash(i * 7) % 900)::BIGINT AS known_us, i::DOUBLE AS value, hash(i * 5) % 20 = 0 AS gone "
            f"FROM range(100_000) AS t(i)) TO '{source}'"
        )
    root = str(Path(__file__).resolve().parents[3])

    def start(number: int) -> subprocess.Popen[str]:
        arguments = [str(source), new_store("killed"), str(tmp_path / f"scratch{number}"), root]
        return subprocess.Popen(
            [sys.executable, "-c", _CHILD, *arguments], stdout=subprocess.PIPE, text=True, cwd=root
        )

    draw, killed, ended = random.Random(5), 0, ""
    while not ended:
        with start(killed) as child:
            assert child.stdout is not None
            said = [child.stdout.readline() for _ in range(1 + draw.randrange(8))]
            assert said[0] == "begun\n"
            if killed < 6:
                time.sleep(draw.uniform(0.0, 0.01))
                os.kill(child.pid, signal.SIGKILL)
            ended = next((line for line in [*said, *child.stdout] if line.startswith("done")), "")
        killed += not ended
    assert killed == 6
    assert ended == "done True\n"
    view = _view(source)
    (tmp_path / "other").mkdir()
    _run(view, new_store("undisturbed"), tmp_path / "other" / "scratch", until=10**15)

    def state(name: str) -> list[list[object]]:
        online = open_view(open_store(new_store(name), _MAP_BYTES), view)
        status, columns, nulls = online.read([np.arange(80_000)], 10**6)
        return [status.tolist(), columns[0].tolist(), nulls[0].tolist()]

    assert state("killed") == state("undisturbed")
    with duckdb.connect() as connection:
        rows = f"FROM read_parquet('{tmp_path / 'quarantine' / 'profile@1' / '*.parquet'}')"
        told = connection.execute(f"SELECT count(*), count(DISTINCT number), min(reason) {rows}").fetchone()
    assert told == (1000, 1000, "null key: customer_id")


def test_state_is_the_same_when_the_server_was_lost_again_and_again(
    redis: RedisServer, tmp_path: Path
) -> None:
    rows = _rows(7, 600)
    _write_parquet(tmp_path / "a.parquet", rows)
    view = _view(tmp_path / "*.parquet")
    redis.ask("FLUSHALL")
    lost = 0
    with fault_proxy(redis.port) as proxy:
        for number in range(1, 200):
            answers = iter(range(1000))
            proxy.does(lambda answer, last=number, count=answers: [answer] if next(count) < last else [])
            try:
                store = f"redis://127.0.0.1:{proxy.port}/?timeout_ms=20000"
                _run(view, store, tmp_path / f"s{number}", until=40, chunk=60, write=20)
            except Unavailable:
                lost += 1
                continue
            break
    assert lost > 10
    assert _read(view, redis.url, 100) == _expected(rows, 100, until=40)
