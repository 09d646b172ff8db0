"""A torch module of a matrix as nodes of a graph."""

from typing import Any

import numpy as np
from onnx import TensorProto

from falaj.training.errors import TrainingError
from falaj.training.graph.graph import Growth
from falaj.training.graph.scores_graph import link_graph
from falaj.training.graph.target import Target
from falaj.training.graph.torch_graph import exported


def torch_scores_graph(
    grow: Growth, module: Any, x: str, columns: int, target: Target, classes: int
) -> tuple[str, int]:
    """Add a module that takes FP32 [rows, columns]; return its scores, FP64, and their number a row.

    Of its logits, one a row makes a sigmoid, more a softmax; a regression's values stay.
    """
    model = exported(module, {"x": np.zeros((2, columns), np.float32)}, ("y",), target)
    (values,) = grow.embed(model, {"x": x})
    wide = grow.node("Cast", values, to=TensorProto.DOUBLE)
    dims = model.graph.output[0].type.tensor_type.shape.dim
    width = dims[1].dim_value if len(dims) == 2 else 1
    if len(dims) not in (1, 2) or not width:
        raise TrainingError("model: expected a module that gives [rows] or [rows, columns]")
    wide = grow.node("Reshape", wide, grow.constant([-1, width], np.int64))
    if not classes:
        return wide, width
    return link_graph(grow, "sigmoid" if width == 1 else "softmax", 1.0, wide), width
