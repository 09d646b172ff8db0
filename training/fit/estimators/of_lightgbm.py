"""LightGBM. Categories are split by LightGBM's own rule for them."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falaj.training.fit.estimators.job import Fitted, Job, Rows, library
from falaj.training.original import Task

_ROUNDS = 500
_FILE = "model.txt"
_BOOSTING = ("boosting", "boosting_type", "boost")
_OBJECTIVES = {
    "binary": ("binary", "binary_logloss"),
    "multiclass": ("multiclass", "multi_logloss"),
    "regression": ("regression", "rmse"),
}


def fit(job: Job) -> Fitted:
    """Fit a lightgbm.Booster that has the best round's trees and no more."""
    with library("lightgbm", "boosting"):
        import lightgbm as lgb
    objective, metric = _OBJECTIVES[job.task]
    params = {
        "objective": objective,
        "metric": metric,
        **({"num_class": job.classes} if job.task == "multiclass" else {}),
        **job.params,
        "seed": job.seed,
        "num_threads": job.threads,
        # Without these, sums of histograms can differ in their last bits from run to run.
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }
    callbacks: list[Any] = [lambda at: job.report(at.iteration, _loss(at))]
    # A round of DART changes the trees before it: there is no best round to go back to.
    ends_early = bool(job.patience) and "dart" not in (params.get(name) for name in _BOOSTING)
    if ends_early:
        callbacks.append(lgb.early_stopping(job.patience, first_metric_only=True, verbose=False))
    train = _dataset(lgb, job, job.train, None)
    booster = lgb.train(
        params,
        train,
        num_boost_round=job.rounds or _ROUNDS,
        valid_sets=[_dataset(lgb, job, job.validation, train)],
        valid_names=["validation"],
        callbacks=callbacks,
    )
    rounds = booster.best_iteration if ends_early and booster.best_iteration > 0 else None
    text = booster.model_to_string(num_iteration=rounds)
    kept = lgb.Booster(model_str=text)
    return Fitted(kept, kept.current_iteration())


def score(estimator: Any, matrix: NDArray[np.float32], task: Task) -> NDArray[np.float64]:
    """Return probabilities [rows, classes], or values [rows, 1]."""
    if not len(matrix):
        return np.empty((0, estimator.num_model_per_iteration() if task == "multiclass" else _width(task)))
    said = np.asarray(estimator.predict(matrix, num_threads=1), np.float64)
    if task == "binary":
        return np.stack([1 - said, said], axis=1)
    return said.reshape(len(matrix), -1)


def save(estimator: Any, folder: Path) -> str:
    """Write it in LightGBM's own format; return the file's name."""
    (folder / _FILE).write_text(estimator.model_to_string(), encoding="utf-8")
    return _FILE


def load(path: Path) -> Any:
    """Read what `save` wrote."""
    with library("lightgbm", "boosting"):
        import lightgbm as lgb
    return lgb.Booster(model_str=path.read_text(encoding="utf-8"))


def _width(task: Task) -> int:
    return 2 if task == "binary" else 1


def _loss(at: Any) -> float:
    return float(at.evaluation_result_list[0][2])


def _dataset(lgb: Any, job: Job, rows: Rows, reference: Any) -> Any:
    categories = list(range(job.numbers, job.numbers + len(job.categories)))
    names = [f"f{i}" for i in range(rows.matrix.shape[1])]  # as named by itself, whatever the columns' names
    return lgb.Dataset(
        rows.matrix,
        label=rows.target,
        weight=rows.weight,
        reference=reference,
        feature_name=names,
        categorical_feature=categories,
        free_raw_data=False,
        params={"verbosity": -1},
    )
