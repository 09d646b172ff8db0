"""Windows in a store have what the rules say, whatever the order, the chunks and the times of writes."""

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from falaj._core import InvalidInput, OnlineView
from falaj.features import Aggregate, Column, View
from falaj.features.online.store import PRESENT, open_store, open_view
from tests.features.online.store_engine import opened
from tests.features.windows_cases import ASKED, COLUMNS, ROW, SECOND, TIMES, VIEW, wrong
from tests.features.windows_oracle import Row

_MAP_BYTES = 64 << 20


def _open(folder: str | Path, view: View = VIEW) -> OnlineView:
    return open_view(open_store(f"lmdb://{folder}", _MAP_BYTES), view)


def _fresh(url: str) -> OnlineView:
    store = opened(url)
    if (VIEW.name, VIEW.version) in store.views():
        store.drop_view(VIEW.name, VIEW.version)
    return open_view(store, VIEW)


def _write(view: OnlineView, rows: Sequence[Row], now: int, cursor: bytes | None = None) -> int:
    def whole(values: list[int]) -> Any:
        return np.array(values, np.int64)

    columns, nulls = [], []
    for place, (_, dtype, null) in enumerate(
        zip(COLUMNS, ("float64", "int32", "object"), (0.0, 0, ""), strict=True)
    ):
        values = np.empty(len(rows), dtype)
        values[:] = [null if row.values[place] is None else row.values[place] for row in rows]
        columns.append(values)
        nulls.append(np.array([row.values[place] is None for row in rows], bool))
    ids = np.empty(len(rows), object)
    ids[:] = [str(row.id) for row in rows]
    return view.write(
        [whole([row.entity for row in rows])],
        whole([row.event for row in rows]),
        whole([row.known for row in rows]),
        whole([row.sequence for row in rows]),
        np.zeros(len(rows), bool),
        [*columns, ids],
        [*nulls, np.array([row.id is None for row in rows], bool)],
        now,
        cursor,
    )


def _read(view: OnlineView, entity: int, at: int) -> dict[str, Any]:
    status, columns, nulls = view.read([np.array([entity], np.int64)], at)
    assert status.tolist() == [PRESENT]
    return {
        each.name: None if null[0] else values.tolist()[0]
        for each, values, null in zip(VIEW.aggregates, columns, nulls, strict=True)
    }


# The copies of an event have one event time.
_EVENTS = ROW.map(lambda row: row if row.id is None else replace(row, event=(row.id * 90 - 15) * SECOND))


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(_EVENTS, max_size=25),
    asked=ASKED,
    last=st.integers(-20, 400),
    chance=st.randoms(use_true_random=False),
)
def test_values_are_what_the_rules_say_in_whatever_order_chunks_and_times_events_come(
    store_url: str, rows: list[Row], asked: list[tuple[int, int]], last: int, chance: random.Random
) -> None:
    late = [
        replace(row, known=row.known + chance.randrange(2) * SECOND) for row in rows if row.id is not None
    ]
    # Of copies to the bit but for their values, which is the event is not for the order to say.
    events = [*rows, *late]
    chance.shuffle(events)
    view = _fresh(store_url)
    for entity, at in asked:
        assert not wrong([], entity, at, _read(view, entity, at))
    while events:
        size = chance.randrange(1, len(events) + 1)
        _write(view, events[:size], chance.randrange(-20, last + 1) * SECOND)
        events = events[size:]
    for entity, at in asked:
        time = max(at, last * SECOND)
        assert not wrong([*rows, *late], entity, time, _read(view, entity, time))


@settings(max_examples=30, deadline=None)
@given(rows=st.lists(_EVENTS, min_size=1, max_size=12), now=TIMES)
def test_single_events_are_read_as_soon_as_they_are_written(
    store_url: str, rows: list[Row], now: int
) -> None:
    view = _fresh(store_url)
    other = open_view(opened(store_url), VIEW)
    for place, row in enumerate(rows):
        changed = _write(view, [row], now)
        assert not wrong(rows[: place + 1], row.entity, now, _read(other, row.entity, now))
        if row.id is not None and changed:
            assert _write(view, [replace(row, known=row.known + 1)], now + SECOND) == 0


def _spent(at: int, amount: float, number: int) -> Row:
    return Row(1, at * SECOND, at * SECOND, 0, number, (amount, None, None))


