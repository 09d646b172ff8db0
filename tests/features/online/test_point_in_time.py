"""Each online store answers as the truth table and the oracle do."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.features.offline.duckdb_engine import ask
from tests.features.online.store_engine import fresh_view, known, read, write
from tests.features.oracle import Row, Rules, answer
from tests.features.truth_table import CASES, Case


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_store_answers_as_the_table_when_all_was_written_before(case: Case, store_url: str) -> None:
    view = fresh_view(store_url, case.rules)
    write(view, known(case.history, case.rules), -1)
    assert [(time, read(view, [1], time)[0]) for time, _ in case.answers] == case.answers


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_store_answers_as_the_table_when_rows_come_as_they_are_known(case: Case, store_url: str) -> None:
    view, before = fresh_view(store_url, case.rules), -1
    for time, expected in sorted(case.answers, key=lambda of: of[0]):
        write(view, [row for row in known(case.history, case.rules) if before < row.known <= time], time)
        assert read(view, [1], time) == [expected]
        before = time


# Few keys and times: most of what is drawn is a tie of something.
_TIMES = st.integers(0, 12)
_VALUES = st.one_of(st.none(), st.floats(allow_nan=False))
_RULES = st.builds(Rules, delay=st.integers(0, 4), ttl=st.one_of(st.none(), st.integers(0, 8)))


def _rows(sequences: st.SearchStrategy[int]) -> st.SearchStrategy[Row]:
    return st.builds(Row, st.integers(1, 3), _TIMES, _TIMES, _VALUES, sequences, st.booleans())


_HISTORIES = st.lists(_rows(st.integers(0, 1000)), max_size=12, unique_by=lambda row: row.sequence)


@settings(max_examples=60, deadline=None)
@given(history=_HISTORIES, rules=_RULES)
def test_store_answers_as_the_oracle_when_all_was_written_before(
    store_url: str, history: list[Row], rules: Rules
) -> None:
    view = fresh_view(store_url, rules)
    write(view, history, -1)
    for time in range(18):
        assert read(view, [1, 2, 3], time) == [answer(history, key, time, rules) for key in (1, 2, 3)]


@settings(max_examples=60, deadline=None)
@given(history=_HISTORIES, rules=_RULES)
def test_store_answers_as_the_oracle_when_rows_come_as_they_are_known(
    store_url: str, history: list[Row], rules: Rules
) -> None:
    view = fresh_view(store_url, rules)
    for time in range(18):
        write(view, [row for row in history if row.known == time], time)
        assert read(view, [1, 2, 3], time) == [answer(history, key, time, rules) for key in (1, 2, 3)]


@settings(max_examples=60, deadline=None)
@given(history=_HISTORIES, rules=_RULES, data=st.data())
def test_store_answers_alike_in_whatever_order_chunks_and_times_rows_come(
    store_url: str, history: list[Row], rules: Rules, data: st.DataObject
) -> None:
    last = data.draw(_TIMES)
    shuffled = data.draw(
        st.permutations(history + data.draw(st.lists(st.sampled_from(history))) if history else [])
    )
    view, at = fresh_view(store_url, rules), 0
    while at < len(shuffled):
        size = data.draw(st.integers(1, len(shuffled)))
        write(view, shuffled[at : at + size], data.draw(st.integers(-1, last)))
        at += size
    for time in range(last, 18):
        assert read(view, [1, 2, 3], time) == [answer(history, key, time, rules) for key in (1, 2, 3)]
    assert write(view, history, last) in range(4)
    assert write(view, shuffled, last) == 0


@settings(max_examples=40, deadline=None)
@given(history=st.lists(_rows(st.just(0)), max_size=8), rules=_RULES)
def test_store_takes_the_row_that_the_join_takes_when_only_values_differ(
    store_url: str, history: list[Row], rules: Rules
) -> None:
    view = fresh_view(store_url, rules)
    write(view, history, -1)
    spine = [(key, time) for time in range(18) for key in (1, 2, 3)]
    found = [got for time in range(18) for got in read(view, [1, 2, 3], time)]
    assert found == ask(history, spine, rules)
