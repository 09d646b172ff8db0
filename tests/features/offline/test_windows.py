"""Windowed aggregates are what the rules say, whatever the order of events and however often they come."""

import math
import random
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from falaj.features import Aggregate, Column, DataError, Entity, ParquetFiles, View
from falaj.features.offline.windows import Events, Spine, Values, windowed
from tests.features.windows_oracle import Row, answer, is_std, seen

_S = 1_000_000
_FUNCTIONS = ("count", "sum", "mean", "std", "min", "max", "last", "distinct")
_COLUMNS = (Column("amount", "FP64"), Column("items", "INT32"), Column("shop", "BYTES"))
_DELAY = 7 * _S
VIEW = View(
    name="spending",
    version=1,
    entity=Entity("customer", {"customer_id": "INT64"}),
    source=ParquetFiles("orders/*.parquet"),
    aggregates=(
        *(Aggregate(f"amount_{of}", of, _COLUMNS[0], timedelta(minutes=5)) for of in _FUNCTIONS),
        *(Aggregate(f"items_{of}", of, _COLUMNS[1], timedelta(hours=1)) for of in _FUNCTIONS),
        *(Aggregate(f"shop_{of}", of, _COLUMNS[2], timedelta(minutes=10)) for of in ("last", "distinct")),
        Aggregate("rows", "count", None, timedelta(minutes=5)),
    ),
    event_time="at",
    known_time="loaded_at",
    source_delay=timedelta(seconds=7),
    event_id="order_id",
)


def _columns(rows: list[Row]) -> dict[str, Values]:
    columns = {}
    for i, (column, dtype, null) in enumerate(
        zip(_COLUMNS, ("float64", "int32", "object"), (0.0, 0, ""), strict=True)
    ):
        values = np.empty(len(rows), dtype)
        values[:] = [null if row.values[i] is None else row.values[i] for row in rows]
        columns[column.name] = Values(values, np.array([row.values[i] is not None for row in rows], bool))
    return columns


def _events(rows: list[Row]) -> Events:
    def whole(values: list[int]) -> Any:
        return np.array(values, np.int64)

    ids = whole([row.id or 0 for row in rows])
    return Events(
        entity=whole([row.entity for row in rows]),
        event=whole([row.event for row in rows]),
        known=whole([row.known for row in rows]),
        sequence=whole([row.sequence for row in rows]),
        columns=_columns(rows),
        event_id=Values(ids, np.array([row.id is not None for row in rows], bool)),
    )


def _spine(asked: list[tuple[int, int]]) -> Spine:
    return Spine(*(np.array([each[i] for each in asked], np.int64) for i in (0, 1)))


_TIME = st.integers(-20, 400).map(lambda second: second * _S + second % 3)
_FLOAT = st.one_of(
    st.none(),
    st.sampled_from([0.0, -0.0, 0.1, 0.2, 0.3, 1e308, -1e308, 5e-324, math.nan, math.inf, -math.inf]),
    st.floats(),
)
_ROW = st.builds(
    Row,
    entity=st.integers(0, 1),
    event=_TIME,
    known=_TIME,
    sequence=st.integers(0, 1),
    id=st.one_of(st.none(), st.integers(0, 3)),
    values=st.tuples(
        _FLOAT.map(lambda value: math.nan if value is not None and math.isnan(value) else value),
        st.one_of(st.none(), st.integers(-(2**31), 2**31 - 1)),
        st.sampled_from([None, "", "a", "é", "souq"]),
    ),
)
_ASKED = st.lists(st.tuples(st.integers(0, 2), _TIME), min_size=1, max_size=6)


def _same(got: Any, expected: Any) -> bool:
    return type(expected) is type(got) and repr(got) == repr(expected)  # which tells -0.0 from 0.0


@settings(max_examples=200, deadline=None)
@given(st.lists(_ROW, max_size=25), _ASKED)
def test_values_are_what_the_rules_say_when_asked(rows: list[Row], asked: list[tuple[int, int]]) -> None:
    got = windowed(_events(rows), _spine(asked), VIEW)
    for each in VIEW.aggregates:
        column = None if each.column is None else _COLUMNS.index(each.column)
        valid = got[each.name].valid
        assert valid is not None
        for i, (entity, at) in enumerate(asked):
            value = got[each.name].values[i : i + 1].tolist()[0] if valid[i] else None
            counted = seen(rows, entity, at, each, _DELAY)
            if each.function == "std":
                assert column is not None
                assert is_std(value, counted, column), (each, value, counted)
            else:
                expected = answer(counted, each, column)
                assert _same(value, expected), (each, value, expected, counted)


def _bits(got: dict[str, Values]) -> list[bytes]:
    return [
        repr(of.values.tolist()).encode() if of.values.dtype == object else of.values.tobytes()
        for of in got.values()
    ]


@settings(max_examples=100, deadline=None)
@given(st.lists(_ROW, max_size=25), _ASKED, st.randoms(use_true_random=False))
def test_bits_are_the_same_when_events_are_shuffled_and_come_twice(
    rows: list[Row], asked: list[tuple[int, int]], chance: random.Random
) -> None:
    expected = _bits(windowed(_events(rows), _spine(asked), VIEW))
    # Copies come late: the one known first is the event.
    late = [replace(row, known=row.known + chance.randrange(2) * _S) for row in rows if row.id is not None]
    again = [*rows, *late]
    chance.shuffle(again)
    assert _bits(windowed(_events(again), _spine(asked), VIEW)) == expected


def test_row_has_its_own_value_when_the_spine_is_in_any_order() -> None:
    rows = [Row(0, 10 * _S, 0, 0, None, (1.0, 1, "a")), Row(0, 20 * _S, 0, 0, None, (2.0, 1, "b"))]
    got = windowed(_events(rows), _spine([(0, 25 * _S), (1, 25 * _S), (0, 12 * _S), (0, 311 * _S)]), VIEW)
    assert got["amount_sum"].values.tolist() == [3.0, 0.0, 1.0, 2.0]
    assert got["amount_sum"].valid is not None
    assert got["amount_sum"].valid.tolist() == [True, False, True, True]
    assert got["shop_last"].values.tolist() == ["b", None, "a", "b"]


def _change(**changes: Any) -> Events:
    return replace(_events([Row(0, 0, 0, 0, None, (1.0, 1, "a"))]), **changes)


@pytest.mark.parametrize(
    ("events", "message"),
    [
        (_change(columns={}), "column 'amount': is not in the events, which have none"),
        (_change(event_id=None), "event_id: expected one"),
        (_change(known=np.zeros(2, np.int64)), "known: expected 1 values, got an array of shape \\(2,\\)"),
        (_change(event=np.zeros(1)), "event: expected int64, got float64"),
        (
            _change(columns={"amount": Values(np.zeros(1, np.float32))}),
            "column 'amount': expected float64, got float32",
        ),
    ],
)
def test_events_are_refused_when_they_do_not_fit_the_view(events: Events, message: str) -> None:
    with pytest.raises(DataError, match=f"view spending@1.*{message}"):
        windowed(events, _spine([(0, 0)]), VIEW)


def test_sum_is_refused_when_integers_leave_64_bits() -> None:
    view = replace(
        VIEW,
        event_id=None,
        aggregates=(Aggregate("total", "sum", Column("n", "INT64"), timedelta(days=90)),),
    )
    zeros = np.zeros(2, np.int64)
    events = Events(zeros, zeros, zeros, zeros, {"n": Values(np.array([2**62, 2**62]))})
    with pytest.raises(DataError, match="view spending@1: a sum of integers is outside INT64"):
        windowed(events, _spine([(0, 10 * _S)]), view)
