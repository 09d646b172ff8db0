"""Events of windows are checked as other rows are: bad ones are kept apart, windows are of the good ones."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from falaj._core import OnlineView
from falaj.features import (
    Aggregate,
    Column,
    CsvFiles,
    DataError,
    DefinitionError,
    Entity,
    ParquetFiles,
    SqlQuery,
    View,
)
from falaj.features.checks import check
from falaj.features.offline.export import export
from falaj.features.offline.spine import Spine
from falaj.features.online.materialize import Materialized, materialize
from falaj.features.online.push import push
from falaj.features.online.store import open_store, open_view
from falaj.features.raw_rows import create_parts

_AMOUNT = Column("amount", "FP64", required=True, minimum=0.0)
_VIEW = View(
    name="spending",
    version=1,
    entity=Entity("customer", {"id": "INT64"}),
    source=CsvFiles("unused"),
    aggregates=(
        Aggregate("orders", "count", None, timedelta(hours=1)),
        Aggregate("spent", "sum", _AMOUNT, timedelta(hours=1)),
        Aggregate("shops", "distinct", Column("shop", "BYTES", one_of=("a", "b")), timedelta(hours=1)),
    ),
    event_time="event",
    known_time="known",
    event_id="number",
)
_AT = 1000 * 10**6
Windows = tuple[int, float, int]


def _line(key: object, known: int, number: object, amount: object, shop: str = "a") -> str:
    at = f"1970-01-01T00:{known // 60:02}:{known % 60:02}Z"
    return f"{key},1970-01-01T00:00:01Z,{at},{number},{amount},{shop}\n"


def _write(folder: Path, name: str, *lines: str) -> View:
    (folder / name).write_text("id,event,known,number,amount,shop\n" + "".join(lines), encoding="utf-8")
    return replace(_VIEW, source=CsvFiles(str(folder / "*.csv")))


def _open(view: View, folder: Path, store: str = "store") -> OnlineView:
    return open_view(open_store(f"lmdb://{folder / store}", 64 << 20), view)


def _run(view: View, folder: Path, until: int, store: str = "store", **more: Any) -> Materialized:
    scratch = folder / f"scratch-{len(list(folder.iterdir()))}"
    scratch.mkdir()
    with duckdb.connect() as connection:
        online = _open(view, folder, store)
        kept = folder / f"bad-{store}"
        return materialize(view, online, connection, scratch, kept, until_us=until * 10**6, **more)


def _windows(view: View, folder: Path, *keys: int, store: str = "store") -> list[Windows]:
    _, columns, _ = _open(view, folder, store).read([np.array(keys)], _AT)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def _exported(view: View, folder: Path, *keys: int) -> tuple[list[Windows], dict[str, int]]:
    out = folder / "set" / "set.parquet"
    out.parent.mkdir(exist_ok=True)
    spine = Spine(f"SELECT unnest({list(keys)})::BIGINT AS id, {_AT}::BIGINT AS spine_ts")
    (told,) = export(spine, [view], out).views
    columns = "spending__orders, coalesce(spending__spent, 0), spending__shops"
    with duckdb.connect() as connection:
        return connection.execute(f"SELECT {columns} FROM '{out}'").fetchall(), told.bad


def test_windows_are_of_the_good_events_in_the_store_and_in_a_training_set(tmp_path: Path) -> None:
    good = [_line(1, 1, "x1", 1.5), _line(1, 2, "x1", 1.5), _line(1, 2, "y1", 2, "b"), _line(1, 2, '""', 2)]
    bad = [_line(1, 3, "x2", -1), _line(1, 3, "x3", ""), _line(2, 3, "x4", 1, "c"), _line(2, 3, "", -1)]
    view = _write(tmp_path, "a.csv", *good, *bad)
    done = _run(view, tmp_path, 500)
    reasons = {"below minimum: amount": 1, "not one of: shop": 1, "null: amount": 1, "null: number": 1}
    assert (done.rows, done.bad, done.reasons) == (4, 4, reasons)
    assert done.quarantined == str(tmp_path / "bad-store" / "spending@1" / "00000001.parquet")
    found = _windows(view, tmp_path, 1, 2)
    assert found == [(3, 5.5, 2), (0, 0.0, 0)]
    assert _exported(view, tmp_path, 1, 2) == (found, reasons)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_event_without_an_id_counts_nowhere_and_no_other_twice_when_a_run_was_ended(
    tmp_path: Path, kind: str
) -> None:
    class Ended(Exception):
        pass

    def end(share: float) -> None:
        raise Ended

    keys = range(50)
    lines = [_line(key % 50, 1 + key % 300, "" if key % 3 == 0 else key, key % 7) for key in range(700)]
    view = _write(tmp_path, "a.csv", *lines)
    if kind == "parquet":
        with duckdb.connect() as connection:
            rows = "SELECT * REPLACE (amount::DOUBLE AS amount, id::BIGINT AS id)"
            text = f"read_csv('{tmp_path}/a.csv', all_varchar = true)"
            connection.execute(f"COPY ({rows} FROM {text}) TO '{tmp_path}/a.parquet'")
        view = replace(view, source=ParquetFiles(str(tmp_path / "a.parquet")))
    with pytest.raises(Ended):
        _run(view, tmp_path, 500, chunk_rows=50, tell=end)
    done = _run(view, tmp_path, 499, chunk_rows=70)  # divided otherwise: all chunks are written again
    bad = {"null: number": 234}
    assert (done.resumed, done.rows, done.reasons) == (False, 466, bad)
    found = _windows(view, tmp_path, *keys)
    assert sum(orders for orders, _, _ in found) == 466
    assert _exported(view, tmp_path, *keys) == (found, bad)
    event = {"id": 1, "event": 10**6, "known": 10**6, "number": None, "amount": 1.0, "shop": "a"}
    complaint = "row 0, 'number': expected the event's id, a whole number or text, got None"
    with pytest.raises(DataError, match=complaint):
        push(open_store(f"lmdb://{tmp_path / 'store'}", 64 << 20), view, event)
    assert _windows(view, tmp_path, *keys) == found


def test_event_ids_are_the_same_when_one_file_has_numbers_and_another_texts(tmp_path: Path) -> None:
    rows = "SELECT 1 AS id, 1000000::BIGINT AS event, 1000000::BIGINT AS known, 1.0 AS amount, 'a' AS shop"
    with duckdb.connect() as connection:
        connection.execute(f"COPY ({rows}, 7::UTINYINT AS number) TO '{tmp_path}/a.parquet'")
        connection.execute(f"COPY ({rows}, '7' AS number) TO '{tmp_path}/b.parquet'")
        connection.execute(f"COPY ({rows}, 1.5::DOUBLE AS number) TO '{tmp_path}/c.other' (FORMAT parquet)")
        connection.execute(f"COPY ({rows}, (2 ** 63)::UBIGINT AS number) TO '{tmp_path}/d.parquet'")
    view = replace(_VIEW, source=ParquetFiles(str(tmp_path / "*.parquet")))
    done = _run(view, tmp_path, 500)
    assert (done.rows, done.reasons) == (2, {"out of range of INT64: number": 1})
    assert _windows(view, tmp_path, 1) == [(1, 1.0, 1)]
    other = replace(view, source=ParquetFiles(str(tmp_path / "c.other")))
    with duckdb.connect() as connection:
        expected = r"event_id: expected whole numbers or text, .*c\.other has DOUBLE in 'number'"
        with pytest.raises(DefinitionError, match=expected):
            check(connection, other, create_parts(connection, other, tmp_path))


def test_run_that_was_ended_is_done_with_its_bad_rows_and_then_the_new_ones(tmp_path: Path) -> None:
    """Events without ids: none is written twice, and each bad row is kept once."""

    class Ended(Exception):
        pass

    def end(share: float) -> None:
        if share > 0.4:
            raise Ended

    lines = [_line(key % 50, 1 + key % 300, "", key % 7 - 1) for key in range(700)]
    view = replace(_write(tmp_path, "a.csv", *lines, "1,short\n"), event_id=None)
    with pytest.raises(Ended):
        _run(view, tmp_path, 200, chunk_rows=50, tell=end)
    _write(tmp_path, "b.csv", *lines[:70], "2,short\n")
    done = _run(view, tmp_path, 500, chunk_rows=50)
    assert (done.resumed, done.rows, done.bad) == (True, 660, 112)
    assert done.reasons == {"below minimum: amount": 110, "broken line: missing columns": 2}
    with duckdb.connect() as connection:
        kept = f"read_parquet('{tmp_path}/bad-store/spending@1/*.parquet')"
        counts = f"SELECT count(*), count(DISTINCT (source, number, raw)) FROM {kept}"
        assert connection.execute(counts).fetchall() == [(112, 112)]
    assert _run(view, tmp_path, 500).rows == 0
    assert _run(view, tmp_path, 500, "other").rows == 660
    keys = range(50)
    assert _windows(view, tmp_path, *keys) == _windows(view, tmp_path, *keys, store="other")


def test_events_of_a_query_count_once_when_it_is_read_again_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "crm.db"
    monkeypatch.setenv("CRM", f"sqlite:///{path}")

    def add(*rows: Sequence[object]) -> None:
        with closing(sqlite3.connect(path)) as database, database:
            database.execute("CREATE TABLE IF NOT EXISTS orders (id, event, known, number, amount, shop)")
            database.executemany("INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?)", rows)

    second = 10**6
    add((1, second, second, 7, 1.5, "a"), (1, second, 2 * second, "7", 1.5, "a"), (2, 1, 1, None, 2.0, "a"))
    query = "SELECT *, rowid AS place FROM orders ORDER BY rowid"
    view = replace(_VIEW, source=SqlQuery("env:CRM", query), sequence="place")
    first = _run(view, tmp_path, 100)
    assert (first.rows, first.reasons) == (2, {"null: number": 1})
    add((1, second, second, "8", 3.0, "b"))  # later than it says
    add((1, second, second, "9", -1.0, "b"))
    done = _run(view, tmp_path, 200)
    assert (done.rows, done.reasons) == (3, {"below minimum: amount": 1})
    found = _windows(view, tmp_path, 1, 2)
    assert found == [(2, 4.5, 2), (0, 0.0, 0)]
    assert _exported(view, tmp_path, 1, 2) == (found, {"below minimum: amount": 1, "null: number": 1})
    add((1, second, second, 2.5, 1.0, "a"))
    assert _run(view, tmp_path, 300).reasons == {"wrong type: number": 1}
    with pytest.raises(DataError, match=r"row 6, number: expected a whole number or text, got 2\.5"):
        _exported(view, tmp_path, 1)
