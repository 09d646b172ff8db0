"""CatBoost. Codes of categories are numbers to it: its own rules for categories have no ONNX."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falaj.training.fit.estimators.job import Fitted, Job, Pruned, Rows, library
from falaj.training.original import Task

_ROUNDS = 500
_FILE = "model.cbm"
_LOSSES = {"binary": "Logloss", "multiclass": "MultiClass", "regression": "RMSE"}


def fit(job: Job) -> Fitted:
    """Fit a catboost.CatBoost that has the best round's trees and no more."""
    with library("catboost", "boosting"):
        import catboost
    loss = _LOSSES[job.task]
    pruned: list[Pruned] = []

    class Reporting:
        """CatBoost goes on after an exception of a callback; told False it ends."""

        def after_iteration(self, info: Any) -> bool:
            (losses,) = info.metrics["validation"].values()
            try:
                job.report(info.iteration - 1, float(losses[-1]))
            except Pruned as end:
                pruned.append(end)
                return False
            return True

    model = catboost.CatBoost(
        {
            "loss_function": loss,
            **job.params,
            "iterations": job.rounds or _ROUNDS,
            "random_seed": job.seed,
            "thread_count": job.threads,
            "allow_writing_files": False,
            "logging_level": "Silent",
        }
    )
    model.fit(
        _pool(catboost, job.train),
        eval_set=_pool(catboost, job.validation),
        use_best_model=bool(job.patience),
        early_stopping_rounds=job.patience or None,
        callbacks=[Reporting()],
    )
    if pruned:
        raise pruned[0]
    return Fitted(model, int(model.tree_count_))


def score(estimator: Any, matrix: NDArray[np.float32], task: Task) -> NDArray[np.float64]:
    """Return probabilities [rows, classes], or values [rows, 1]."""
    if not len(matrix):  # of which it says so on standard error
        return np.empty((0, len(estimator.classes_) or 1))
    kind = "RawFormulaVal" if task == "regression" else "Probability"
    said = np.asarray(estimator.predict(matrix, prediction_type=kind, thread_count=1), np.float64)
    return said if said.ndim == 2 else said.reshape(-1, 1)


def save(estimator: Any, folder: Path) -> str:
    """Write it in CatBoost's own format; return the file's name."""
    estimator.save_model(str(folder / _FILE))
    return _FILE


def load(path: Path) -> Any:
    """Read what `save` wrote."""
    with library("catboost", "boosting"):
        import catboost
    return catboost.CatBoost().load_model(str(path))


def _pool(catboost: Any, rows: Rows) -> Any:
    return catboost.Pool(rows.matrix, label=rows.target, weight=rows.weight)
