"""The histogram against NumPy's quantiles."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from falaj import _core

pytestmark = pytest.mark.core

_LATENCIES = st.lists(st.integers(0, 10**12), min_size=1, max_size=300)  # nanoseconds, to 17 minutes


def _histogram(latencies: list[int]) -> _core.LatencyHistogram:
    histogram = _core.LatencyHistogram()
    for latency in latencies:
        histogram.add(latency)
    return histogram


@given(_LATENCIES, st.floats(0, 1))
def test_quantile_is_numpys_within_a_step_when_latencies_are_any(latencies: list[int], q: float) -> None:
    exact = float(np.quantile(np.array(latencies, np.float64), q, method="inverted_cdf")) / 1e3
    assert _histogram(latencies).quantile_us(q) == pytest.approx(exact, rel=0.002, abs=1e-9)


@given(_LATENCIES, _LATENCIES)
def test_merged_parts_are_the_whole_when_merged(one: list[int], other: list[int]) -> None:
    merged, whole = _histogram(one), _histogram(one + other)
    merged.merge(_histogram(other))
    assert merged.count == whole.count == len(one) + len(other)
    assert merged.max_us == whole.max_us == max(one + other) / 1e3
    assert merged.mean_us == pytest.approx(np.mean(one + other) / 1e3, rel=1e-9)
    for q in (0.0, 0.5, 0.99, 1.0):
        assert merged.quantile_us(q) == whole.quantile_us(q)


def test_nothing_is_told_when_there_are_no_latencies() -> None:
    histogram = _core.LatencyHistogram()
    assert (histogram.count, histogram.quantile_us(0.99), histogram.mean_us, histogram.max_us) == (0, 0, 0, 0)
