import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from falaj.training.errors import TrainingError
from falaj.training.fit.calibrate import calibrated, fit_calibration, logit


def drawn(rows: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    truth = random.uniform(0.02, 0.98, rows)
    z = 3 * logit(truth) + 1  # too sure, and too high
    return 1 / (1 + np.exp(-z)), random.uniform(size=rows) < truth


def test_sigmoid_is_the_logistic_regression_on_the_logit_when_fitted() -> None:
    scores, is_second = drawn()
    found = fit_calibration("sigmoid", scores, is_second)
    expected = LogisticRegression(C=1e12, tol=1e-10, max_iter=1000).fit(logit(scores)[:, None], is_second)
    assert found.slope == pytest.approx(expected.coef_[0, 0], rel=1e-5)
    assert found.offset == pytest.approx(expected.intercept_[0], rel=1e-5)
    assert found.slope == pytest.approx(1 / 3, abs=0.03)
    assert calibrated(found, scores) == pytest.approx(
        expected.predict_proba(logit(scores)[:, None])[:, 1], abs=1e-6
    )


def test_isotonic_is_that_of_scikit_learn_when_fitted() -> None:
    scores, is_second = drawn(300)
    found = fit_calibration("isotonic", scores, is_second)
    assert (np.diff(found.knots) > 0).all()
    expected = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(scores, is_second)
    grid = np.linspace(0, 1, 1001)
    assert calibrated(found, grid) == pytest.approx(expected.predict(grid), abs=1e-12)


def test_scores_of_0_and_1_stay_finite_when_calibrated() -> None:
    scores, is_second = drawn()
    found = fit_calibration("sigmoid", scores, is_second)
    assert np.isfinite(calibrated(found, np.array([0.0, 1.0]))).all()


def test_calibration_is_refused_when_there_is_none_that_fits_best() -> None:
    scores = np.linspace(0.1, 0.9, 50)
    with pytest.raises(TrainingError, match="all of one class"):
        fit_calibration("sigmoid", scores, np.ones(50, bool))
    with pytest.raises(TrainingError, match="apart without an error"):
        fit_calibration("sigmoid", scores, scores > 0.5)
