"""Scikit-learn's linear models as nodes of a graph."""

from typing import TYPE_CHECKING, Any

import numpy as np

from falaj.training.graph.forest import Link

if TYPE_CHECKING:
    from falaj.training.graph.graph import Growth

# By the name of the class: what makes scores of its sums.
_CLASSIFIERS: dict[str, Link] = {
    "LogisticRegression": "softmax",
    "LogisticRegressionCV": "softmax",
    "LinearDiscriminantAnalysis": "softmax",
    "SGDClassifier": "sigmoids",
}
_DECIDERS = ("LinearSVC", "RidgeClassifier", "RidgeClassifierCV", "Perceptron", "PassiveAggressiveClassifier")
_EXPONENTIAL = ("PoissonRegressor", "GammaRegressor")


def is_linear(estimator: Any, classes: int) -> bool:
    """Say whether an estimator's answers are what `linear_graph` adds."""
    name, module = type(estimator).__name__, type(estimator).__module__
    if not module.startswith("sklearn.") or not hasattr(estimator, "coef_"):
        return False
    if not classes:
        linear = module.startswith(("sklearn.linear_model.", "sklearn.svm._classes"))
        return linear and name not in ("TweedieRegressor", "SVR", "NuSVR")
    if name == "SGDClassifier":
        return bool(estimator.loss == "log_loss")
    return name in _CLASSIFIERS


def decides(estimator: Any) -> bool:
    """Say whether a classifier's answer is a linear decision without probabilities."""
    name = type(estimator).__name__
    return name in _DECIDERS or (
        name == "SGDClassifier" and estimator.loss not in ("log_loss", "modified_huber")
    )


def linear_graph(grow: "Growth", estimator: Any, x: str) -> tuple[str, int]:
    """Add x · coefficients + intercepts; return the sums, FP64 [rows, width], and the width."""
    weights = np.atleast_2d(np.asarray(estimator.coef_, np.float64))
    sums = grow.node("MatMul", x, grow.constant(np.ascontiguousarray(weights.T)))
    intercept = np.broadcast_to(np.asarray(estimator.intercept_, np.float64), (len(weights),))
    return grow.node("Add", sums, grow.constant(np.ascontiguousarray(intercept))), len(weights)


def linear_link(estimator: Any, classes: int, width: int) -> Link:
    """Return what makes its scores of the sums."""
    name = type(estimator).__name__
    if not classes:
        return "exp" if name in _EXPONENTIAL else "identity"
    return "sigmoid" if width == 1 else _CLASSIFIERS[name]
