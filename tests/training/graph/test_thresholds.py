"""A rounded threshold parts the values of FP32 as the one of FP64 does."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from falaj.training.graph.thresholds import distinct, rounded

_BIG = float(np.finfo(np.float32).max)
_TINY = float(np.finfo(np.float32).smallest_subnormal)
_doubles = st.floats(allow_nan=False)


def _near(value: float) -> st.SearchStrategy[float]:
    """A value of FP32, what lies half way to the next, or that."""
    if not np.isfinite(value) or abs(value) == _BIG:
        return st.just(value)
    step = float(np.spacing(np.float32(value)))
    return st.sampled_from([value + share * step for share in (-1.0, -0.5, 0.0, 0.5, 1.0)])


# The values that a rounded threshold can be wrong for are those beside it.
_beside = st.floats(allow_nan=False, width=32).flatmap(_near)


@given(threshold=st.one_of(_doubles, _beside), inclusive=st.booleans(), steps=st.integers(-2, 2))
@example(threshold=1e300, inclusive=True, steps=0)
@example(threshold=-1e300, inclusive=False, steps=0)
@example(threshold=1e-320, inclusive=False, steps=0)
@example(threshold=_BIG * (1 + 1e-12), inclusive=True, steps=0)
def test_rounded_threshold_parts_alike_when_values_are_beside_it(
    threshold: float, inclusive: bool, steps: int
) -> None:
    with np.errstate(over="ignore"):
        x = np.float32(threshold)
        for _ in range(abs(steps)):
            x = np.nextafter(x, np.float32(np.sign(steps) * np.inf))
    (made,) = rounded(np.array([threshold]), inclusive)
    assert made.dtype == np.float32
    if inclusive:
        assert (x <= made) == (float(x) <= threshold)
    else:
        assert (x < made) == (float(x) < threshold)


@given(threshold=_doubles, x=st.floats(allow_nan=False, width=32), inclusive=st.booleans())
def test_rounded_threshold_parts_alike_when_values_are_any(
    threshold: float, x: float, inclusive: bool
) -> None:
    (made,) = rounded(np.array([threshold]), inclusive)
    mine = np.float32(x) <= made if inclusive else np.float32(x) < made
    assert mine == (x <= threshold if inclusive else x < threshold)


@pytest.mark.parametrize(("inclusive", "expected"), [(True, 0.3), (False, np.nextafter(0.3, 1))])
def test_nearest_would_be_wrong_when_threshold_lies_between(inclusive: bool, expected: float) -> None:
    below = np.float32(0.3) if float(np.float32(0.3)) <= 0.3 else np.nextafter(np.float32(0.3), np.float32(0))
    above = np.nextafter(below, np.float32(1))
    assert rounded(np.array([expected]), inclusive)[0] == (below if inclusive else above)
    assert np.float32(0.3) == above  # what rounding to the nearest gives


def test_distinct_values_ascend_when_repeated() -> None:
    assert distinct(np.array([2.0, -0.0, 0.0, _TINY, 2.0])).tolist() == [0.0, _TINY, 2.0]
