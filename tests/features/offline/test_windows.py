"""Windowed aggregates are what the rules say, whatever the order of events and however often they come."""

import random
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from falaj.features import Aggregate, Column, DataError
from falaj.features.offline.windows import Events, Spine, Values, windowed
from tests.features.windows_cases import ASKED, COLUMNS, ROW, SECOND, VIEW, wrong
from tests.features.windows_oracle import Row


def _columns(rows: list[Row]) -> dict[str, Values]:
    columns = {}
    for i, (column, dtype, null) in enumerate(
        zip(COLUMNS, ("float64", "int32", "object"), (0.0, 0, ""), strict=True)
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


@settings(max_examples=200, deadline=None)
@given(st.lists(ROW, max_size=25), ASKED)
def test_values_are_what_the_rules_say_when_asked(rows: list[Row], asked: list[tuple[int, int]]) -> None:
    got = windowed(_events(rows), _spine(asked), VIEW)
    for i, (entity, at) in enumerate(asked):
        row = {name: of.values[i : i + 1].tolist()[0] if _valid(of)[i] else None for name, of in got.items()}
        assert not wrong(rows, entity, at, row)


def _valid(of: Values) -> Any:
    assert of.valid is not None
    return of.valid


def _bits(got: dict[str, Values]) -> list[bytes]:
    return [
        repr(of.values.tolist()).encode() if of.values.dtype == object else of.values.tobytes()
        for of in got.values()
    ]


@settings(max_examples=100, deadline=None)
@given(st.lists(ROW, max_size=25), ASKED, st.randoms(use_true_random=False))
def test_bits_are_the_same_when_events_are_shuffled_and_come_twice(
    rows: list[Row], asked: list[tuple[int, int]], chance: random.Random
) -> None:
    expected = _bits(windowed(_events(rows), _spine(asked), VIEW))
    # Copies come late: the one known first is the event.
    late = [
        replace(row, known=row.known + chance.randrange(2) * SECOND) for row in rows if row.id is not None
    ]
    again = [*rows, *late]
    chance.shuffle(again)
    assert _bits(windowed(_events(again), _spine(asked), VIEW)) == expected


def test_row_has_its_own_value_when_the_spine_is_in_any_order() -> None:
    rows = [Row(0, 10 * SECOND, 0, 0, None, (1.0, 1, "a")), Row(0, 20 * SECOND, 0, 0, None, (2.0, 1, "b"))]
    got = windowed(
        _events(rows), _spine([(0, 25 * SECOND), (1, 25 * SECOND), (0, 12 * SECOND), (0, 311 * SECOND)]), VIEW
    )
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
        windowed(events, _spine([(0, 10 * SECOND)]), view)


@pytest.mark.parametrize("datatype", ["BOOL", "INT8", "UINT8", "INT16", "UINT16", "INT64", "UINT32", "FP32"])
def test_extremes_and_the_last_have_the_type_of_their_column(datatype: str) -> None:
    functions = ("last",) if datatype == "BOOL" else ("last", "min", "max")
    column = Column("n", datatype)
    aggregates = tuple(Aggregate(of, of, column, timedelta(minutes=5)) for of in functions)
    dtype = {"BOOL": "bool", "FP32": "float32"}.get(datatype, datatype.lower())
    ends = np.finfo(dtype) if datatype == "FP32" else None if datatype == "BOOL" else np.iinfo(dtype)
    values = np.array([False, True] if ends is None else [ends.min, ends.max], dtype)
    zeros, times = np.zeros(2, np.int64), np.array([0, 1])
    events = Events(zeros, times, times, zeros, {"n": Values(values)})
    got = windowed(events, _spine([(0, 10 * SECOND)]), replace(VIEW, event_id=None, aggregates=aggregates))
    assert [got[of].values.dtype for of in functions] == [values.dtype] * len(functions)
    ends_of = {"last": values[1], "min": values[0], "max": values[1]}
    assert [got[of].values[0] for of in functions] == [ends_of[of] for of in functions]
