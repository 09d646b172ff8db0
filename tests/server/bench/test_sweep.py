"""Values of a sweep."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falaj._core import InvalidInput
from falaj.server.bench.sweep import sweep


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1:64:2x", [1, 2, 4, 8, 16, 32, 64]),
        ("1:60:2x", [1, 2, 4, 8, 16, 32]),
        ("1,4,16", [1, 4, 16]),
        ("16", [16]),
        ("1:4", [1, 2, 3, 4]),
        ("1:10:3", [1, 4, 7, 10]),
        ("1:3,8:32:2x", [1, 2, 3, 8, 16, 32]),
        ("1,1,2", [1, 2]),
        ("1:20:1.5x", [1, 2, 3, 5, 7, 11, 17]),
    ],
)
def test_values_are_told_when_whole(text: str, values: list[float]) -> None:
    assert sweep(text, "--concurrency", whole=True) == values


def test_last_rate_is_there_when_steps_are_fractions() -> None:
    assert sweep("1000:20000:2000", "--rate") == [1000 + 2000 * i for i in range(10)]
    assert sweep("0.1:0.5:0.1", "--rate") == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "expected a whole number of at least 1, got ''"),
        ("0", "got '0'"),
        ("1.5", "got '1.5'"),
        ("nan", "got 'nan'"),
        ("8:1", "expected FROM up to TO"),
        ("1:64:1x", "expected a factor above 1"),
        ("1:2:3:4", "expected FROM:TO:STEP"),
        ("1:5000", "at most 1000 values"),
        ("1:1e300:1.0001x", "at most 1000 values"),
        ("1:8:x", "got ''"),
    ],
)
def test_text_is_refused_when_it_is_no_sweep(text: str, complaint: str) -> None:
    with pytest.raises(InvalidInput) as error:
        sweep(text, "--concurrency", whole=True)
    assert str(error.value).startswith("--concurrency: ")
    assert complaint in str(error.value)


@given(st.integers(1, 100), st.integers(0, 500), st.integers(1, 50))
def test_values_are_evenly_spaced_and_bounded_when_a_step_is_told(first: int, more: int, step: int) -> None:
    values = sweep(f"{first}:{first + more}:{step}", "--rate")
    assert values == list(range(first, first + more + 1, step))
