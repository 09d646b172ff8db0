"""Any original as an ONNX model."""

from typing import TYPE_CHECKING

from falaj.training.errors import TrainingError
from falaj.training.graph.onnx_original import Graph
from falaj.training.graph.pipeline_original import Fitted
from falaj.training.graph.target import Target, target_here
from falaj.training.library import require
from falaj.training.original import Original
from falaj.training.tabular import Tabular

if TYPE_CHECKING:
    from onnx import ModelProto


def to_onnx(original: Original, target: Target | None = None) -> "ModelProto":
    """Return the graph of a model, with the inputs and outputs that the original names.

    Whether it answers alike is shown by the parity gate, not here.

    Args:
        original: What to convert.
        target: The versions to write; those of `target_here` unless given.

    Raises:
        TrainingError: It cannot be written as a graph, or a package is missing.
    """
    require("export", "onnx", "onnxruntime")
    target = target or target_here()
    if isinstance(original.model, Tabular):
        from falaj.training.graph.tabular_graph import tabular_graph

        return tabular_graph(original, target)
    if isinstance(original.model, Fitted):
        from falaj.training.graph.pipeline_graph import pipeline_graph

        return pipeline_graph(original, target)
    if isinstance(original.model, Graph):
        from onnx import load_from_string

        return load_from_string(original.model.content)
    if original.family == "torch":
        from falaj.training.graph.torch_graph import module_graph

        return module_graph(original, target)
    raise TrainingError(f"export: no graph of a {type(original.model).__name__}")
