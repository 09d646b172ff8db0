"""Numbers next to a number."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from falaj.training.gate.neighbours import (
    at_places,
    largest_not_above,
    next_above,
    next_below,
    places,
    windows,
)

SINGLE = np.dtype("f4")
MOST = float(np.finfo(SINGLE).max)
DOUBLES = st.floats(-MOST, MOST, allow_nan=False)
SINGLES = st.floats(-MOST, MOST, allow_nan=False, width=32)


@settings(deadline=None)
@given(DOUBLES)
def test_largest_not_above_is_the_nearest_on_its_side_when_any_double(value: float) -> None:
    found = largest_not_above(np.array([value]), SINGLE)
    assert float(found[0]) <= value < float(next_above(found)[0])


@settings(deadline=None)
@given(DOUBLES)
def test_window_changes_at_its_middle_when_compared_with_its_threshold(value: float) -> None:
    points = windows(np.array([value]), SINGLE)[0].astype(np.float64)
    assert (points <= value).tolist() == [True, True, False, False]
    # Of `<` it does too, or a step before where the threshold is a number of the type itself.
    less = [True, False, False, False] if value == points[1] else [True, True, False, False]
    assert (points < value).tolist() == less


@settings(deadline=None)
@given(SINGLES)
def test_places_are_those_of_neighbours_when_one_apart(value: float) -> None:
    here = np.array([value], SINGLE)
    for other, step in ((next_above(here), 1), (next_below(here), -1)):
        if np.isfinite(other[0]):
            assert places(other)[0] - places(here)[0] == step
    assert at_places(places(here), SINGLE)[0] == here[0]


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_places_are_in_the_order_of_the_floats_when_signs_differ(dtype: str) -> None:
    info = np.finfo(dtype)
    tiny = info.smallest_subnormal
    floats = np.array([info.min, -1, -tiny, 0, tiny, 1, info.max], dtype)
    assert (np.diff(places(floats)) > 0).all()


def test_window_is_of_whole_numbers_when_the_type_is() -> None:
    assert windows(np.array([2.5, 3.0]), np.dtype("i8")).tolist() == [[1, 2, 3, 4], [2, 3, 4, 5]]
