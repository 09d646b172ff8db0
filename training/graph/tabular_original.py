"""A model of a table, with its encoding and calibration, as what an export must answer like."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falaj.training.errors import TrainingError
from falaj.training.graph.calibration import calibrated
from falaj.training.graph.estimator_forest import category_texts, forest_of
from falaj.training.graph.estimator_scores import scores_of, width_of
from falaj.training.graph.forest import Forest, thresholds
from falaj.training.library import family_of
from falaj.training.original import Arrays, ModelInput, ModelOutput, Original, Task
from falaj.training.tabular import Tabular

MATRIX = "x"
LABEL, SCORES, VALUE = "label", "probabilities", "prediction"


def original_of_tabular(
    tabular: Tabular, *, task: Task, classes: Sequence[int | str] = (), origin: str = ""
) -> Original:
    """Return a model of a table with the names that it is served under.

    It takes `x`, FP32 [rows, numbers], if there are numbers, and each category, BYTES [rows, 1]. A
    classification gives `label`, INT64 or BYTES [rows], the first class of the highest score, and
    `probabilities`, FP32 [rows, classes]; a regression gives `prediction`, FP32 [rows, 1].

    Args:
        tabular: The fitted parts.
        task: `binary`, `multiclass` or `regression`.
        classes: The labels, in the order of the scores; all numbers or all text.
        origin: What it was read from, for messages.

    Raises:
        TrainingError: They do not fit each other.
    """
    labels = checked_classes(task, classes)
    inputs, outputs = _inputs(tabular), outputs_of(labels)
    _check_names(inputs, outputs)
    if tabular.calibration is not None and task != "binary":
        raise TrainingError(f"calibration: expected a binary model, got {task}")
    forest = forest_of(tabular.estimator)
    if forest is not None:
        _check_forest(forest, tabular, labels)
    scores = scores_of(tabular.estimator, len(labels))

    def predict(arrays: Arrays) -> dict[str, NDArray[Any]]:
        matrix = matrix_of(tabular, arrays)
        if not len(matrix):
            return answers(np.zeros((0, max(1, len(labels)))), labels)
        computed = scores(matrix)
        width_of(computed, len(labels), origin or "model")
        if len(labels) == 2:
            second = computed[:, -1]
            if tabular.calibration is not None:
                second = calibrated(tabular.calibration, second)
            computed = np.stack([1.0 - second, second], axis=1)
        return answers(computed, labels)

    return Original(
        family=family_of(tabular.estimator),
        task=task,
        inputs=inputs,
        outputs=outputs,
        model=tabular,
        predict=predict,
        classes=labels,
        thresholds=thresholds(forest, MATRIX, len(tabular.numbers)) if forest is not None else (),
        categories=MappingProxyType({name: tuple(of) for name, of in tabular.categories.items()}),
        origin=origin,
    )


def outputs_of(classes: tuple[int | str, ...]) -> tuple[ModelOutput, ...]:
    """Return the outputs of a model with these classes; of a regression if there are none."""
    if not classes:
        return (ModelOutput(VALUE, "FP32", (1,), "value"),)
    datatype = "INT64" if isinstance(classes[0], int) else "BYTES"
    scores = ModelOutput(SCORES, "FP32", (len(classes),), "scores")
    return (ModelOutput(LABEL, datatype, (), "label"), scores)


def answers(scores: NDArray[np.float64], classes: tuple[int | str, ...]) -> dict[str, NDArray[Any]]:
    """Return the outputs, by their names, for scores FP64 [rows, classes], or values FP64 [rows, 1]."""
    with np.errstate(over="ignore"):  # an infinity is what the graph's cast gives too
        narrow = scores.astype(np.float32)
    if not classes:
        return {VALUE: narrow}
    labels = np.array(classes, np.int64 if isinstance(classes[0], int) else np.object_)
    return {LABEL: labels[np.argmax(scores, axis=1)], SCORES: narrow}


def matrix_of(tabular: Tabular, arrays: Arrays) -> NDArray[np.float32]:
    """Return what the estimator takes, FP32 [rows, numbers + categories].

    Raises:
        TrainingError: An input is absent, or of another shape.
    """
    widths = {MATRIX: len(tabular.numbers)} if tabular.numbers else {}
    widths |= dict.fromkeys(tabular.categories, 1)
    parts: list[NDArray[np.float32]] = []
    for name, width in widths.items():
        if name not in arrays:
            raise TrainingError(f"input {name!r}: is absent; the inputs are {', '.join(widths)}")
        array = np.asarray(arrays[name])
        if array.ndim != 2 or array.shape[1] != width:
            raise TrainingError(f"input {name!r}: expected shape [rows, {width}], got {list(array.shape)}")
        if name in tabular.categories:
            array = codes(tabular.categories[name], array)
        parts.append(array.astype(np.float32, copy=False))
    return np.concatenate(parts, axis=1)


def codes(known: Sequence[str], values: NDArray[Any]) -> NDArray[np.float32]:
    """Return the places of texts in a list, FP32 of their shape, and NaN for those that are not in it."""
    places = {text: float(place) for place, text in enumerate(known)}
    found = [places.get(text, np.nan) for text in values.ravel().tolist()]
    return np.array(found, np.float32).reshape(values.shape)


def checked_classes(task: Task, classes: Sequence[int | str]) -> tuple[int | str, ...]:
    """Return the classes as plain numbers or text; raise a TrainingError if they do not fit the task."""
    expected: Mapping[Task, str] = {"binary": "2", "multiclass": "2 or more", "regression": "no"}
    count = len(classes)
    fits = {"binary": count == 2, "multiclass": count >= 2, "regression": not count}
    if task not in expected:
        raise TrainingError(f"task: expected binary, multiclass or regression, got {task!r}")
    if not fits[task]:
        raise TrainingError(f"classes: expected {expected[task]} of a {task} model, got {count}")
    plain: tuple[int | str, ...] = tuple(of if isinstance(of, str) else int(of) for of in classes)
    if len({type(of) for of in plain}) > 1 or len(set(plain)) < count:
        raise TrainingError(f"classes: expected different numbers or different texts, got {plain}")
    return plain


def _check_forest(forest: Forest, tabular: Tabular, classes: tuple[int | str, ...]) -> None:
    columns = len(tabular.numbers) + len(tabular.categories)
    if forest.features != columns:
        raise TrainingError(
            f"model: expected {forest.features} columns, as it was fitted, got {len(tabular.numbers)} "
            f"numbers and {len(tabular.categories)} categories"
        )
    if category_texts(tabular.estimator):
        raise TrainingError(
            "model: expected one that was fitted on codes, got one that codes a DataFrame's categories "
            "itself: give its estimator with a sample of the DataFrame"
        )
    if forest.outputs not in {0: (1,), 2: (1, 2)}.get(len(classes), (len(classes),)):
        told = f"{len(classes)} classes" if classes else "a regression"
        raise TrainingError(f"model: expected the scores of {told}, it gives {forest.outputs} a row")
    # The shares of scikit-learn's leaves are probabilities as they are.
    if (
        classes
        and forest.link in ("identity", "exp", "signed_square")
        and family_of(tabular.estimator) != "sklearn"
    ):
        raise TrainingError(
            "model: expected an objective of classes, whose scores are probabilities, got one of values"
        )


def _inputs(tabular: Tabular) -> tuple[ModelInput, ...]:
    columns = tuple(tabular.numbers)
    matrix = (ModelInput(MATRIX, "FP32", (len(columns),), columns),) if columns else ()
    for name, known in tabular.categories.items():
        if not known or len(set(known)) < len(known):
            raise TrainingError(f"category {name!r}: expected known values, each once, got {tuple(known)}")
    return matrix + tuple(ModelInput(name, "BYTES", (1,), (name,)) for name in tabular.categories)


def _check_names(inputs: tuple[ModelInput, ...], outputs: tuple[ModelOutput, ...]) -> None:
    names = [*(one.name for one in inputs), *(one.name for one in outputs)]
    for name in names:
        if not name or names.count(name) > 1:
            raise TrainingError(f"column {name!r}: rename it: the model has {', '.join(names)}")
