"""scikit-learn's pipelines and estimators as what an export must answer like."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falaj.training.errors import TrainingError
from falaj.training.graph.estimator_forest import forest_of
from falaj.training.graph.forest import thresholds
from falaj.training.graph.frame_columns import FrameColumns, columns_of
from falaj.training.graph.sklearn_linear import decides
from falaj.training.graph.tabular_original import MATRIX, SCORES, answers, checked_classes, outputs_of
from falaj.training.library import family_of
from falaj.training.original import Arrays, ModelInput, ModelOutput, Original, Task

DECISION = "decision"


@dataclass(frozen=True)
class Fitted:
    """A pipeline or estimator with what it takes.

    Attributes:
        estimator: Of scikit-learn, or with its interface.
        columns: The DataFrame's, if it was fitted on one; None if on a matrix without names.
    """

    estimator: Any
    columns: FrameColumns | None


def original_of_pipeline(pipeline: Any, sample: Any, *, origin: str = "") -> Original:
    """Return a fitted pipeline or estimator with the names that it is served under.

    Fitted on a DataFrame it takes one input a column, of its name, [rows, 1]; see `columns_of` for the
    datatypes. Fitted on a matrix it takes `x`, FP32 [rows, columns], and is given it as FP64.

    A classifier gives `label`, INT64 or BYTES [rows], and `probabilities`, FP32 [rows, classes]. One without
    probabilities that decides by a linear function gives `label` and `decision`, FP32 [rows, 1] of two
    classes, or one for each. A support vector machine, whose own labels do not follow its probabilities,
    gives those only. A regressor gives `prediction`, FP32 [rows, 1].

    Args:
        pipeline: Fitted: a Pipeline, an estimator, or a search over them.
        sample: A DataFrame with rows as it was fitted on; of a matrix, with its columns in order.
        origin: What it was read from, for messages.

    Raises:
        TrainingError: They do not fit each other.
    """
    estimator = getattr(pipeline, "best_estimator_", pipeline)
    task, classes = _task(estimator)
    names = getattr(estimator, "feature_names_in_", None)
    columns = None if names is None else columns_of(sample, [str(name) for name in names])
    inputs = _matrix_input(estimator, sample) if columns is None else columns.inputs
    outputs = _outputs(estimator, task, classes)
    _check_names(inputs, outputs)

    def predict(arrays: Arrays) -> dict[str, NDArray[Any]]:
        given = columns.frame(arrays) if columns is not None else _matrix(arrays, inputs[0])
        return _answers(estimator, given, classes, outputs)

    forest = forest_of(estimator) if columns is None and family_of(estimator) != "torch" else None
    return Original(
        family=family_of(estimator),
        task=task,
        inputs=inputs,
        outputs=outputs,
        model=Fitted(estimator, columns),
        predict=predict,
        classes=classes,
        thresholds=() if forest is None else thresholds(forest, MATRIX, forest.features),
        categories={} if columns is None else columns.categories,
        origin=origin,
    )


def last_step(estimator: Any) -> Any:
    """Return the estimator at the end of pipelines."""
    while type(estimator).__name__ == "Pipeline":
        estimator = estimator.steps[-1][1]
    return estimator


def _task(estimator: Any) -> tuple[Task, tuple[int | str, ...]]:
    if not hasattr(estimator, "predict"):
        raise TrainingError(f"model: expected a fitted estimator, got a {type(estimator).__name__}")
    if not hasattr(estimator, "classes_"):
        return "regression", ()
    told = estimator.classes_
    if isinstance(told, list) or np.asarray(told).ndim != 1:
        raise TrainingError("model: expected one output, got classes of several")
    values = np.asarray(told).tolist()
    plain = [int(of) if isinstance(of, float) and of.is_integer() else of for of in values]
    task: Task = "binary" if len(plain) == 2 else "multiclass"
    return task, checked_classes(task, plain)


def _outputs(estimator: Any, task: Task, classes: tuple[int | str, ...]) -> tuple[ModelOutput, ...]:
    outputs, last = outputs_of(classes), last_step(estimator)
    if task == "regression":
        return outputs
    if hasattr(estimator, "predict_proba"):
        return tuple(of for of in outputs if of.name == SCORES or not type(last).__name__.endswith("SVC"))
    if not decides(last):
        raise TrainingError(
            f"model: a {type(last).__name__} has no predict_proba here, from which classes get their scores"
        )
    width = 1 if len(classes) == 2 else len(classes)
    return (outputs[0], ModelOutput(DECISION, "FP32", (width,), "value"))


def _answers(
    estimator: Any, given: Any, classes: tuple[int | str, ...], outputs: tuple[ModelOutput, ...]
) -> dict[str, NDArray[Any]]:
    if not len(given):
        return {one.name: np.zeros((0, *one.shape), _dtype(one)) for one in outputs}
    with warnings.catch_warnings():
        # LightGBM makes names up for matrices, and then misses them.
        warnings.filterwarnings("ignore", "X does not have valid feature names", UserWarning)
        if not classes:
            return answers(np.asarray(estimator.predict(given), np.float64).reshape(len(given), -1), ())
        if not hasattr(estimator, "predict_proba"):
            decision = np.asarray(estimator.decision_function(given), np.float64).reshape(len(given), -1)
            place = np.argmax(decision, axis=1) if decision.shape[1] > 1 else (decision[:, 0] > 0).astype(int)
            labels = np.array(classes, _dtype(outputs[0]))
            return {outputs[0].name: labels[place], DECISION: decision.astype(np.float32)}
        scores = np.asarray(estimator.predict_proba(given), np.float64)
    if len(classes) == 2:
        scores = np.stack([1.0 - scores[:, 1], scores[:, 1]], axis=1)
    told = answers(scores, classes)
    return {one.name: told[one.name] for one in outputs}


def _dtype(one: ModelOutput) -> Any:
    return {"FP32": np.float32, "INT64": np.int64, "BYTES": np.object_}[one.datatype]


def _matrix(arrays: Arrays, one: ModelInput) -> NDArray[np.float64]:
    if one.name not in arrays:
        raise TrainingError(f"input {one.name!r}: is absent")
    return np.asarray(arrays[one.name]).astype(np.float64)


def _matrix_input(estimator: Any, sample: Any) -> tuple[ModelInput, ...]:
    width = int(getattr(estimator, "n_features_in_", len(sample.columns)))
    if width != len(sample.columns):
        raise TrainingError(f"sample: expected {width} columns, as it was fitted, got {len(sample.columns)}")
    return (ModelInput(MATRIX, "FP32", (width,), tuple(map(str, sample.columns))),)


def _check_names(inputs: tuple[ModelInput, ...], outputs: tuple[ModelOutput, ...]) -> None:
    clash = {one.name for one in inputs} & {one.name for one in outputs}
    if clash:
        raise TrainingError(f"column {clash.pop()!r}: rename it: the model has an output of this name")
