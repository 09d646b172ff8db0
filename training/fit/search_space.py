"""Which parameters a study tries."""

import json
from collections.abc import Mapping
from typing import Any

from falaj.training.errors import TrainingError
from falaj.training.fit.spec import Kind, Params, TrainSpec

_DEFAULTS: Mapping[Kind, Mapping[str, Params]] = {
    "linear": {"C": {"low": 1e-4, "high": 1e2, "log": True}},
    "hist_gradient_boosting": {
        "learning_rate": {"low": 0.02, "high": 0.3, "log": True},
        "max_leaf_nodes": {"low": 7, "high": 127, "log": True},
        "min_samples_leaf": {"low": 5, "high": 200, "log": True},
        "l2_regularization": {"low": 1e-3, "high": 10.0, "log": True},
    },
    "random_forest": {
        "min_samples_leaf": {"low": 1, "high": 50, "log": True},
        "max_features": {"low": 0.1, "high": 1.0},
    },
    "lightgbm": {
        "learning_rate": {"low": 0.02, "high": 0.3, "log": True},
        "num_leaves": {"low": 7, "high": 127, "log": True},
        "min_data_in_leaf": {"low": 5, "high": 200, "log": True},
        "feature_fraction": {"low": 0.5, "high": 1.0},
        "lambda_l2": {"low": 1e-3, "high": 10.0, "log": True},
    },
    "xgboost": {
        "eta": {"low": 0.02, "high": 0.3, "log": True},
        "max_depth": {"low": 3, "high": 10},
        "min_child_weight": {"low": 1.0, "high": 50.0, "log": True},
        "colsample_bytree": {"low": 0.5, "high": 1.0},
        "lambda": {"low": 1e-3, "high": 10.0, "log": True},
    },
    "catboost": {
        "learning_rate": {"low": 0.02, "high": 0.3, "log": True},
        "depth": {"low": 4, "high": 8},
        "l2_leaf_reg": {"low": 1.0, "high": 10.0, "log": True},
    },
    "mlp": {
        "learning_rate": {"low": 3e-4, "high": 1e-2, "log": True},
        "weight_decay": {"low": 1e-6, "high": 1e-2, "log": True},
        "dropout": {"low": 0.0, "high": 0.4},
    },
}


def space_of(spec: TrainSpec) -> Mapping[str, Params]:
    """Return the space of a specification's table, or its kind's own; of a function there is none.

    Raises:
        TrainingError: A range is none, or a pipeline has no space.
    """
    if spec.space is not None:
        return {}
    if not spec.tuning.space:
        if spec.model.kind == "pipeline":
            raise TrainingError("tuning.space: a pipeline has none of its own; say which parameters to try")
        if spec.model.kind == "linear" and spec.data.task == "regression":
            return {"alpha": {"low": 1e-4, "high": 1e3, "log": True}}
        return _DEFAULTS[spec.model.kind]
    for name, told in spec.tuning.space.items():
        _check(f"tuning.space.{name}", told)
    return spec.tuning.space


def suggest(trial: Any, space: Mapping[str, Params]) -> dict[str, Any]:
    """Return parameters for a trial of Optuna."""
    params: dict[str, Any] = {}
    for name, told in space.items():
        if "choices" in told:
            # Optuna keeps numbers and texts alone: lists, such as layers, are texts to it.
            texts = [json.dumps(each) for each in told["choices"]]
            params[name] = json.loads(trial.suggest_categorical(name, texts))
            continue
        low, high, step, log = told["low"], told["high"], told.get("step"), told.get("log", False)
        if isinstance(low, int) and isinstance(high, int):
            params[name] = trial.suggest_int(name, low, high, step=step or 1, log=log)
        else:
            params[name] = trial.suggest_float(name, float(low), float(high), step=step, log=log)
    return params


def _check(where: str, told: Any) -> None:
    if not isinstance(told, Mapping):
        raise TrainingError(f"{where}: expected {{low, high}} or {{choices}}, got {told!r}")
    for key in told:
        if key not in ("low", "high", "log", "step", "choices"):
            raise TrainingError(f"{where}: unknown key '{key}'; known here: choices, high, log, low, step")
    if "choices" in told:
        if len(told) > 1 or not isinstance(told["choices"], list | tuple) or not told["choices"]:
            raise TrainingError(f"{where}: expected choices alone, one or more, got {dict(told)}")
        return
    numbers = [told.get(key) for key in ("low", "high")]
    if not all(isinstance(each, int | float) and not isinstance(each, bool) for each in numbers):
        raise TrainingError(f"{where}: expected numbers low and high, got {dict(told)}")
    low, high = float(told["low"]), float(told["high"])
    if not low <= high or (told.get("log") and low <= 0):
        raise TrainingError(f"{where}: expected low up to high, above 0 with log, got {dict(told)}")
    if told.get("log") and told.get("step") is not None:
        raise TrainingError(f"{where}: expected log or step, got both")
