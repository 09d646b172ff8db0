"""The export answers as the truth table and the oracle do."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.features.offline.duckdb_engine import ask
from tests.features.oracle import Row, Rules, answer
from tests.features.truth_table import CASES, Case


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_oracle_answers_as_the_table(case: Case) -> None:
    assert [(time, answer(case.history, 1, time, case.rules)) for time, _ in case.answers] == case.answers


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_export_answers_as_the_table(case: Case) -> None:
    spine = [(1, time) for time, _ in case.answers]
    assert ask(case.history, spine, case.rules) == [expected for _, expected in case.answers]


# Few keys and times: most of what is drawn is a tie of something.
_KEYS = st.one_of(st.none(), st.integers(1, 3))
_TIMES = st.integers(0, 12)


@st.composite
def _histories(draw: st.DrawFn) -> list[Row]:
    count = draw(st.integers(0, 30))
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


@settings(max_examples=60, deadline=None)
@given(history=_histories(), spine=st.lists(st.tuples(_KEYS, _TIMES), max_size=40), rules=_RULES)
def test_export_answers_as_the_oracle(
    history: list[Row], spine: list[tuple[int | None, int]], rules: Rules
) -> None:
    assert ask(history, spine, rules) == [answer(history, key, time, rules) for key, time in spine]
