"""Rows that are pushed are read back, refused whole, and the same as when they are materialised."""

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from falaj.features import Aggregate, Column, DataError, Entity, ParquetFiles, View
from falaj.features.online.lookup import get
from falaj.features.online.materialize import materialize_views
from falaj.features.online.push import Pushed, push
from tests.features.online.store_engine import opened

_CUSTOMER = Entity("customer", {"customer_id": "INT64"})
_AT = "2026-01-01T04:00:00+04:00"
_LATER = 1_767_225_600_000_001  # a µs behind it


def _view(folder: Path | None = None, **more: Any) -> View:
    view = View(
        name="profile",
        version=1,
        entity=_CUSTOMER,
        source=ParquetFiles("none.parquet" if folder is None else str(folder / "*.parquet")),
        columns=(Column("income", "FP32"), Column("visits", "INT8"), Column("city", "BYTES")),
        event_time="at",
        known_time="arrived",
        sequence="number",
        deleted="gone",
    )
    return replace(view, **more)


def _row(key: int = 1, **more: Any) -> dict[str, Any]:
    return {"customer_id": key, "at": _AT, "income": 0.1, "visits": 3, "city": "Dubai", **more}


def _read(url: str, view: View, *keys: int) -> list[dict[str, Any]]:
    (found,) = get(opened(url), [view], {"customer_id": keys})
    return [
        {"status": status, **{name: values[row] for name, values in found.values.items()}}
        for row, status in enumerate(found.status)
    ]


def test_rows_are_read_as_soon_as_they_are_pushed(empty_url: str) -> None:
    view, store = _view(), opened(empty_url)
    assert push(store, view, _row()) == Pushed(1, 1, 0)
    assert push(store, view, [_row(2, income=None, city=None), _row(3)]) == Pushed(2, 2, 0)
    present = {"status": "present", "income": 0.1, "visits": 3, "city": "Dubai"}
    nulls = {**present, "income": None, "city": None}
    assert _read(empty_url, view, 1, 2, 3) == [present, nulls, present]
    gone = {"customer_id": 3, "at": _LATER, "gone": True}
    assert push(store, view, gone).entities == 1
    assert _read(empty_url, view, 3)[0]["status"] == "missing"
    assert push(store, view, []) == Pushed(0, 0, 0)


def test_row_is_not_seen_before_its_delay_is_over(empty_url: str) -> None:
    view = _view(source_delay=timedelta(hours=1))
    push(opened(empty_url), view, [_row(1), _row(2, arrived=_AT)])
    assert [each["status"] for each in _read(empty_url, view, 1, 2)] == ["missing", "present"]


def test_later_push_is_newer_when_the_times_are_the_same(empty_url: str) -> None:
    view = _view(known_time=None, sequence=None, deleted=None)
    for first, second in ((9, 1), (1, 9)):
        push(opened(empty_url), view, _row(first, visits=first))
        push(opened(empty_url), view, _row(first, visits=second))
        push(opened(empty_url), view, [_row(5, visits=first), _row(5, visits=second)])
        read = _read(empty_url, view, first, 5)
        assert [each["visits"] for each in read] == [second, second]


def test_values_of_numpy_and_aware_times_are_taken(empty_url: str) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    row = _row(np.int64(1), at=at, income=np.float32(0.5), visits=np.int8(4), number=np.int16(1))  # type: ignore[arg-type]
    push(opened(empty_url), _view(), row)
    assert _read(empty_url, _view(), 1)[0]["visits"] == 4


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"customer_id": "1"}, "row 1, key 'customer_id': expected INT64, got '1'"),
        ({"visits": 200}, "row 1, column 'visits': expected INT8, -128 to 127, got 200"),
        ({"visits": True}, "row 1, column 'visits': expected INT8, got True"),
        ({"income": 1e300}, "row 1, column 'income': expected FP32, got 1e+300, which it cannot hold"),
        ({"city": 5}, "row 1, column 'city': expected BYTES, got 5"),
        ({"at": "2026-01-01"}, "row 1, 'at': expected a time with its time zone, got 2026-01-01 00:00:00"),
        ({"at": "soon"}, "row 1, 'at': Invalid isoformat string: 'soon'"),
        ({"at": 2**62}, f"row 1, 'at': expected a time of the years 1 to 9999, got {2**62}"),
        ({"arrived": 1.5}, "row 1, 'arrived': expected a time with its offset, or UTC microseconds, got 1.5"),
        ({"number": 2**63}, f"row 1, 'number': expected INT64, {-(2**63)} to {2**63 - 1}, got {2**63}"),
        ({"gone": 1}, "row 1, 'gone': expected BOOL, got 1"),
        (
            {"event_id": 7},
            "row 1: 'event_id' is nothing of view profile@1; it takes customer_id, at, arrived, number, "
            "gone, income, visits, city",
        ),
    ],
)
def test_nothing_is_written_when_a_row_does_not_fit(
    empty_url: str, row: dict[str, object], complaint: str
) -> None:
    with pytest.raises(DataError) as error:
        push(opened(empty_url), _view(), [_row(), _row(**row) if "customer_id" not in row else _row() | row])
    assert str(error.value) == complaint
    assert _read(empty_url, _view(), 1)[0]["status"] == "missing"


def test_row_is_refused_when_it_would_be_kept_apart_from_a_file(empty_url: str) -> None:
    columns = (Column("income", "FP32", maximum=0.5), Column("visits", "INT8", required=True))
    view = _view(columns=columns)
    row = _row(income=0.5)
    del row["city"]
    for change, complaint in (
        ({"income": 0.75}, "row 1, column 'income': got 0.75, which is bad: above maximum: income"),
        ({"visits": None}, "row 1, column 'visits': got None, which is bad: null: visits"),
    ):
        with pytest.raises(DataError) as error:
            push(opened(empty_url), view, [row, row | change])
        assert str(error.value) == complaint
    assert push(opened(empty_url), view, [row, {"customer_id": 2, "at": _AT, "gone": True}]).rows == 2


