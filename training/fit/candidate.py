"""One model fitted on prepared data, and what it says of rows."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falaj.training.errors import TrainingError
from falaj.training.fit.calibrate import calibrated, fit_calibration
from falaj.training.fit.codes import coded
from falaj.training.fit.estimators.job import Fitted, Job, Report, blaming, library, module_of
from falaj.training.fit.prepared import Prepared, frame_of, labels_of
from falaj.training.fit.spec import Kind, TrainSpec
from falaj.training.fit.table import Table
from falaj.training.original import Task
from falaj.training.tabular import Calibration, Tabular

_PATIENCE = 50
_EPOCHS_OF_PATIENCE = 8


@dataclass(frozen=True)
class Candidate:
    """A fitted model: of a table's columns, or a pipeline of scikit-learn on a DataFrame of them."""

    kind: Kind
    task: Task
    tabular: Tabular | None
    pipeline: Any = None
    rounds: int | None = None

    def scores(self, table: Table) -> NDArray[np.float64]:
        """Return probabilities [rows, classes], or values [rows, 1]."""
        if self.tabular is None:
            frame = frame_of(table)
            if self.task == "regression":
                return np.asarray(self.pipeline.predict(frame), np.float64).reshape(-1, 1)
            return np.asarray(self.pipeline.predict_proba(frame), np.float64)
        matrix = coded(table.matrix, table.categories, self.tabular.categories)
        return scores_of(self.kind, self.tabular, matrix, self.task)


def scores_of(kind: Kind, tabular: Tabular, matrix: NDArray[np.float32], task: Task) -> NDArray[np.float64]:
    """Return what a model says of coded rows, calibrated."""
    if kind == "pipeline":  # a module that a specification built
        from falaj.training.fit.estimators.mlp import score

        said = score(tabular.estimator, matrix, task)
    else:
        said = module_of(kind).score(tabular.estimator, matrix, task)
    if tabular.calibration is None:
        return np.asarray(said)
    second = calibrated(tabular.calibration, said[:, 1])
    return np.stack([1 - second, second], axis=1)


def fit_candidate(
    prepared: Prepared, params: Mapping[str, Any], report: Report, threads: int, *, calibrate: bool = False
) -> Candidate:
    """Fit the specification's kind with parameters.

    Raises:
        TrainingError: The library refuses the parameters or the rows.
        Pruned: The report raised it.
    """
    spec = prepared.spec
    kind = spec.model.kind
    with blaming(kind):
        if spec.build is not None:
            built = built_of(spec, params)
            if not _is_module(built):
                pipeline = _fit_pipeline(prepared, built)
                if calibrate and spec.calibration.method != "none":
                    raise TrainingError(
                        "calibration: is not made behind a pipeline; have CalibratedClassifierCV in it"
                    )
                return Candidate(kind, prepared.table.task, None, pipeline)
            fitted = _fit_module(job_of(prepared, params, report, threads), built)
        else:
            job = job_of(prepared, params, report, threads)
            module = module_of(kind)
            scikit = kind in ("linear", "hist_gradient_boosting", "random_forest")
            fitted = module.fit(job, kind) if scikit else module.fit(job)
    tabular = Tabular(fitted.estimator, prepared.table.numbers, prepared.known)
    if calibrate:
        tabular = with_calibration(kind, tabular, prepared)
    return Candidate(kind, prepared.table.task, tabular, rounds=fitted.rounds)


def job_of(prepared: Prepared, params: Mapping[str, Any], report: Report, threads: int) -> Job:
    """Return what a library is given."""
    spec, table = prepared.spec, prepared.table
    patience = spec.model.patience
    if patience is None:
        patience = _EPOCHS_OF_PATIENCE if spec.model.kind in ("mlp", "pipeline") else _PATIENCE
    return Job(
        task=table.task,
        classes=len(table.classes),
        train=prepared.rows["train"],
        validation=prepared.rows["validation"],
        numbers=len(table.numbers),
        categories=tuple(len(values) for values in prepared.known.values()),
        params=params,
        rounds=spec.model.rounds,
        patience=patience,
        seed=spec.seed,
        threads=threads,
        report=report,
    )


def with_calibration(kind: Kind, tabular: Tabular, prepared: Prepared) -> Tabular:
    """Return the model with the calibration that the specification asks for, fitted on validation rows."""
    method = prepared.spec.calibration.method
    if method == "none":
        return tabular
    if prepared.table.task != "binary":
        raise TrainingError(f"calibration: is for two classes, this is a {prepared.table.task} task")
    rows = prepared.rows["validation"]
    said = scores_of(kind, tabular, rows.matrix, "binary")
    made: Calibration = fit_calibration(method, said[:, 1], rows.target == 1)
    return Tabular(tabular.estimator, tabular.numbers, tabular.categories, made)


def built_of(spec: TrainSpec, params: Mapping[str, Any]) -> Any:
    """Return what a specification builds; a module's weights are drawn from the seed."""
    build = spec.build
    if build is None:
        raise TrainingError("build: the specification has none")
    if "torch" not in sys.modules:
        built = build(params)
        if not _is_module(built):
            return built
    from falaj.training.fit.estimators.torch_loop import seeded

    with seeded(spec.seed, 1):
        return build(params)


def _is_module(built: Any) -> bool:
    torch = sys.modules.get("torch")  # without which nothing is a module of it
    return torch is not None and isinstance(built, torch.nn.Module)


def _fit_module(job: Job, module: Any) -> Fitted:
    from falaj.training.fit.estimators.torch_loop import seeded, train_module

    with library("torch", "torch"), seeded(job.seed, job.threads):
        return Fitted(module, train_module(job, module))


def _fit_pipeline(prepared: Prepared, built: Any) -> Any:
    with library("scikit-learn", "training"):
        from sklearn.base import BaseEstimator
        from sklearn.pipeline import Pipeline
    if not isinstance(built, BaseEstimator):
        raise TrainingError(
            f"build: expected an estimator of scikit-learn or a torch.nn.Module, got {type(built).__name__}"
        )
    train = prepared.parts["train"]
    weights = {}
    if prepared.class_weights:
        name = f"{built.steps[-1][0]}__sample_weight" if isinstance(built, Pipeline) else "sample_weight"
        weights[name] = prepared.rows["train"].weight
    return built.fit(frame_of(train), labels_of(train), **weights)
