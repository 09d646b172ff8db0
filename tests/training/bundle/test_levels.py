"""Levels of categories: every value is of one, of the pool, new or missing."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from falaj.training.bundle.levels import levels_from, levels_of
from falaj.training.errors import TrainingError

_TEXT = st.one_of(st.none(), st.sampled_from(["", "a", "b", "دبي", "A"]), st.text(max_size=3))
_VALUES = st.lists(_TEXT, min_size=1, max_size=200)


def texts(*values: str | None) -> NDArray[Any]:
    array = np.empty(len(values), object)
    array[:] = values
    return array


@given(_VALUES, _VALUES)
def test_counts_are_of_all_values_when_levels_are_frozen(first: list[str], second: list[str]) -> None:
    reference, later = texts(*first), texts(*second)
    levels = levels_of(reference)
    counts = levels.count(reference)
    assert counts.total == len(first)
    assert counts.new == 0
    assert counts.missing == sum(value in (None, "") for value in first)
    assert all(count >= 5 for count in counts.levels)
    assert list(counts.levels) == sorted(counts.levels, reverse=True)
    after = levels.count(later)
    assert after.total == len(second)
    assert after.new == sum(value not in (None, "") and value not in first for value in second)
    assert levels.count(texts(*first, *second)) == counts + after


@given(_VALUES)
def test_levels_are_the_same_when_they_come_back_from_json(values: list[str]) -> None:
    levels = levels_of(texts(*values))
    assert levels_from(json.loads(json.dumps(levels.plain()))) == levels


def test_rare_levels_are_pooled_when_a_test_would_expect_too_few() -> None:
    reference = texts(*["often"] * 5, *["seldom"] * 4, "once", None, "")
    levels = levels_of(reference)
    assert levels.levels == ("often",)
    assert levels.pool == ("seldom", "once")
    counts = levels.count(texts("often", "seldom", "once", "never", None))
    assert (counts.levels, counts.pooled, counts.new, counts.missing) == ((1,), 2, 1, 1)


def test_levels_are_the_most_frequent_when_there_are_many() -> None:
    reference = texts(*(f"level {i}" for i in range(60) for _ in range(5 + i)))
    levels = levels_of(reference)
    assert levels.levels == tuple(f"level {i}" for i in range(59, 9, -1))
    assert levels.pool == tuple(f"level {i}" for i in range(9, -1, -1))
    assert levels.distinct == 60


def test_the_pool_takes_what_is_new_when_it_is_too_long_to_be_listed() -> None:
    levels = levels_of(texts(*(f"plane {i}" for i in range(1_001))))
    assert (levels.levels, levels.pool, levels.distinct) == ((), None, 1_001)
    counts = levels.count(texts("plane 1", "another"))
    assert (counts.pooled, counts.new) == (2, 0)


def test_labels_are_levels_when_they_are_rare_or_were_never_answered() -> None:
    levels = levels_of(np.array([1, 1, 0]), (0, 1, 2))
    assert levels.levels == (1, 0, 2)
    counts = levels.count(np.array([2, 2, 1, 9]))
    assert (counts.levels, counts.new) == ((1, 0, 2), 1)


def test_text_is_the_same_level_when_it_comes_as_bytes() -> None:
    assert levels_of(texts(*["دبي"] * 5)).count(texts("دبي".encode())).levels == (1,)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.empty(0, object), "expected at least one value, got none"),
        (np.array([0.5]), "expected text or whole numbers, got an array of float64"),
        (np.array([0.5], object), "expected text or whole numbers, got 0.5"),
    ],
)
def test_levels_are_refused_when_values_are_none_of_them(values: NDArray[Any], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        levels_of(values)
