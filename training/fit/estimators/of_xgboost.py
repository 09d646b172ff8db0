"""XGBoost. Categories are split by XGBoost's own rule for them."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falaj.training.fit.estimators.job import Fitted, Job, Rows, library
from falaj.training.original import Task

_ROUNDS = 500
_FILE = "model.ubj"
_OBJECTIVES = {
    "binary": ("binary:logistic", "logloss"),
    "multiclass": ("multi:softprob", "mlogloss"),
    "regression": ("reg:squarederror", "rmse"),
}


def fit(job: Job) -> Fitted:
    """Fit an xgboost.Booster that has the best round's trees and no more."""
    with library("xgboost", "boosting"):
        import xgboost as xgb

    class Reporting(xgb.callback.TrainingCallback):  # type: ignore[misc]
        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            (losses,) = evals_log["validation"].values()
            job.report(epoch, float(losses[-1]))
            return False

    callbacks: list[Any] = [Reporting()]
    if job.patience:
        callbacks.append(xgb.callback.EarlyStopping(rounds=job.patience, save_best=True))
    train = _matrix(xgb, job, job.train)
    booster = xgb.train(
        {**params_of(job), "nthread": job.threads},
        train,
        num_boost_round=job.rounds or _ROUNDS,
        evals=[(_matrix(xgb, job, job.validation), "validation")],
        callbacks=callbacks,
        verbose_eval=False,
    )
    kept = xgb.Booster(model_file=booster.save_raw("ubj"))
    return Fitted(kept, kept.num_boosted_rounds())


def params_of(job: Job) -> dict[str, Any]:
    """Return what XGBoost is told, but for threads."""
    objective, metric = _OBJECTIVES[job.task]
    return {
        "objective": objective,
        "eval_metric": metric,
        **({"num_class": job.classes} if job.task == "multiclass" else {}),
        "tree_method": "hist",
        **job.params,
        "seed": job.seed,
        "verbosity": 0,
    }


def score(estimator: Any, matrix: NDArray[np.float32], task: Task) -> NDArray[np.float64]:
    """Return probabilities [rows, classes], or values [rows, 1]."""
    with library("xgboost", "boosting"):
        import xgboost as xgb
    types = estimator.feature_types
    data = xgb.DMatrix(matrix, feature_types=types, enable_categorical=True, nthread=1)
    said = np.asarray(estimator.predict(data), np.float64)
    if task == "binary":
        return np.stack([1 - said, said], axis=1)
    return said if said.ndim == 2 else said.reshape(-1, 1)


def save(estimator: Any, folder: Path) -> str:
    """Write it in XGBoost's own format; return the file's name."""
    estimator.save_model(folder / _FILE)
    return _FILE


def load(path: Path) -> Any:
    """Read what `save` wrote."""
    with library("xgboost", "boosting"):
        import xgboost as xgb
    return xgb.Booster(model_file=str(path))


def _matrix(xgb: Any, job: Job, rows: Rows) -> Any:
    return xgb.DMatrix(
        rows.matrix,
        label=rows.target,
        weight=rows.weight,
        feature_types=feature_types(job),
        enable_categorical=True,
        nthread=job.threads,
    )


def feature_types(job: Job) -> list[str]:
    """Return XGBoost's name of each column's type."""
    return ["q"] * job.numbers + ["c"] * len(job.categories)
