"""Estimators that are not trees answer as graphs what scikit-learn answers."""

from typing import Any

import numpy as np
import pytest
from sklearn import (
    calibration,
    compose,
    discriminant_analysis,
    ensemble,
    linear_model,
    naive_bayes,
    neighbors,
    neural_network,
    pipeline,
    preprocessing,
    svm,
)
from sklearn.impute import SimpleImputer

from falaj.training.errors import TrainingError
from falaj.training.graph.convert import to_onnx
from falaj.training.graph.tabular_original import original_of_tabular
from falaj.training.graph.target import Target
from falaj.training.original import Arrays, Original, Task
from falaj.training.tabular import Calibration, Tabular
from tests.training.graph import tables
from tests.training.graph.answers import answer, assert_alike, with_extremes

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
_NAMES = ("a", "b", "c", "d")
# How far a float is off where skl2onnx writes FP32.
_NARROW = 5e-6
_CLASSIFIERS: dict[str, tuple[Any, float]] = {
    "logistic": (linear_model.LogisticRegression(), 1e-7),
    "sgd": (linear_model.SGDClassifier(loss="log_loss", random_state=0), 1e-7),
    "lda": (discriminant_analysis.LinearDiscriminantAnalysis(), 1e-7),
    "qda": (discriminant_analysis.QuadraticDiscriminantAnalysis(), 1e-6),
    "gaussian": (naive_bayes.GaussianNB(), 1e-7),
    "neighbours": (neighbors.KNeighborsClassifier(7), 1e-7),
    "perceptron": (neural_network.MLPClassifier((9,), max_iter=60, random_state=0), 1e-7),
    "calibrated": (calibration.CalibratedClassifierCV(linear_model.LogisticRegression(), cv=2), 1e-7),
    "calibrated decision": (
        calibration.CalibratedClassifierCV(svm.LinearSVC(), cv=2, method="isotonic"),
        1e-7,
    ),
    "calibrated boosting": (
        calibration.CalibratedClassifierCV(ensemble.HistGradientBoostingClassifier(max_iter=5), cv=2),
        1e-7,
    ),
    "calibrated forest": (
        calibration.CalibratedClassifierCV(
            pipeline.make_pipeline(
                preprocessing.StandardScaler(),
                ensemble.RandomForestClassifier(5, max_depth=4, random_state=0),
            ),
            cv=2,
            method="isotonic",
        ),
        1e-7,
    ),
    "calibrated neighbours": (
        calibration.CalibratedClassifierCV(neighbors.KNeighborsClassifier(7), cv=2, ensemble=False),
        1e-7,
    ),
    "scaled": (
        pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression()),
        1e-7,
    ),
    "scaled forest": (
        pipeline.make_pipeline(
            preprocessing.StandardScaler(), ensemble.RandomForestClassifier(9, max_depth=5, random_state=0)
        ),
        1e-7,
    ),
    "powers": (
        pipeline.make_pipeline(
            preprocessing.StandardScaler(),
            preprocessing.PolynomialFeatures(3),
            linear_model.LogisticRegression(),
        ),
        1e-7,
    ),
}
_PARTS = [
    ("forest", ensemble.RandomForestClassifier(9, max_depth=5, random_state=0)),
    ("linear", linear_model.LogisticRegression()),
    ("hist", ensemble.HistGradientBoostingClassifier(max_iter=9)),
]
_CLASSIFIERS |= {
    "voting": (ensemble.VotingClassifier(_PARTS, voting="soft", weights=[1, 2, 1.5]), 1e-7),
    "stacking": (ensemble.StackingClassifier(_PARTS, cv=2, passthrough=True), 2e-7),
    "bagging": (ensemble.BaggingClassifier(n_estimators=5, max_features=0.6, random_state=0), 1e-7),
}
_REGRESSORS: dict[str, tuple[Any, float]] = {
    "linear": (linear_model.LinearRegression(), 1e-7),
    "ridge": (linear_model.Ridge(), 1e-7),
    "huber": (linear_model.HuberRegressor(), 1e-7),
    "support": (svm.SVR(), _NARROW),
    "linear support": (svm.LinearSVR(random_state=0), 1e-7),
    "neighbours": (neighbors.KNeighborsRegressor(7), 1e-7),
    "perceptron": (neural_network.MLPRegressor(hidden_layer_sizes=(9,), max_iter=60, random_state=0), 1e-7),
}


def _filled(seed: int = 0) -> Arrays:
    return {"x": np.nan_to_num(tables.arrays(400, seed)["x"], nan=0.7)}


def _original(estimator: Any, task: Task, given: Arrays, target: str = "") -> Original:
    y = tables.targets({**tables.arrays(400), **given})[target or task]
    estimator.fit(given["x"], y)
    classes = {"binary": (0, 1), "multiclass": ("low", "some", "high"), "regression": ()}[task]
    return original_of_tabular(Tabular(estimator, _NAMES), task=task, classes=classes)


@pytest.mark.parametrize("task", ["binary", "multiclass"])
@pytest.mark.parametrize("name", _CLASSIFIERS)
def test_probabilities_are_alike_when_converted(name: str, task: Task) -> None:
    estimator, within = _CLASSIFIERS[name]
    original = _original(estimator, task, _filled())
    assert_alike(original, _filled(3), within=within, near=within)
    assert_alike(original, _filled(3), within=within, near=within, target=Target(13, 3, 8))


