"""When an answer is the original's."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from falaj.training.gate.comparison import Bounds, compare, rank_correlation
from falaj.training.original import ModelOutput, Original

LABEL = ModelOutput("label", "INT64", (), "label")
SCORES = ModelOutput("scores", "FP32", (2,), "scores")
VALUE = ModelOutput("value", "FP32", (1,), "value")


def of(*outputs: ModelOutput) -> Original:
    return Original("sklearn", "other", (), outputs, None, lambda rows: {})


def values(*numbers: float) -> dict[str, Any]:
    return {"value": np.array(numbers, np.float32)[:, None]}


@pytest.mark.parametrize(
    ("was", "now", "wrong"),
    [
        (1.0, 1.0, False),
        (1.0, 1.000015, False),  # abs + rel of 1
        (1.0, 1.00003, True),
        (0.0, 9e-6, False),
        (0.0, 2e-5, True),
        (1e6, 1e6 + 9, False),
        (1e6, 1e6 + 11, True),
        (np.nan, np.nan, False),
        (np.inf, np.inf, False),
        (np.inf, -np.inf, True),
        (np.inf, 3e38, True),
        (3e38, np.inf, True),
        (0.0, np.nan, True),
        (np.nan, 0.0, True),
    ],
)
def test_value_is_wrong_when_beyond_the_bounds(was: float, now: float, wrong: bool) -> None:
    (figures,), rows = compare(of(VALUE), Bounds(), values(was), values(now))
    assert rows["value"].tolist() == [wrong]
    assert figures.wrong == wrong
    assert figures.not_finite == (wrong and not (np.isfinite(was) and np.isfinite(now)))


def test_score_has_no_relative_allowance_when_compared() -> None:
    was = {"scores": np.array([[1000.0, 0.0]], np.float32)}
    now = {"scores": np.array([[1000.005, 0.0]], np.float32)}
    (figures,), _ = compare(of(SCORES), Bounds(), was, now)
    assert figures.wrong == 1


def test_flip_is_a_near_tie_only_when_the_original_scores_are_within_the_bound() -> None:
    original = of(LABEL, SCORES)
    was = {
        "label": np.array([0, 0, 0]),
        "scores": np.array([[0.5, 0.5], [0.500005, 0.499995], [0.5001, 0.4999]], np.float32),
    }
    now = {"label": np.array([1, 1, 1]), "scores": was["scores"]}
    (label, _), rows = compare(original, Bounds(), was, now)
    assert (label.flips, label.near_ties, label.wrong) == (3, 2, 1)
    assert rows["label"].tolist() == [False, False, True]


def test_flip_is_wrong_when_there_are_no_scores() -> None:
    was, now = {"label": np.array(["a", "b"], object)}, {"label": np.array(["a", "c"], object)}
    (label,), _ = compare(of(LABEL), Bounds(), was, now)
    assert (label.flips, label.near_ties, label.wrong) == (1, 0, 1)


def test_figures_are_of_no_rows_when_there_are_none() -> None:
    (figures,), rows = compare(of(VALUE), Bounds(), values(), values())
    assert (figures.rows, figures.wrong, figures.max_abs, figures.rank_correlation) == (0, 0, 0.0, None)
    assert rows["value"].size == 0


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=3, max_size=40))
def test_rank_correlation_is_scipys_when_there_are_ties(pairs: list[tuple[int, int]]) -> None:
    from scipy.stats import spearmanr

    a, b = np.array(pairs, float).T
    found = rank_correlation(a, b)
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        assert found is None
    else:
        assert found == pytest.approx(spearmanr(a, b).statistic, abs=1e-12)
