"""Boosted trees of LightGBM, XGBoost and CatBoost, on numbers and categories, with missing values."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from falaj.training.graph.convert import to_onnx
from falaj.training.graph.tabular_original import original_of_tabular
from falaj.training.tabular import Calibration, Tabular
from tests.training.gate.combinations import Combination, Exported
from tests.training.gate.matrix_data import Table, table

Fit = Callable[[Table], Any]


def tabular(fit: Fit, data: str, calibration: Calibration | None = None) -> Exported:
    of = table(data)
    fitted = Tabular(fit(of), of.numbers, of.categories, calibration)
    original = original_of_tabular(fitted, task=of.task, classes=of.classes)
    return Exported(original, to_onnx(original), of.rows)


def lightgbm(of: Table, **settings: Any) -> Any:
    import lightgbm

    objective = {"binary": "binary", "multiclass": "multiclass", "regression": "regression"}[of.task]
    given = {"objective": objective, "num_leaves": 8, "min_data_in_leaf": 5, "verbose": -1, "num_threads": 1}
    if of.task == "multiclass":
        given["num_class"] = len(of.classes)
    categories = list(range(len(of.numbers), of.matrix.shape[1]))
    told = {"min_data_per_group": 5, "cat_smooth": 1.0, "max_cat_to_onehot": 4} if categories else {}
    data = lightgbm.Dataset(of.matrix, of.target, categorical_feature=categories)
    return lightgbm.train({**given, **told, **settings}, data, 20)


def xgboost(of: Table, **settings: Any) -> Any:
    import xgboost

    kinds = ["float"] * len(of.numbers) + ["c"] * len(of.categories)
    data = xgboost.DMatrix(of.matrix, of.target, feature_types=kinds, enable_categorical=True)
    objective = {"binary": "binary:logistic", "multiclass": "multi:softprob"}.get(of.task, "reg:squarederror")
    given = {"objective": objective, "max_depth": 4, "nthread": 1, "verbosity": 0}
    if of.task == "multiclass":
        given["num_class"] = len(of.classes)
    return xgboost.train({**given, **settings}, data, 20)


def catboost(of: Table, **settings: Any) -> Any:
    from catboost import CatBoostClassifier, CatBoostRegressor

    kind = CatBoostRegressor if of.task == "regression" else CatBoostClassifier
    loss = {"binary": "Logloss", "multiclass": "MultiClass", "regression": "RMSE"}[of.task]
    given = {"iterations": 20, "depth": 4, "verbose": False, "thread_count": 1, "random_seed": 0}
    model = kind(**{"loss_function": loss, "allow_writing_files": False, **given, **settings})
    return model.fit(of.matrix, of.target)


SIGMOID = Calibration("sigmoid", slope=0.8, offset=-0.3)
ISOTONIC = Calibration(
    "isotonic",
    knots=np.array([0.05, 0.2, 0.21, 0.5, 0.9]),
    values=np.array([0.01, 0.1, 0.3, 0.55, 0.97]),
)
_MODELS: tuple[tuple[str, Fit, tuple[str, ...]], ...] = (
    ("LightGBM", lightgbm, ("breast_cancer", "wine", "flights", "delays", "planes", "weather")),
    ("LightGBM, zero as missing", partial(lightgbm, zero_as_missing=True), ("digits", "weather")),
    ("LightGBM, DART", partial(lightgbm, boosting="dart"), ("breast_cancer",)),
    (
        "LightGBM, random forest",
        partial(lightgbm, boosting="rf", bagging_freq=1, bagging_fraction=0.6),
        ("flights",),
    ),
    ("LightGBM, Poisson", partial(lightgbm, objective="poisson"), ("diabetes",)),
    ("XGBoost", xgboost, ("breast_cancer", "wine", "flights", "delays", "planes", "weather")),
    ("XGBoost, DART", partial(xgboost, booster="dart", rate_drop=0.2), ("flights",)),
    ("XGBoost, Poisson", partial(xgboost, objective="count:poisson"), ("diabetes",)),
    ("CatBoost", catboost, ("breast_cancer", "wine", "flights", "delays", "planes", "weather")),
    ("CatBoost, leaf by leaf", partial(catboost, grow_policy="Lossguide"), ("flights",)),
)


def boosted() -> tuple[Combination, ...]:
    plain = [Combination(name, data, partial(tabular, fit, data)) for name, fit, on in _MODELS for data in on]
    calibrated = [
        Combination("LightGBM, sigmoid", "flights", partial(tabular, lightgbm, "flights", SIGMOID)),
        Combination("XGBoost, isotonic", "flights", partial(tabular, xgboost, "flights", ISOTONIC)),
    ]
    return (*plain, *calibrated)