@pytest.mark.parametrize("name", _REGRESSORS)
def test_values_are_alike_when_converted(name: str) -> None:
    estimator, within = _REGRESSORS[name]
    assert_alike(_original(estimator, "regression", _filled()), _filled(3), within=within)


@pytest.mark.parametrize("estimator", [linear_model.PoissonRegressor(), linear_model.GammaRegressor()])
def test_values_are_exponents_when_the_link_is(estimator: Any) -> None:
    assert_alike(_original(estimator, "regression", _filled(), "positive"), _filled(3), within=2e-7)


def test_missing_values_are_filled_when_an_imputer_comes_first() -> None:
    given = {"x": tables.arrays(400)["x"]}
    estimator = pipeline.make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True),
        preprocessing.StandardScaler(),
        linear_model.LogisticRegression(),
    )
    original = _original(estimator, "binary", given)
    assert_alike(original, given, within=1e-7, near=1e-7)
    extreme = with_extremes(given, infinite=False)
    assert_alike(original, {"x": np.clip(extreme["x"], -1e9, 1e9)}, within=1e-7, near=1e-7)


def test_codes_have_a_column_each_when_columns_are_chosen_by_their_places() -> None:
    given = tables.arrays(400)
    known = [np.arange(len(values), dtype=np.float32) for values in tables.CATEGORIES.values()]
    numbers = pipeline.make_pipeline(SimpleImputer(strategy="median"), preprocessing.StandardScaler())
    codes = pipeline.make_pipeline(
        SimpleImputer(strategy="constant", fill_value=-1.0),
        preprocessing.OneHotEncoder(categories=known, handle_unknown="ignore", dtype=np.float32),
    )
    columns = compose.ColumnTransformer([("numbers", numbers, [0, 1, 2, 3]), ("codes", codes, [4, 5])])
    model = pipeline.make_pipeline(columns, linear_model.LogisticRegression())
    model.fit(tables.matrix(given), tables.targets(given)["binary"])
    tabular = Tabular(model, tables.NUMBERS, tables.CATEGORIES)
    original = original_of_tabular(tabular, task="binary", classes=(0, 1))
    assert_alike(original, tables.arrays(400, 3), within=1e-7, near=1e-7)


def test_classes_have_alike_shares_when_all_scores_are_zero() -> None:
    original = _original(linear_model.SGDClassifier(loss="log_loss", random_state=0), "multiclass", _filled())
    weights = original.model.estimator.coef_
    weights[:] = np.abs(weights) + 1.0  # all scores fall together
    far = {"x": np.full((3, 4), -1e6, np.float32)}
    assert_alike(original, far, within=1e-7)
    np.testing.assert_allclose(original.predict(far)["probabilities"], 1 / 3, atol=1e-7)


def test_probabilities_are_alike_when_they_are_tiny() -> None:
    """ONNX Runtime's Sigmoid of FP64 is 0.1 % off where it is 1e-13."""
    estimator = linear_model.LogisticRegression()
    original = _original(estimator, "binary", _filled())
    estimator.coef_[:], estimator.intercept_[:] = [[1.0, 0.0, 0.0, 0.0]], 0.0
    x = np.zeros((60, 4), np.float32)
    x[:, 0] = -np.arange(60) * 1.5
    right = original.predict({"x": x})["probabilities"][:, 1]
    got = answer(to_onnx(original), {"x": x})["probabilities"][:, 1]
    assert right.min() > 0
    np.testing.assert_allclose(got, right, rtol=1e-6)


def test_calibration_follows_when_the_model_is_linear() -> None:
    plain = _original(linear_model.LogisticRegression(), "binary", _filled()).model
    made = Tabular(plain.estimator, plain.numbers, calibration=Calibration("sigmoid", 0.5, 0.3))
    assert_alike(original_of_tabular(made, task="binary", classes=(0, 1)), _filled(3), within=1e-7, near=1e-7)


def test_estimator_is_refused_when_nothing_writes_it() -> None:
    original = _original(linear_model.TheilSenRegressor(random_state=0), "regression", _filled())
    original.model.estimator.__class__ = type(
        "Own", (linear_model.TheilSenRegressor,), {"__module__": "sklearn."}
    )
    del original.model.estimator.coef_
    with pytest.raises(TrainingError, match="Own: skl2onnx does not write it for this ONNX Runtime"):
        to_onnx(original)


def test_calibration_is_refused_when_it_is_by_temperature() -> None:
    logistic = linear_model.LogisticRegression()
    model = calibration.CalibratedClassifierCV(logistic, cv=2, method="temperature")
    with pytest.raises(TrainingError, match="expected 'sigmoid' or 'isotonic', got 'temperature'"):
        to_onnx(_original(model, "binary", _filled()))


def test_estimator_is_refused_when_it_has_no_probabilities() -> None:
    model = linear_model.RidgeClassifier().fit(_filled()["x"], np.arange(400) % 2)
    with pytest.raises(TrainingError, match="RidgeClassifier has no predict_proba"):
        original_of_tabular(Tabular(model, _NAMES), task="binary", classes=(0, 1))
