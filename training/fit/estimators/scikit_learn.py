"""scikit-learn's estimators on the matrix: linear models, histogram boosting, forests.

Linear models have missing numbers filled by the median and scaled, and a column for each known value of a
category. Trees have codes as numbers, and forests have missing numbers filled.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falaj.training.fit.estimators.job import Fitted, Job, library
from falaj.training.original import Task

_TREES = 200
_ROUNDS = 300
_STEPS = 1000
_FILE = "model.joblib"


def fit(job: Job, kind: str) -> Fitted:
    """Fit an estimator of scikit-learn."""
    with library("scikit-learn", "training"):
        import threadpoolctl  # type: ignore[import-untyped]

    with threadpoolctl.threadpool_limits(job.threads):
        if kind == "linear":
            return _linear(job)
        return _forest(job) if kind == "random_forest" else _boosting(job)


def score(estimator: Any, matrix: NDArray[np.float32], task: Task) -> NDArray[np.float64]:
    """Return probabilities [rows, classes], or values [rows, 1]."""
    if not len(matrix):  # which scikit-learn refuses
        return np.empty((0, 1 if task == "regression" else len(estimator.classes_)))
    if task == "regression":
        return np.asarray(estimator.predict(matrix), np.float64).reshape(-1, 1)
    return np.asarray(estimator.predict_proba(matrix), np.float64)


def save(estimator: Any, folder: Path) -> str:
    """Write it with joblib; return the file's name."""
    import joblib

    joblib.dump(estimator, folder / _FILE)
    return _FILE


def load(path: Path) -> Any:
    """Read what `save` wrote; such a file can run code when it is read."""
    with library("joblib", "training"):
        import joblib
    return joblib.load(path)


def _linear(job: Job) -> Fitted:
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    steps: list[tuple[str, Any, list[int]]] = []
    if job.numbers:
        filled = make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler())
        steps.append(("numbers", filled, list(range(job.numbers))))
    if job.categories:
        # -1 is none of the codes, so that what is not known has 0 in every column.
        known = [np.arange(count, dtype=np.float32) for count in job.categories]
        encoded = make_pipeline(
            SimpleImputer(strategy="constant", fill_value=-1.0, keep_empty_features=True),
            OneHotEncoder(categories=known, handle_unknown="ignore", sparse_output=False, dtype=np.float32),
        )
        steps.append(("categories", encoded, list(range(job.numbers, job.train.matrix.shape[1]))))
    if job.task == "regression":
        last = Ridge(**job.params)
        name = "ridge"
    else:
        last = LogisticRegression(
            **{"max_iter": job.rounds or _STEPS, **job.params, "random_state": job.seed}
        )
        name = "logisticregression"
    pipeline = make_pipeline(ColumnTransformer(steps), last)
    pipeline.fit(job.train.matrix, job.train.target, **{f"{name}__sample_weight": job.train.weight})
    return Fitted(pipeline)


def _forest(job: Job) -> Fitted:
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline

    of = RandomForestRegressor if job.task == "regression" else RandomForestClassifier
    params = {"n_estimators": job.rounds or _TREES, **job.params, "random_state": job.seed}
    forest = of(**params, n_jobs=job.threads)
    pipeline = make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), forest)
    name = of.__name__.lower()
    pipeline.fit(job.train.matrix, job.train.target, **{f"{name}__sample_weight": job.train.weight})
    # Threads would add the trees' answers up in any order, and the last bits would differ from call to call.
    forest.set_params(n_jobs=1)
    return Fitted(pipeline, len(forest.estimators_))


def _boosting(job: Job) -> Fitted:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    of = HistGradientBoostingRegressor if job.task == "regression" else HistGradientBoostingClassifier
    params = {"max_iter": job.rounds or _ROUNDS, **job.params, "random_state": job.seed}
    if not job.patience:
        model = of(**params, early_stopping=False)
        model.fit(job.train.matrix, job.train.target, job.train.weight)
        return Fitted(model, int(model.n_iter_))
    model = of(**params, early_stopping=True, n_iter_no_change=job.patience)
    model.fit(
        job.train.matrix,
        job.train.target,
        job.train.weight,
        X_val=job.validation.matrix,
        y_val=job.validation.target,
        sample_weight_val=job.validation.weight,
    )
    return Fitted(model, int(model.n_iter_))
