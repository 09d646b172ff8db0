"""Any estimator as nodes of a graph."""

from dataclasses import replace
from typing import Any

from onnx import TensorProto

from falaj.training.errors import TrainingError
from falaj.training.graph.converter_graph import converted_graph
from falaj.training.graph.estimator_forest import category_texts, forest_of
from falaj.training.graph.forest import Forest
from falaj.training.graph.forest_graph import ml_opset_of, sums_graph
from falaj.training.graph.graph import Growth
from falaj.training.graph.scores_graph import link_graph
from falaj.training.graph.sklearn_calibrated import calibrated_graph
from falaj.training.graph.sklearn_encoders import code_graph
from falaj.training.graph.sklearn_ensembles import ensemble_graph
from falaj.training.graph.sklearn_frame import Frame, Part, matrix, width
from falaj.training.graph.sklearn_linear import decides, is_linear, linear_graph, linear_link
from falaj.training.graph.sklearn_steps import transform_graph
from falaj.training.graph.target import TREE_ENSEMBLE_ML_OPSET, Target
from falaj.training.library import family_of


def matrix_scores_graph(
    grow: Growth, estimator: Any, x: str, columns: range, target: Target, classes: int
) -> tuple[str, int]:
    """Add an estimator of a matrix FP32; return its scores, FP64, and their number a row.

    Args:
        grow: Where to add it.
        estimator: Fitted on the matrix.
        x: The matrix.
        columns: Of the matrix; it starts where the codes do, which are whole numbers or NaN.
        target: Of the graph.
        classes: How many; 0 of a regression.
    """
    forest = forest_of(estimator)
    if forest is not None:
        forest = replace(
            forest,
            truncated=tuple(of for of in forest.truncated if of not in columns),
            whole=tuple(of for of in forest.whole if of not in columns),
        )
        return forest_scores_graph(grow, forest, x, "FP32", target)
    if family_of(estimator) == "torch":
        from falaj.training.graph.torch_scores import torch_scores_graph

        return torch_scores_graph(grow, estimator, x, columns.stop, target, classes)
    wide = grow.node("Cast", x, to=TensorProto.DOUBLE)
    return scores_graph(grow, estimator, (Part(wide, columns.stop),), target, classes)


def scores_graph(grow: Growth, estimator: Any, frame: Frame, target: Target, classes: int) -> tuple[str, int]:
    """Add an estimator of columns in FP64; return its scores, FP64, and their number a row."""
    forest = forest_of(estimator)
    name = type(estimator).__name__
    if forest is not None:
        x = matrix(grow, _coded(grow, estimator, frame), name)
        return forest_scores_graph(grow, forest, x, "FP64", target)
    if name == "Pipeline":
        for _, step in estimator.steps[:-1]:
            frame = transform_graph(grow, step, frame, target)
        return scores_graph(grow, estimator.steps[-1][1], frame, target, classes)
    made = ensemble_graph(
        grow,
        estimator,
        frame,
        classes,
        lambda one, columns, count: scores_graph(grow, one, columns, target, count),
    )
    made = made or calibrated_graph(
        grow,
        estimator,
        frame,
        classes,
        lambda one, columns: _decision(grow, one, columns, target, classes),
        target,
    )
    if made is not None:
        return made
    if is_linear(estimator, classes):
        sums, count = linear_graph(grow, estimator, matrix(grow, frame, name))
        link = linear_link(estimator, classes, count)
        scores = link_graph(grow, link, 1.0, sums)
        if link == "sigmoids":
            scores = link_graph(grow, "shares", 1.0, scores)
        return scores, count
    if family_of(estimator) != "sklearn":
        raise TrainingError(f"{name}: expected an estimator of scikit-learn behind columns, got {name}")
    return converted_graph(grow, estimator, matrix(grow, frame, name), width(frame), target, classes)


def _decision(
    grow: Growth, estimator: Any, frame: Frame, target: Target, classes: int
) -> tuple[str, int] | None:
    """Add what a classifier decides by: its decision function if it has one, else its probabilities."""
    if type(estimator).__name__ == "Pipeline":
        for _, step in estimator.steps[:-1]:
            frame = transform_graph(grow, step, frame, target)
        return _decision(grow, estimator.steps[-1][1], frame, target, classes)
    if not hasattr(estimator, "decision_function"):
        return scores_graph(grow, estimator, frame, target, classes)
    if is_linear(estimator, classes) or decides(estimator):
        return linear_graph(grow, estimator, matrix(grow, frame, type(estimator).__name__))
    forest = forest_of(estimator)
    if forest is None:
        return None
    x = matrix(grow, frame, type(estimator).__name__)
    return forest_scores_graph(grow, replace(forest, link="identity"), x, "FP64", target)


def _coded(grow: Growth, estimator: Any, frame: Frame) -> Frame:
    """Return columns with codes in place of the text that a model of trees codes itself."""
    texts = [part for part in frame if part.text]
    if not texts:
        return frame
    known = category_texts(estimator)
    if len(known) != len(texts):
        raise TrainingError(
            f"{type(estimator).__name__}: expected {len(known)} columns of text, as it was fitted, got "
            f"{len(texts)}"
        )
    codes = iter(known)
    return tuple(code_graph(grow, part, next(codes)) if part.text else part for part in frame)


def forest_scores_graph(grow: Growth, forest: Forest, x: str, given: Any, target: Target) -> tuple[str, int]:
    """Add a forest and what makes scores of its sums; return them, FP64, and their number a row."""
    if given == "FP64" and forest.compares == "FP32":
        x, given = grow.node("Cast", x, to=TensorProto.FLOAT), "FP32"
    sums = sums_graph(grow, forest, x, given, target)
    return link_graph(grow, forest.link, forest.slope, sums), forest.outputs


def ml_opset(estimator: Any, target: Target) -> int:
    """Return the version of ai.onnx.ml that the graph of an estimator, or of a pipeline, has to have."""
    if type(estimator).__name__ == "Pipeline":
        return ml_opset(estimator.steps[-1][1], target)
    if family_of(estimator) == "sklearn" and forest_of(estimator) is None:
        # What skl2onnx may write ends with version 5.
        return min(target.ml_opset, TREE_ENSEMBLE_ML_OPSET - 1)
    forest = forest_of(estimator) if family_of(estimator) != "torch" else None
    return target.ml_opset if forest is None else ml_opset_of(forest, target)
