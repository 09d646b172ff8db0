"""Originals of scikit-learn's estimators on one matrix, made without Falaj's converters, and their graphs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from falaj.training.original import Arrays, ModelInput, ModelOutput, Original, Thresholds

OPTIONS = {"zipmap": False}


@dataclass(frozen=True)
class Case:
    original: Original
    model: onnx.ModelProto
    rows: Arrays


def case(estimator: Any, x: NDArray[Any], y: NDArray[Any], *, trees: Sequence[Any] = ()) -> Case:
    """Fit and convert with skl2onnx; `trees` of the fitted estimator have their thresholds told."""
    from skl2onnx import to_onnx

    x = x.astype(np.float32)
    estimator.fit(x, y)
    classifies = hasattr(estimator, "predict_proba")
    model = to_onnx(
        estimator, x[:1], options={id(estimator): OPTIONS} if classifies else None, target_opset=18
    )
    classes = tuple(np.unique(y).tolist()) if classifies else ()
    original = original_of(estimator, x.shape[1], classes)
    return Case(renamed(original, model), model, {"X": x})


def original_of(estimator: Any, width: int, classes: tuple[Any, ...]) -> Original:
    given = ModelInput("X", "FP32", (width,), tuple(f"c{i}" for i in range(width)))
    if classes:
        outputs = (
            ModelOutput("label", "INT64", (), "label"),
            ModelOutput("probabilities", "FP32", (len(classes),), "scores"),
        )
    else:
        outputs = (ModelOutput("variable", "FP32", (1,), "value"),)

    def predict(rows: Arrays) -> dict[str, NDArray[Any]]:
        x = rows["X"]
        if not len(x):
            return {o.name: np.zeros((0, *o.shape), np.int64 if o.role == "label" else "f4") for o in outputs}
        if classes:
            scores = estimator.predict_proba(x)
            label = np.asarray(classes)[scores.argmax(axis=1)]
            return {"label": label.astype(np.int64), "probabilities": scores.astype(np.float32)}
        return {"variable": estimator.predict(x).astype(np.float32).reshape(-1, 1)}

    task = "regression" if not classes else ("binary" if len(classes) == 2 else "multiclass")
    return Original(
        "sklearn", task, (given,), outputs, estimator, predict, classes, thresholds=thresholds(estimator)
    )


def thresholds(estimator: Any) -> tuple[Thresholds, ...]:
    """What trees of scikit-learn compare the columns of X with."""
    found: dict[int, set[float]] = {}
    for tree in _trees(estimator):
        for feature, value in zip(tree.feature, tree.threshold, strict=True):
            if feature >= 0:
                found.setdefault(int(feature), set()).add(float(value))
    for stage in getattr(estimator, "_predictors", ()):
        for tree in stage:
            for node in tree.nodes[tree.nodes["is_leaf"] == 0]:
                found.setdefault(int(node["feature_idx"]), set()).add(float(node["num_threshold"]))
    return tuple(
        Thresholds("X", column, np.array(sorted(values)), True) for column, values in sorted(found.items())
    )


def _trees(estimator: Any) -> list[Any]:
    if hasattr(estimator, "tree_"):
        return [estimator.tree_]
    members = np.ravel(np.asarray(getattr(estimator, "estimators_", ()), object))
    return [each.tree_ for each in members if hasattr(each, "tree_")]


def renamed(original: Original, model: onnx.ModelProto) -> Original:
    """Give the outputs of a graph the original's names, in place."""
    for output, info in zip(original.outputs, list(model.graph.output), strict=True):
        for node in model.graph.node:
            for i, name in enumerate(node.output):
                if name == info.name:
                    node.output[i] = output.name
            for i, name in enumerate(node.input):
                if name == info.name:
                    node.input[i] = output.name
        info.name = output.name
    return original
