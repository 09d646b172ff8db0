"""Estimators of scikit-learn, on tables of numbers and categories."""

from collections.abc import Callable
from functools import partial
from typing import Any

from tests.training.export.boosted_combinations import tabular
from tests.training.export.combinations import Combination
from tests.training.export.matrix_data import Table


def estimator(of: Table, *, name: str, **settings: Any) -> Any:
    """Fit one by its name in sklearn; its module first."""
    from importlib import import_module

    module, kind = name.split(".")
    return getattr(import_module(f"sklearn.{module}"), kind)(**settings).fit(of.matrix, of.target)


def _of(name: str, **settings: Any) -> Callable[[Table], Any]:
    return partial(estimator, name=name, **settings)


_TREES: tuple[tuple[str, Callable[[Table], Any], tuple[str, ...]], ...] = (
    ("decision tree", _of("tree.DecisionTreeClassifier", random_state=0), ("wine", "flights")),
    ("decision tree", _of("tree.DecisionTreeRegressor", random_state=0, max_depth=6), ("weather",)),
    (
        "random forest",
        _of("ensemble.RandomForestClassifier", n_estimators=15, random_state=0),
        ("breast_cancer", "planes"),
    ),
    (
        "random forest",
        _of("ensemble.RandomForestRegressor", n_estimators=15, random_state=0),
        ("diabetes", "weather"),
    ),
    (
        "extra trees",
        _of("ensemble.ExtraTreesClassifier", n_estimators=15, random_state=0),
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


def sklearn_models() -> tuple[Combination, ...]:
    return tuple(
        Combination(name, data, partial(tabular, fit, data)) for name, fit, on in _TREES for data in on
    )
