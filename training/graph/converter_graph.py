"""Estimators that are left to skl2onnx, as parts of a graph."""

import warnings
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from falaj.training.errors import TrainingError
from falaj.training.graph.graph import ML, Growth
from falaj.training.graph.target import TREE_ENSEMBLE_ML_OPSET, Target
from falaj.training.library import require


def converted_graph(
    grow: Growth, estimator: Any, x: str, columns: int, target: Target, classes: int
) -> tuple[str, int]:
    """Add an estimator or transformer as skl2onnx writes it; return its scores and their number a row.

    It is written in FP64 where the runtime loads that, else in FP32.

    Args:
        grow: Where to add it.
        estimator: Fitted, of scikit-learn.
        x: FP64 [rows, columns].
        columns: Of x.
        target: Whose versions it is to have.
        classes: Whose probabilities are wanted; 0 of regressions and transformers.
    """
    model, wide = _converted(estimator, columns, target, classes)
    if not wide:
        x = grow.node("Cast", x, to=TensorProto.FLOAT)
    output = grow.embed(model, {"x": x})[0]
    width = model.graph.output[0].type.tensor_type.shape.dim[-1].dim_value
    scores = grow.node("Cast", output, to=TensorProto.DOUBLE)
    return grow.node("Reshape", scores, grow.constant([-1, width], np.int64)), width


def _converted(estimator: Any, columns: int, target: Target, classes: int) -> tuple[ModelProto, bool]:
    """Return the model, with one input x and one output, and whether x is FP64."""
    name = type(estimator).__name__
    require(name, "skl2onnx")
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType

    # TreeEnsembleRegressor, which it writes, ends with version 5.
    versions = {"": target.opset, ML: min(target.ml_opset, TREE_ENSEMBLE_ML_OPSET - 1)}
    why = ""
    for kind, dtype in ((DoubleTensorType, np.float64), (FloatTensorType, np.float32)):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = convert_sklearn(
                    estimator,
                    initial_types=[("x", kind([None, columns]))],
                    options={id(estimator): {"zipmap": False}} if classes else None,
                    target_opset=versions,
                )
            _one_output(model, len(model.graph.output) - 1)
            _stamp(model, versions)
            width = _check_runs(model, np.zeros((3, columns), dtype))
        except Exception as error:  # of the converter or the runtime; both raise many kinds
            why = why or f"{type(error).__name__}: {str(error).splitlines()[0][:300]}"
            continue
        del model.graph.output[0].type.tensor_type.shape.dim[:]
        shape = model.graph.output[0].type.tensor_type.shape
        shape.dim.add(dim_param="rows")
        shape.dim.add(dim_value=width)
        return model, dtype is np.float64
    raise TrainingError(f"{name}: skl2onnx does not write it for this ONNX Runtime: {why}")


def _stamp(model: ModelProto, versions: dict[str, int]) -> None:
    """Name the versions that were asked for: the converter names the oldest that have its nodes."""
    others = [one for one in model.opset_import if one.domain not in versions]
    kept = [helper.make_opsetid(one.domain, one.version) for one in others]
    asked = [helper.make_opsetid(domain, version) for domain, version in versions.items()]
    del model.opset_import[:]
    model.opset_import.extend([*asked, *kept])


def _one_output(model: ModelProto, kept: int) -> None:
    """Leave one output, and the nodes that it needs, in a form that takes no rows too."""
    graph = model.graph
    output = _copy(graph.output[kept])
    needed, nodes = {output.name}, []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            nodes.append(node)
    made = [one for node in reversed(nodes) for one in _of_any_rows(graph, node)]
    taken = {name for node in made for name in node.input}
    weights = [_copy(one) for one in graph.initializer if one.name in taken]
    del graph.output[:], graph.node[:], graph.initializer[:]
    graph.output.append(output)
    graph.node.extend(made)
    graph.initializer.extend(weights)


def _copy(message: Any) -> Any:
    return type(message).FromString(message.SerializeToString())


def _of_any_rows(graph: Any, node: NodeProto) -> list[NodeProto]:
    """ArrayFeatureExtractor refuses to take nothing; Gather along the last axis is the same."""
    copy: NodeProto = _copy(node)
    if node.op_type != "ArrayFeatureExtractor":
        return [copy]
    flat, shape = f"{node.output[0]}/flat", f"{node.output[0]}/shape"
    graph.initializer.append(numpy_helper.from_array(np.array([-1]), shape))
    return [
        helper.make_node("Reshape", [node.input[1], shape], [flat]),
        helper.make_node("Gather", [node.input[0], flat], list(node.output), axis=-1),
    ]


def _check_runs(model: ModelProto, x: Any) -> int:
    """Run it on some rows and on none; return how many numbers a row it gives."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    (some,) = session.run(None, {"x": x})
    session.run(None, {"x": x[:0]})
    return int(some.size // len(x))
