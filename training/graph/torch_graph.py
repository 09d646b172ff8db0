"""PyTorch modules as ONNX graphs."""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from falaj.training.datatypes import dtype_of
from falaj.training.errors import TrainingError
from falaj.training.graph.target import Target
from falaj.training.graph.torch_original import evaluated, run
from falaj.training.library import require
from falaj.training.original import Original

if TYPE_CHECKING:
    from onnx import ModelProto

# Rows that a module is traced with: 0 and 1 would be taken for good.
_TRACED_ROWS = 3


def exported(
    module: Any, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str], target: Target
) -> "ModelProto":
    """Return a module's graph in evaluation mode, for any number of rows.

    Args:
        module: A torch.nn.Module that takes tensors of [rows, ...] in this order.
        inputs: Examples by name; their rows are repeated as tracing needs.
        outputs: The names of what it gives, in order.
        target: Of which `opset` counts.

    Raises:
        TrainingError: It cannot be traced, or only for one number of rows.
    """
    require("torch", "torch", "onnxscript")
    import torch

    rows = torch.export.Dim("rows")
    examples = tuple(
        torch.from_numpy(np.ascontiguousarray(np.resize(array, (_TRACED_ROWS, *array.shape[1:]))))
        for array in inputs.values()
    )
    try:
        with evaluated(module), _quiet():
            program = torch.onnx.export(
                module,
                examples,
                dynamo=True,
                verbose=False,
                opset_version=target.opset,
                input_names=list(inputs),
                output_names=list(outputs),
                # A forward(*inputs) has one parameter for all of them.
                dynamic_shapes=_shapes(module, [{0: rows} for _ in examples]),
            )
    except Exception as error:  # tracing runs the user's code, which may raise anything
        told = " ".join(str(error).split())
        raise TrainingError(
            f"torch: {type(module).__name__} cannot be traced for any number of rows: "
            f"{type(error).__name__}: {told[:600]}"
        ) from error
    model: ModelProto = program.model_proto
    _check(model, inputs, outputs)
    return model


def module_graph(original: Original, target: Target) -> "ModelProto":
    """Return the graph of an Original whose model is a torch.nn.Module."""
    from onnx import TensorProto

    from falaj.training.graph.graph import Growth
    from falaj.training.graph.scores_graph import link_graph, outputs_graph

    zeros = {one.name: np.zeros((1, *one.shape), dtype_of(one.datatype)) for one in original.inputs}
    names = [one.name for one in original.outputs]
    grow = Growth(original.inputs)
    if original.task == "other":
        given = grow.embed(exported(original.model, zeros, names, target), {name: name for name in zeros})
        for name, tensor in zip(names, given, strict=True):
            grow.node("Identity", tensor, output=name)
        return grow.finish(original.outputs, target)
    model = exported(original.model, zeros, ("scores",), target)
    (values,) = grow.embed(model, {name: name for name in zeros})
    width = width_of_scores(original)
    flat = grow.node("Reshape", values, grow.constant([-1, width], np.int64))
    scores = grow.node("Cast", flat, to=TensorProto.DOUBLE)
    if original.classes:
        scores = link_graph(grow, "sigmoid" if width == 1 else "softmax", 1.0, scores)
    outputs_graph(grow, scores, width, original.outputs, original.classes, None, target)
    return grow.finish(original.outputs, target)


def width_of_scores(original: Original) -> int:
    """Return how many numbers a row a classifying or regressing module gives, asked with one row."""
    zeros = {one.name: np.zeros((1, *one.shape), dtype_of(one.datatype)) for one in original.inputs}
    (values,) = run(original.model, zeros)
    return int(values.size)


def _shapes(module: Any, shapes: list[dict[int, Any]]) -> Any:
    from inspect import Parameter, signature

    parameters = signature(module.forward).parameters.values()
    variadic = any(one.kind is Parameter.VAR_POSITIONAL for one in parameters)
    return (tuple(shapes),) if variadic else tuple(shapes)


def _check(model: "ModelProto", inputs: Mapping[str, Any], outputs: Sequence[str]) -> None:
    got = [info.name for info in model.graph.input], [info.name for info in model.graph.output]
    if got != (list(inputs), list(outputs)):
        raise TrainingError(
            f"torch: expected inputs {', '.join(inputs)} and outputs {', '.join(outputs)}, the module has "
            f"{', '.join(got[0])} and {', '.join(got[1])}"
        )
    for info in model.graph.output:
        dims = info.type.tensor_type.shape.dim
        if not dims or not dims[0].dim_param:
            raise TrainingError(f"torch: output {info.name!r}: expected [rows, ...], got a fixed length")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the exporter says of packages that it does not need from the terminal."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