def test_events_leave_when_their_tiles_are_too_old_and_time_does_not_go_back(tmp_path: Path) -> None:
    view = _open(tmp_path)
    _write(view, [_spent(0, 0.1, 1), _spent(4, 0.2, 2), _spent(5, 0.3, 3)], 100 * SECOND)
    assert _read(view, 1, 100 * SECOND)["amount_sum"] == 0.6
    assert _read(view, 1, 304 * SECOND)["amount_sum"] == 0.3
    assert _read(view, 1, 305 * SECOND)["amount_sum"] is None
    _write(view, [_spent(304, 0.5, 4)], 304 * SECOND)
    assert _read(view, 1, 100 * SECOND) == _read(view, 1, 304 * SECOND)  # as of the last write
    assert _read(view, 1, 311 * SECOND)["amount_sum"] == 0.5


def test_what_cannot_be_summed_up_is_refused_with_a_reason(tmp_path: Path) -> None:
    view = _open(tmp_path)
    zeros = np.zeros(1, np.int64)
    columns = [np.zeros(1), np.zeros(1, np.int32), np.array(["a"], object), np.array(["b"], object)]
    given = ([zeros], zeros, zeros, zeros)
    with pytest.raises(InvalidInput, match="view spending@1, row 0: is a deletion"):
        view.write(*given, np.ones(1, bool), columns, [None] * 4, 0, None)
    with pytest.raises(InvalidInput, match="expected 4 columns, got 3"):
        view.write(*given, np.zeros(1, bool), columns[:3], [None] * 3, 0, None)
    with pytest.raises(InvalidInput, match="'amount': expected FP64, got INT64"):
        view.write(*given, np.zeros(1, bool), [zeros, *columns[1:]], [None] * 4, 0, None)
    store = open_store(f"lmdb://{tmp_path}", _MAP_BYTES)
    sums = ([("n", "UINT64")], False, [(1, 0, 300 * SECOND, 5 * SECOND)])
    with pytest.raises(InvalidInput, match="column 'n': UINT64 cannot be summed up"):
        store.open_view("other", 1, "h", [("k", "INT64")], [("total", "INT64")], 0, None, sums)
    floats = ([("n", "FP32")], False, sums[2])
    with pytest.raises(InvalidInput, match="column 'total': expected FP64, got INT64"):
        store.open_view("other", 1, "h", [("k", "INT64")], [("total", "INT64")], 0, None, floats)
    other = replace(VIEW, aggregates=VIEW.aggregates[:2])
    with pytest.raises(InvalidInput, match="spending@1: is stored with 'definition"):
        _open(tmp_path, other)


def test_sum_is_refused_when_integers_leave_64_bits(tmp_path: Path) -> None:
    total = Aggregate("total", "sum", Column("n", "INT64"), timedelta(days=90))
    view = _open(tmp_path, replace(VIEW, event_id=None, aggregates=(total,)))
    zeros, most = np.zeros(2, np.int64), np.array([2**62, 2**62])
    view.write([zeros], zeros, zeros, zeros, np.zeros(2, bool), [most], [None], 10 * SECOND, None)
    with pytest.raises(InvalidInput, match="view spending@1: a sum of integers is outside INT64"):
        view.read([zeros[:1]], 10 * SECOND)


@pytest.mark.parametrize("datatype", ["BOOL", "INT8", "UINT8", "INT16", "UINT16", "INT32", "UINT32", "FP32"])
def test_extremes_and_the_last_have_the_type_of_their_column(tmp_path: Path, datatype: str) -> None:
    functions = ("last",) if datatype == "BOOL" else ("last", "min", "max")
    column = Column("n", datatype)
    aggregates = tuple(Aggregate(of, of, column, timedelta(minutes=5)) for of in functions)
    view = _open(tmp_path, replace(VIEW, event_id=None, aggregates=aggregates, source_delay=timedelta()))
    dtype = {"BOOL": "bool", "FP32": "float32"}.get(datatype, datatype.lower())
    ends = np.finfo(dtype) if datatype == "FP32" else None if datatype == "BOOL" else np.iinfo(dtype)
    values = np.array([False, True] if ends is None else [ends.min, ends.max], dtype)
    zeros, times = np.zeros(2, np.int64), np.array([0, 1])
    view.write([zeros], times, times, zeros, np.zeros(2, bool), [values], [None], 10, None)
    _, columns, _ = view.read([zeros[:1]], 10)
    assert [got.dtype for got in columns] == [values.dtype] * len(functions)
    assert [got.tolist()[0] for got in columns] == [values[-1], values[0], values[-1]][: len(functions)]
