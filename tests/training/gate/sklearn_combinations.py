"""Estimators of scikit-learn, on tables of numbers and categories."""

import warnings
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

from tests.training.gate.boosted_combinations import tabular
from tests.training.gate.combinations import Combination
from tests.training.gate.matrix_data import Table


def estimator(of: Table, *given: Any, name: str, **settings: Any) -> Any:
    """Fit one by its name in sklearn, behind its module's."""
    module, kind = name.split(".")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on so few rows some do not converge
        model = getattr(import_module(f"sklearn.{module}"), kind)(*given, **settings)
        return model.fit(of.matrix, of.target)


def _of(name: str, *given: Any, **settings: Any) -> Callable[[Table], Any]:
    return lambda of: estimator(of, *given, name=name, **settings)


_TREES: tuple[tuple[str, Callable[[Table], Any], tuple[str, ...]], ...] = (
    ("decision tree", _of("tree.DecisionTreeClassifier", random_state=0), ("wine", "flights")),
    ("decision tree", _of("tree.DecisionTreeRegressor", random_state=0, max_depth=6), ("weather",)),
    (
        "random forest",
        _of("ensemble.RandomForestClassifier", n_estimators=8, random_state=0, max_depth=9),
        ("breast_cancer", "planes"),
    ),
    (
        "random forest",
        _of("ensemble.RandomForestRegressor", n_estimators=8, random_state=0, max_depth=9),
        ("diabetes", "weather"),
    ),
    (
        "extra trees",
        _of("ensemble.ExtraTreesClassifier", n_estimators=8, random_state=0, max_depth=9),
        ("digits", "flights"),
    ),
    (
        "gradient boosting",
        _of("ensemble.GradientBoostingClassifier", n_estimators=10, random_state=0),
        ("wine",),
    ),
    (
        "gradient boosting",
        _of("ensemble.GradientBoostingRegressor", n_estimators=20, random_state=0),
        ("diabetes",),
    ),
    (
        "histogram boosting",
        _of("ensemble.HistGradientBoostingClassifier", max_iter=10, random_state=0),
        ("flights", "planes"),
    ),
    (
        "histogram boosting",
        _of("ensemble.HistGradientBoostingRegressor", max_iter=20, random_state=0),
        ("weather",),
    ),
)


_SCALED = ("breast_cancer", "wine")
_OTHERS: tuple[tuple[str, Callable[[Table], Any], tuple[str, ...]], ...] = (
    ("logistic regression", _of("linear_model.LogisticRegression", max_iter=5000), _SCALED),
    ("linear regression", _of("linear_model.LinearRegression"), ("diabetes",)),
    ("ridge", _of("linear_model.Ridge"), ("diabetes",)),
    ("lasso", _of("linear_model.Lasso", alpha=0.1), ("diabetes",)),
    ("stochastic gradient", _of("linear_model.SGDClassifier", loss="log_loss", random_state=0), ("digits",)),
    ("support vectors", _of("svm.SVC", probability=True, random_state=0), ("wine",)),
    ("support vectors", _of("svm.SVR"), ("diabetes",)),
    ("nearest neighbours", _of("neighbors.KNeighborsClassifier"), ("wine",)),
    ("nearest neighbours", _of("neighbors.KNeighborsRegressor", weights="distance"), ("diabetes",)),
    ("naive Bayes", _of("naive_bayes.GaussianNB"), ("wine", "breast_cancer")),
    (
        "perceptron",
        _of("neural_network.MLPClassifier", hidden_layer_sizes=(16,), max_iter=300, random_state=0),
        ("wine",),
    ),
    (
        "perceptron",
        _of("neural_network.MLPRegressor", hidden_layer_sizes=(16,), max_iter=300, random_state=0),
        ("diabetes",),
    ),
    ("discriminant", _of("discriminant_analysis.LinearDiscriminantAnalysis"), ("wine",)),
    ("Poisson regression", _of("linear_model.PoissonRegressor", alpha=1e-3), ("diabetes",)),
)


# What the gate is right to refuse, by model and data.
_REFUSED = {
    # libsvm ends its iteration at a coarse bound, so that probabilities jump by 1e-3 where nothing else does.
    "support vectors on wine": r"bisected: output 'probabilities'",
    # skl2onnx writes plain means, without the weights by distance.
    "nearest neighbours on diabetes": r"training rows: output 'prediction'",
}


def sklearn_models() -> tuple[Combination, ...]:
    return tuple(
        Combination(name, data, partial(tabular, fit, data), _REFUSED.get(f"{name} on {data}", ""))
        for name, fit, on in (*_TREES, *_OTHERS)
        for data in on
    )
