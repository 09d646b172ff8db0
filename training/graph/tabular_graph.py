"""A model of a table as one ONNX graph: its encoding, its estimator, its calibration."""

from dataclasses import replace

import numpy as np
from onnx import ModelProto

from falaj.training.graph.estimator_graph import matrix_scores_graph, ml_opset
from falaj.training.graph.graph import ML, Growth
from falaj.training.graph.scores_graph import outputs_graph
from falaj.training.graph.tabular_original import MATRIX
from falaj.training.graph.target import Target
from falaj.training.original import Original
from falaj.training.tabular import Tabular


def tabular_graph(original: Original, target: Target) -> ModelProto:
    """Return the graph of an Original whose model is a Tabular."""
    tabular: Tabular = original.model
    grow = Growth(original.inputs)
    matrix = _matrix(grow, tabular)
    numbers = len(tabular.numbers)
    codes = range(numbers, numbers + len(tabular.categories))
    target = replace(target, ml_opset=ml_opset(tabular.estimator, target))
    classes = len(original.classes)
    scores, width = matrix_scores_graph(grow, tabular.estimator, matrix, codes, target, classes)
    outputs_graph(grow, scores, width, original.outputs, original.classes, tabular.calibration, target)
    return grow.finish(original.outputs, target)


def _matrix(grow: Growth, tabular: Tabular) -> str:
    """Add the encoding; return the tensor FP32 [rows, numbers + categories]."""
    parts = [MATRIX] if tabular.numbers else []
    for name, known in tabular.categories.items():
        places = np.arange(len(known), dtype=np.float32).tolist()
        code = grow.node(
            "LabelEncoder",
            name,
            domain=ML,
            keys_strings=list(known),
            values_floats=places,
            default_float=float("nan"),
        )
        parts.append(code)
    return parts[0] if len(parts) == 1 else grow.node("Concat", *parts, axis=1)
