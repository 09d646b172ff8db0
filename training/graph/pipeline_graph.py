"""scikit-learn's pipelines and estimators as one ONNX graph."""

from dataclasses import replace

import numpy as np
from onnx import ModelProto, TensorProto

from falaj.training.graph.estimator_graph import matrix_scores_graph, ml_opset, scores_graph
from falaj.training.graph.graph import Growth
from falaj.training.graph.pipeline_original import DECISION, Fitted, last_step
from falaj.training.graph.scores_graph import outputs_graph
from falaj.training.graph.sklearn_frame import Frame, Part, matrix
from falaj.training.graph.sklearn_linear import linear_graph
from falaj.training.graph.sklearn_steps import transform_graph
from falaj.training.graph.target import Target
from falaj.training.original import Original


def pipeline_graph(original: Original, target: Target) -> ModelProto:
    """Return the graph of an Original whose model is Fitted."""
    fitted: Fitted = original.model
    grow = Growth(original.inputs)
    target = replace(target, ml_opset=ml_opset(fitted.estimator, target))
    classes = len(original.classes)
    if any(one.name == DECISION for one in original.outputs):
        _decision_graph(grow, original, target)
        return grow.finish(original.outputs, target)
    if fitted.columns is None:
        (x,) = original.inputs
        scores, width = matrix_scores_graph(
            grow, fitted.estimator, x.name, range(x.shape[0], x.shape[0]), target, classes
        )
    else:
        scores, width = scores_graph(grow, fitted.estimator, _frame(grow, original), target, classes)
    outputs_graph(grow, scores, width, original.outputs, original.classes, None, target)
    return grow.finish(original.outputs, target)


def _frame(grow: Growth, original: Original) -> Frame:
    """Return the inputs, all numbers in FP64."""
    columns = original.model.columns
    made: list[Part] = []
    for one in original.inputs:
        width = one.shape[0]
        if one.datatype == "BYTES":
            missing = None if columns is None else columns.missing.get(one.name)
            made.append(Part(one.name, width, text=True, missing=missing))
        elif one.datatype == "FP64":
            made.append(Part(one.name, width))
        else:
            made.append(Part(grow.node("Cast", one.name, to=TensorProto.DOUBLE), width))
    return tuple(made)


def _decision_graph(grow: Growth, original: Original, target: Target) -> None:
    """Add a linear decision: above 0 of two classes, else the highest."""
    frame, estimator = _frame(grow, original), original.model.estimator
    while type(estimator).__name__ == "Pipeline":
        for _, step in estimator.steps[:-1]:
            frame = transform_graph(grow, step, frame, target)
        estimator = estimator.steps[-1][1]
    sums, width = linear_graph(grow, estimator, matrix(grow, frame, type(last_step(estimator)).__name__))
    label = original.outputs[0]
    classes = np.array(original.classes, np.int64 if label.datatype == "INT64" else np.object_)
    if width == 1:
        above = grow.node("Greater", sums, grow.constant(0.0, np.float64))
        place = grow.node("Cast", grow.node("Reshape", above, grow.constant([-1])), to=TensorProto.INT64)
    else:
        place = grow.node("ArgMax", sums, axis=1, keepdims=0)
    grow.node("Gather", grow.constant(classes), place, output=label.name)
    grow.node("Cast", sums, to=TensorProto.FLOAT, output=DECISION)