def test_what_is_left_out_is_no_null(empty_url: str) -> None:
    row = _row()
    del row["city"]
    with pytest.raises(DataError, match="row 0: no 'city'; what is null is said to be null"):
        push(opened(empty_url), _view(), row)
    with pytest.raises(DataError, match="row 0: no 'at'"):
        push(opened(empty_url), _view(), {"customer_id": 1, "gone": True})


def _parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    with duckdb.connect() as connection:
        connection.execute(
            'CREATE TABLE t (customer_id BIGINT, "at" BIGINT, arrived BIGINT, income FLOAT, visits TINYINT, '
            "city VARCHAR, gone BOOLEAN)"
        )
        for row in rows:
            connection.execute("INSERT INTO t VALUES (?, ?, ?, ?, ?, ?, ?)", list(row.values()))
        connection.execute(f"COPY t TO '{path}'")


def _history() -> list[dict[str, Any]]:
    """Rows in the order of their sequence, with ties, corrections and deletions."""
    now = time.time_ns() // 1000
    return [
        {
            "customer_id": place % 7,
            "at": now - 1_000_000 + place // 20 * 10,
            "arrived": now - 900_000 + place // 10 * 10,
            "income": place / 8,
            "visits": None if place % 5 == 0 else place % 100,
            "city": str(place),
            "gone": place % 11 == 0,
        }
        for place in range(200)
    ]


@pytest.mark.parametrize("first", ["pushed", "materialized"])
@pytest.mark.parametrize("known_time", ["arrived", None])
def test_rows_give_the_same_when_pushed_and_materialized(
    new_store: Callable[[str], str], tmp_path: Path, known_time: str | None, first: str
) -> None:
    view, rows = _view(tmp_path, sequence=None, known_time=known_time), _history()
    _parquet(tmp_path / "a.parquet", rows)
    pushed = [{k: v for k, v in row.items() if k != "arrived" or known_time} for row in rows]
    answers = []
    for name, order in (("only", ["materialized"]), ("both", ["pushed", "materialized"])):
        url = new_store(name)
        for how in order if first == "pushed" else order[::-1]:
            if how == "pushed":
                for begin in range(0, len(pushed), 50):
                    push(opened(url), view, pushed[begin : begin + 50])
            else:
                materialize_views([view], opened(url), tmp_path)
        answers.append(_read(url, view, *range(8)))
        (done,) = materialize_views([view], opened(url), tmp_path)
        assert done.rows == 0  # pushes leave the cursor alone
    url = new_store("pushed")
    push(opened(url), view, pushed)
    answers.append(_read(url, view, *range(8)))
    assert answers[0] == answers[1] == answers[2]
    assert {each["status"] for each in answers[0]} >= {"present"}


def _orders(folder: Path, event_id: str | None = "order_id") -> View:
    amount = Column("amount", "FP64")
    return View(
        name="orders",
        version=1,
        entity=_CUSTOMER,
        source=ParquetFiles(str(folder / "*.parquet")),
        aggregates=(
            Aggregate("paid", "sum", amount, timedelta(days=1)),
            Aggregate("orders", "count", None, timedelta(days=1)),
        ),
        event_time="at",
        known_time=None,
        event_id=event_id,
    )


def test_push_tells_what_stays_as_it_was(empty_url: str) -> None:
    store, view = opened(empty_url), _view()
    rows = [_row(key, arrived=_AT, number=1) for key in (1, 2, 2)]
    assert push(store, view, rows) == Pushed(3, 2, 0)
    assert push(store, view, rows) == Pushed(3, 0, 2)
    older = {**rows[0], "at": _LATER - 10, "visits": 7}
    assert push(store, view, [older, {**rows[1], "number": 2}]) == Pushed(2, 1, 1)


def test_event_counts_once_when_pushed_again_and_materialized(
    new_store: Callable[[str], str], tmp_path: Path
) -> None:
    view, url = _orders(tmp_path), new_store("orders")
    at = time.time_ns() // 1000 - 60_000_000
    rows = [
        {"customer_id": 1, "at": at, "order_id": 7, "amount": 2.5},
        {"customer_id": 1, "at": at, "order_id": "eight", "amount": None},
    ]
    for unchanged in (0, 1):
        assert push(opened(url), view, rows) == Pushed(2, 1 - unchanged, unchanged)
    two = {"status": "present", "paid": 2.5, "orders": 2}
    assert _read(url, view, 1) == [two]
    duckdb.execute(
        "COPY (SELECT 1::BIGINT AS customer_id, * FROM (VALUES "
        f"({at}::BIGINT, '7', 2.5::DOUBLE), ({at}, 'nine', 4.0)) AS t(\"at\", order_id, amount)) "
        f"TO '{tmp_path / 'a.parquet'}'"
    )
    materialize_views([view], opened(url), tmp_path)
    assert _read(url, view, 1) == [{"status": "present", "paid": 6.5, "orders": 3}]


def test_events_without_ids_are_refused(empty_url: str, tmp_path: Path) -> None:
    row = {"customer_id": 1, "at": _AT, "amount": 1.0}
    with pytest.raises(DataError, match="view orders@1: has no event_id, without which an event that is"):
        push(opened(empty_url), _orders(tmp_path, None), row)
    for given in (None, 1.5, True):
        with pytest.raises(DataError, match="row 0, 'order_id': expected the event's id, a whole number or"):
            push(opened(empty_url), _orders(tmp_path), {**row, "order_id": given})
