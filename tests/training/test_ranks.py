"""Ranks against SciPy's, and the area under the ROC curve against scikit-learn's."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from falaj.training.ranks import ranks, roc_area

_VALUES = hnp.arrays(np.float64, st.integers(2, 50), elements=st.integers(-3, 3))


@settings(deadline=None)
@given(values=_VALUES)
def test_ranks_are_scipys_when_values_repeat(values: np.ndarray) -> None:
    from scipy.stats import rankdata

    np.testing.assert_array_equal(ranks(values), rankdata(values))


@settings(deadline=None)
@given(values=_VALUES, data=st.data())
def test_area_is_scikit_learns_when_scores_have_ties(values: np.ndarray, data: Any) -> None:
    from sklearn.metrics import roc_auc_score

    positive = data.draw(hnp.arrays(np.bool_, len(values)))
    positive[:2] = (False, True)
    assert roc_area(ranks(values), positive) == pytest.approx(roc_auc_score(positive, values))
