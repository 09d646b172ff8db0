"""Bins of numbers: every value is in one, and parts add up."""

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from falaj.training.bundle.bins import Bins, bins_from, bins_of
from falaj.training.errors import TrainingError

Values = NDArray[Any]
_SIZES = st.integers(1, 300)
_FEW = st.sampled_from([0.0, -0.0, 1.0, 2.5, float("nan"), float("inf"), -float("inf"), 1e300, -5e-324])
FP32 = arrays.arrays(np.float32, _SIZES, elements=st.floats(width=32))
FP64 = arrays.arrays(np.float64, _SIZES, elements=st.floats())
DISCRETE = arrays.arrays(np.float64, _SIZES, elements=_FEW)
WHOLE = arrays.arrays(np.int64, _SIZES, elements=st.integers(-(2**63), 2**63 - 1))
BOOL = arrays.arrays(np.bool_, _SIZES)
NUMBERS = st.one_of(FP32, FP64, DISCRETE, WHOLE, BOOL)


def places(values: Values, edges: tuple[float, ...]) -> list[int]:
    """In how many bins each value is, by the rule as it is written down, in the values' own datatype."""
    bounds = [-np.inf, *edges, np.inf]
    found = []
    for value in values:
        inside = 0
        for i, (low, high) in enumerate(pairwise(bounds)):
            inside += bool((low < value or i == 0) and value <= high)
        found.append(inside)
    return found


@given(NUMBERS)
def test_every_value_is_in_exactly_one_bin_when_it_is_a_number(values: Values) -> None:
    bins = bins_of(values)
    is_number = ~np.isnan(values.astype(np.float64))
    for edges in (bins.coarse, bins.fine):
        assert all(np.isfinite(edges))
        assert list(edges) == sorted(set(edges))
        wide = values.astype(np.float64)
        assert places(wide, edges) == [int(number) for number in is_number]


@given(NUMBERS)
def test_counts_are_of_all_values_when_they_are_the_reference(values: Values) -> None:
    bins = bins_of(values)
    counts = bins.count(values)
    assert counts.total == len(values) == sum(counts.fine) + counts.missing
    assert counts.missing == int(np.isnan(values.astype(np.float64)).sum())
    assert len(counts.coarse) == len(bins.coarse) + 1 <= 10
    assert len(counts.fine) == len(bins.fine) + 1 <= 50
    finite = values.astype(np.float64)
    finite = finite[np.isfinite(finite)]
    if len(np.unique(finite)) > 1:
        assert min(counts.coarse) > 0
        assert min(counts.fine) > 0


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_bins_are_made_when_a_constant_is_the_least_number(dtype: type[np.floating[Any]]) -> None:
    least = np.finfo(dtype).min
    bins = bins_of(np.array([least], dtype))
    assert bins.coarse == (float(least),)
    assert bins.count(np.array([least, 0, -np.inf], dtype)).coarse == (2, 1)


@given(NUMBERS, st.data())
def test_counts_of_parts_add_up_when_the_edges_are_frozen(values: Values, data: st.DataObject) -> None:
    bins = bins_of(values)
    cut = data.draw(st.integers(0, len(values)))
    assert bins.count(values[:cut]) + bins.count(values[cut:]) == bins.count(values)


@given(NUMBERS)
def test_bins_are_the_same_when_they_come_back_from_json(values: Values) -> None:
    bins = bins_of(values)
    assert bins_from(json.loads(json.dumps(bins.plain(), allow_nan=False))) == bins


@given(FP32)
def test_a_bin_is_the_same_when_its_edge_is_compared_in_fp32(values: Values) -> None:
    for edge in bins_of(values).fine:
        assert float(np.float32(edge)) == edge
        with np.errstate(invalid="ignore"):
            assert ((values <= np.float32(edge)) == (values.astype(np.float64) <= edge)).all()


def test_bins_have_like_shares_when_values_are_many() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, 10_000)
    bins = bins_of(values)
    counts = bins.count(values)
    assert counts.coarse == (1_000,) * 10
    assert counts.fine == (200,) * 50
    assert bins.scale == pytest.approx(values.std())
    assert bins.robust_scale == pytest.approx(2.0, rel=0.05)
    assert bins.low == np.sort(values)[9]
    assert bins.high == np.sort(values)[9_989]


@pytest.mark.parametrize(
    ("values", "edges", "counts"),
    [
        ([0, 1, 1, 1], (0.0,), (1, 3)),
        ([1.0, 2.0, 4.0, 4.0], (1.0, 2.0), (1, 1, 2)),
        ([7, 7, 7], (6.0, 7.0), (0, 3, 0)),
        ([True, True], (0.0, 1.0), (0, 2, 0)),
        ([np.nan, np.inf, -np.inf], (), (2,)),
        ([np.nan], (), (0,)),
    ],
)
def test_a_value_has_its_own_bin_when_there_are_few(
    values: list[float], edges: tuple[float, ...], counts: tuple[int, ...]
) -> None:
    array = np.array(values)
    bins = bins_of(array)
    assert bins.coarse == edges
    assert bins.count(array).coarse == counts


def test_a_change_is_counted_when_a_column_was_constant() -> None:
    constant = np.full(5, 0.1, np.float32)
    bins = bins_of(constant)
    beside = np.array([np.nextafter(np.float32(0.1), np.float32(0)), 0.1, 0.2, np.nan], np.float32)
    assert bins.count(beside).coarse == (1, 1, 1)
    assert (bins.scale, bins.resolution, bins.distinct) == (0.0, None, 1)


def test_an_edge_is_not_there_twice_when_one_value_is_most_of_them() -> None:
    values = np.concatenate([np.zeros(900), np.arange(1, 101)])
    bins = bins_of(values)
    assert bins.coarse == (0.0,)
    assert bins.count(values).coarse == (900, 100)


def test_a_scale_is_a_number_when_squares_would_overflow() -> None:
    bins = bins_of(np.array([-1.7e308, 0.0, 1.7e308]))
    assert bins.scale == pytest.approx(1.7e308 * np.sqrt(2 / 3))
    assert json.dumps(bins.plain(), allow_nan=False)


@pytest.mark.parametrize("values", [np.empty(0), np.array(["a"], object), np.array([1j])])
def test_bins_are_refused_when_there_are_no_numbers(values: Values) -> None:
    with pytest.raises(TrainingError, match=r"baseline: expected (numbers|at least one value), got"):
        bins_of(values)


def test_bins_are_nothing_else_when_told_from_other_json() -> None:
    told = bins_of(np.arange(3.0)).plain()
    assert isinstance(bins_from(told), Bins)
    with pytest.raises(KeyError):
        bins_from({**{name: told[name] for name in told if name != "scale"}})
