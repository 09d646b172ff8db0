"""Rows to calibrate with, and the others."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from falaj.training.errors import TrainingError
from falaj.training.optimize.split import split


@settings(deadline=None)
@given(total=st.integers(64, 3000))
def test_rows_are_compared_on_when_they_were_not_calibrated_with(total: int) -> None:
    rows = {"x": np.arange(total, dtype=np.float32)}
    learn, held = split(rows, None)
    assert len(learn["x"]) == min(256, total // 4)
    assert sorted([*learn["x"].astype(int).tolist(), *held.tolist()]) == list(range(total))


def test_all_rows_are_compared_on_when_others_are_for_the_calibration() -> None:
    learn, held = split({"x": np.zeros(100)}, {"x": np.arange(1000.0)})
    assert len(held) == 100
    assert len(np.unique(learn["x"])) == 256


def test_rows_without_a_number_calibrate_nothing_when_others_are_there() -> None:
    x = np.array([[1, 2], [np.nan, 3], [4, np.inf], [5, 6]], np.float32)
    names = np.array(["a", "b", "c", "d"], dtype=object)
    learn, _ = split({"x": np.zeros((64, 2)), "name": np.zeros(64)}, {"x": x, "name": names})
    assert learn["x"].tolist() == [[1, 2], [5, 6]]
    assert learn["name"].tolist() == ["a", "d"]
    only, _ = split({"x": np.zeros((64, 2))}, {"x": x[1:3]})
    assert len(only["x"]) == 2


def test_rows_are_refused_when_they_are_too_few() -> None:
    with pytest.raises(TrainingError, match="rows: expected 64 at least, got 63"):
        split({"x": np.zeros(63)}, None)
    with pytest.raises(TrainingError, match="calibration: expected rows, got none"):
        split({"x": np.zeros(64)}, {"x": np.zeros(0)})
