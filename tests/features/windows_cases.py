"""A view with every aggregate, events and times to ask about for it, and whether an answer is right."""

import math
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st

from falaj.features import Aggregate, Column, Entity, ParquetFiles, View
from tests.features.windows_oracle import Row, answer, is_std, seen

SECOND = 1_000_000
_FUNCTIONS = ("count", "sum", "mean", "std", "min", "max", "last", "distinct")
COLUMNS = (Column("amount", "FP64"), Column("items", "INT32"), Column("shop", "BYTES"))
DELAY_US = 7 * SECOND
VIEW = View(
    name="spending",
    version=1,
    entity=Entity("customer", {"customer_id": "INT64"}),
    source=ParquetFiles("orders/*.parquet"),
    aggregates=(
        *(Aggregate(f"amount_{of}", of, COLUMNS[0], timedelta(minutes=5)) for of in _FUNCTIONS),
        *(Aggregate(f"items_{of}", of, COLUMNS[1], timedelta(hours=1)) for of in _FUNCTIONS),
        *(Aggregate(f"shop_{of}", of, COLUMNS[2], timedelta(minutes=10)) for of in ("last", "distinct")),
        Aggregate("rows", "count", None, timedelta(minutes=5)),
    ),
    event_time="ordered_at",
    known_time="loaded_at",
    source_delay=timedelta(seconds=7),
    event_id="order_id",
)

TIMES = st.integers(-20, 400).map(lambda second: second * SECOND + second % 3)
_FLOAT = st.one_of(
    st.none(),
    st.sampled_from([0.0, -0.0, 0.1, 0.2, 0.3, 1e308, -1e308, 5e-324, math.nan, math.inf, -math.inf]),
    st.floats(),
)
ROW = st.builds(
    Row,
    entity=st.integers(0, 1),
    event=TIMES,
    known=TIMES,
    sequence=st.integers(0, 1),
    id=st.one_of(st.none(), st.integers(0, 3)),
    values=st.tuples(
        _FLOAT.map(lambda value: math.nan if value is not None and math.isnan(value) else value),
        st.one_of(st.none(), st.integers(-(2**31), 2**31 - 1)),
        st.sampled_from([None, "", "a", "é", "souq"]),
    ),
)
ASKED = st.lists(st.tuples(st.integers(0, 2), TIMES), min_size=1, max_size=6)


def wrong(rows: list[Row], entity: int, at: int, got: dict[str, Any]) -> list[tuple[str, Any, list[Row]]]:
    """Return, of an entity's features at a time, those that are not what the rules say, and of which rows."""
    found = []
    for each in VIEW.aggregates:
        column = None if each.column is None else COLUMNS.index(each.column)
        counted, value = seen(rows, entity, at, each, DELAY_US), got[each.name]
        if each.function == "std":
            assert column is not None
            right = is_std(value, counted, column)
        else:
            expected = answer(counted, each, column)
            right = type(expected) is type(value) and repr(value) == repr(
                expected
            )  # which tells -0.0 from 0.0
        if not right:
            found.append((each.name, value, counted))
    return found
