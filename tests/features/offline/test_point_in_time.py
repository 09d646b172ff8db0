"""The point-in-time join by DuckDB answers as the truth table and the oracle do."""

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from falaj.features.offline.history import DELETED, EVENT, KNOWN, SEQUENCE
from falaj.features.offline.point_in_time import SPINE_ROW, SPINE_TIME, Joined, join_sql
from tests.features.offline.duckdb_engine import ask, view_of
from tests.features.oracle import Row, Rules, answer
from tests.features.truth_table import CASES, Case


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_oracle_answers_as_the_table(case: Case) -> None:
    assert [(time, answer(case.history, 1, time, case.rules)) for time, _ in case.answers] == case.answers


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_join_answers_as_the_table(case: Case) -> None:
    spine = [(1, time) for time, _ in case.answers]
    assert ask(case.history, spine, case.rules) == [expected for _, expected in case.answers]


# Few keys and times: most of what is drawn is a tie of something.
_KEYS = st.one_of(st.none(), st.integers(1, 3))
_TIMES = st.integers(0, 12)


@st.composite
def _histories(draw: st.DrawFn) -> list[Row]:
    count = draw(st.integers(0, 12))
    numbers = draw(st.permutations(range(count)))
    values = st.one_of(st.none(), st.floats(allow_nan=False))
    return [
        Row(
            draw(_KEYS),
            draw(_TIMES),
            draw(_TIMES),
            draw(values),
            sequence=number,
            deleted=draw(st.booleans()),
        )
        for number in numbers
    ]


_RULES = st.builds(
    Rules,
    delay=st.integers(0, 4),
    ttl=st.one_of(st.none(), st.integers(0, 8)),
    known_until=st.one_of(st.none(), _TIMES),
)


@settings(max_examples=150, deadline=None)
@given(history=_histories(), spine=st.lists(st.tuples(_KEYS, _TIMES), max_size=12), rules=_RULES)
def test_join_answers_as_the_oracle(
    history: list[Row], spine: list[tuple[int | None, int]], rules: Rules
) -> None:
    assert ask(history, spine, rules) == [answer(history, key, time, rules) for key, time in spine]


def test_columns_of_the_spine_and_all_views_are_there_when_several_are_joined() -> None:
    with duckdb.connect() as connection:
        columns = f"customer_id, {EVENT}, {KNOWN}, value, {SEQUENCE}, {DELETED}"
        for name, value in (("one", 1.5), ("two", 2.5)):
            row = f"SELECT 7::BIGINT, 10, 10, {value}::DOUBLE, 0::BIGINT, false"
            connection.execute(f"CREATE TABLE {name} AS SELECT * FROM ({row}) AS t({columns})")
        spine = f"label, customer_id, {SPINE_TIME}, {SPINE_ROW}"
        connection.execute(
            f"CREATE TABLE spine AS SELECT * FROM (SELECT 'yes', 7::BIGINT, 12, 0) AS t({spine})"
        )
        views = [Joined(view_of(Rules(), "profile"), "one"), Joined(view_of(Rules(ttl=1), "orders"), "two")]
        found = connection.execute(join_sql("spine", views))
        assert [column[0] for column in found.description] == [
            *("label", "customer_id"),
            *("profile__status", "profile__value"),
            *("orders__status", "orders__value"),
        ]
        assert found.fetchall() == [("yes", 7, "present", 1.5, "expired", None)]
