"""Rows that are taken a column at a time are what they are one by one; others are left to that."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from falaj.features import Aggregate, Column, DataError, Entity, ParquetFiles, View
from falaj.features.online.plain_rows import Arrays, plain_rows
from falaj.features.online.push import any_rows

_NOW_NS = 1_767_225_600_000_000_123
_VIEW = View(
    name="profile",
    version=1,
    entity=Entity("customer", {"id": "INT16", "shop": "BYTES"}),
    source=ParquetFiles("none"),
    columns=(
        Column("small", "UINT8"),
        Column("large", "UINT64"),
        Column("ratio", "FP32", finite=True, maximum=0.5),
        Column("amount", "FP64", minimum=0.0),
        Column("active", "BOOL", required=True),
        Column("city", "BYTES", one_of=("a", "Dubai")),
    ),
    event_time="at",
    known_time="arrived",
    sequence="number",
    deleted="gone",
)
_EVENTS = View(
    name="orders",
    version=1,
    entity=Entity("customer", {"id": "INT16"}),
    source=ParquetFiles("none"),
    aggregates=(
        Aggregate("paid", "sum", Column("amount", "FP64"), timedelta(days=1)),
        Aggregate("newest", "last", Column("order_number", "INT64"), timedelta(days=1)),
    ),
    event_time="at",
    known_time=None,
    event_id="order",
)
_PLAIN = {"id": 3, "shop": "a", "small": 7, "large": 2**63, "ratio": 0.1, "amount": 0.1, "active": True}
_PLAIN |= {"city": "Dubai", "at": "2026-01-01T04:00:00+04:00"}
_VALUES = st.one_of(
    st.sampled_from(
        [None, True, False, 0, 1, -1, 255, 256, 2**15, 2**63 - 1, 2**63, 2**64, -(2**63), 10**400]
    ),
    st.sampled_from([0.5, -0.0, 1e300, 3.4028234663852886e38, 3.4028235e38, float("inf"), float("nan")]),
    st.sampled_from(["", "a", "2026-01-01", "2026-01-01T04:00:00+04:00", "2026-01-01 00:00:00Z"]),
    st.sampled_from([datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1)]),
    st.sampled_from([np.int16(5), np.float32(0.5), np.bool_(True), np.zeros(2), b"a", [1], {}]),
)
_NAMES = [*_PLAIN, "arrived", "number", "gone", "order", "order_number", "other"]


def _same(one: Arrays, other: Arrays) -> None:
    for name in ("event", "known", "sequence", "deleted"):
        _same_array(getattr(one, name), getattr(other, name))
    for left, right in zip(one.keys, other.keys, strict=True):
        _same_array(left, right)
    count = len(one.event)
    nothing = np.zeros(count, bool)
    for left, right, null, nulls in zip(one.columns, other.columns, one.nulls, other.nulls, strict=True):
        null, nulls = (nothing if each is None else each for each in (null, nulls))
        _same_array(null, nulls)
        _same_array(left[~null], right[~null])


def _same_array(one: Any, other: Any) -> None:
    assert one.dtype == other.dtype
    if one.dtype == object:
        assert one.tolist() == other.tolist()
    else:
        assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize(
    "view", [_VIEW, _EVENTS, replace(_VIEW, known_time=None, sequence=None, deleted=None)]
)
@settings(max_examples=300, deadline=None)
@given(
    rows=st.lists(st.dictionaries(st.sampled_from(_NAMES), _VALUES, max_size=2), min_size=1, max_size=4),
    shared=st.dictionaries(st.sampled_from(["arrived", "number", "gone"]), _VALUES, max_size=3),
)
def test_rows_are_the_same_both_ways_or_left(
    view: View, rows: list[dict[str, Any]], shared: dict[str, Any]
) -> None:
    takes = {*view.entity.keys, *(column.name for column in view.inputs), view.event_time}
    plain = {name: value for name, value in _PLAIN.items() if name in takes}
    if view is _EVENTS:
        plain |= {"order": 8, "order_number": 9}
    given = [plain | shared | row for row in rows]
    at_once = plain_rows(view, given, _NOW_NS)
    try:
        one_by_one = any_rows(view, given, _NOW_NS)
    except DataError:
        assert at_once is None
        return
    if at_once is not None:
        _same(at_once, one_by_one)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"gone": False, "number": -5, "arrived": 1_767_225_600_000_000},
        {"gone": None, "city": None, "small": None, "ratio": None, "amount": None},
        {"at": datetime(2026, 1, 1, tzinfo=UTC), "amount": 3, "ratio": -1e30},
    ],
)
def test_plain_rows_are_taken_at_once(more: dict[str, Any]) -> None:
    rows = [_PLAIN | more, dict(reversed((_PLAIN | more).items()))]
    at_once = plain_rows(_VIEW, rows, _NOW_NS)
    assert at_once is not None
    assert at_once.entities == 1
    _same(at_once, any_rows(_VIEW, rows, _NOW_NS))


@pytest.mark.parametrize(
    "rows", [[5], [_PLAIN, 5], [_PLAIN, {}], [{}], [{"id": 1}], [_PLAIN, _PLAIN | {"x": 1}]]
)
def test_what_is_no_row_is_left(rows: list[Any]) -> None:
    assert plain_rows(_VIEW, rows, _NOW_NS) is None
    with pytest.raises(DataError):
        any_rows(_VIEW, rows, _NOW_NS)
