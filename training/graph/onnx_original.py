"""An ONNX model that someone brings, as what it must answer like when Falaj serves it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falaj.training.custom_operators import custom_operators
from falaj.training.datatypes import datatype_of
from falaj.training.errors import TrainingError
from falaj.training.library import require
from falaj.training.original import Arrays, ModelInput, ModelOutput, Original, Role, Task

_TYPES = {
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(float16)": "FP16",
    "tensor(bool)": "BOOL",
    "tensor(string)": "BYTES",
    **{
        f"tensor({sign}int{bits})": f"{sign.upper()}INT{bits}"
        for sign in ("", "u")
        for bits in (8, 16, 32, 64)
    },
}


@dataclass(frozen=True)
class Graph:
    """A model's bytes, as they were in the file."""

    content: bytes


def original_of_onnx(
    content: bytes,
    sample: Arrays,
    *,
    task: Task | None = None,
    classes: Sequence[int | str] = (),
    columns: Sequence[str] = (),
    origin: str = "",
) -> Original:
    """Return a model as it is in a file; it answers by ONNX Runtime's own Python interface.

    Args:
        content: The file's.
        sample: A row or more of each input.
        task: What it is for; `other` unless told, or unless there are a label and a score for each class.
        classes: The labels in the order of the scores; 0, 1, ... unless told.
        columns: What the columns of its one input, a matrix, are called.
        origin: What it was read from, for messages.

    Raises:
        TrainingError: The runtime does not load it, or its inputs are not those of the sample.
    """
    require("onnx", "onnxruntime")
    session = _session(content, origin)
    told = session.get_inputs()
    missing = [one.name for one in told if one.name not in sample]
    if missing:
        raise TrainingError(f"{origin}: input {missing[0]!r}: the sample has {', '.join(sample)}")
    names = tuple(columns) if len(told) == 1 else ()
    inputs = tuple(_input(one, sample[one.name], names, origin) for one in told)
    first = {one.name: sample[one.name][:1] for one in told}
    values = session.run(None, first)
    outputs = [_value(one, value, origin) for one, value in zip(session.get_outputs(), values, strict=True)]
    label, scores = _label(outputs), _scores(outputs)
    labels: tuple[int | str, ...] = ()
    if task in ("binary", "multiclass") or (task is None and label is not None and scores is not None):
        labels = _classes(scores, classes, origin)
        task = task or ("binary" if len(labels) == 2 else "multiclass")
    roles: dict[str, Role] = {}
    if labels and scores is not None:
        roles[scores.name] = "scores"
        roles |= {} if label is None else {label.name: "label"}

    def predict(arrays: Arrays) -> dict[str, NDArray[Any]]:
        given = session.run(None, {one.name: arrays[one.name] for one in inputs})
        return {one.name: value for one, value in zip(outputs, given, strict=True)}

    return Original(
        family="onnx",
        task=task or "other",
        inputs=inputs,
        outputs=tuple(replace(one, role=roles.get(one.name, "value")) for one in outputs),
        model=Graph(content),
        predict=predict,
        classes=labels,
        origin=origin,
    )


def _classes(scores: ModelOutput | None, classes: Sequence[int | str], origin: str) -> tuple[int | str, ...]:
    if scores is None:
        raise TrainingError(f"{origin}: expected an output of scores, FP32 or FP64 [rows, classes]")
    labels = tuple(classes) or tuple(range(scores.shape[0]))
    if len(labels) != scores.shape[0]:
        raise TrainingError(f"{origin}: expected {scores.shape[0]} classes, got {len(labels)}")
    return labels


def _session(content: bytes, origin: str) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        if library := custom_operators(content):
            options.register_custom_ops_library(library)
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no common type of their own
        raise TrainingError(f"{origin}: ONNX Runtime does not load it: {str(error)[:400]}") from None


def _input(told: Any, array: NDArray[Any], columns: tuple[str, ...], origin: str) -> ModelInput:
    datatype, dims = _TYPES.get(told.type), told.shape
    got = datatype_of(array.dtype)
    if datatype is None or not dims:
        raise TrainingError(
            f"{origin}: input {told.name!r}: expected a tensor of [rows, ...], got {told.type} {dims}"
        )
    fits = array.ndim == len(dims) and all(
        not isinstance(dim, int) or dim == size for dim, size in zip(dims[1:], array.shape[1:], strict=True)
    )
    if got != datatype or not fits:
        raise TrainingError(
            f"{origin}: input {told.name!r}: expected {datatype} {dims}, the sample has {got} "
            f"{list(array.shape)}"
        )
    matrix = columns if array.shape[1:] == (len(columns),) else ()
    return ModelInput(told.name, datatype, array.shape[1:], matrix)


def _value(told: Any, value: Any, origin: str) -> ModelOutput:
    if not isinstance(value, np.ndarray) or told.type not in _TYPES:
        raise TrainingError(
            f"{origin}: output {told.name!r}: expected a tensor, got {told.type}: convert it without ZipMap"
        )
    if not value.ndim or len(value) != 1:
        raise TrainingError(
            f"{origin}: output {told.name!r}: expected [rows, ...], got {list(value.shape)} for one row"
        )
    return ModelOutput(told.name, _TYPES[told.type], value.shape[1:], "value")


def _label(outputs: Sequence[ModelOutput]) -> ModelOutput | None:
    found = [of for of in outputs if of.shape == () and of.datatype in ("INT64", "BYTES")]
    return found[0] if len(found) == 1 else None


def _scores(outputs: Sequence[ModelOutput]) -> ModelOutput | None:
    found = [
        of for of in outputs if of.datatype in ("FP32", "FP64") and len(of.shape) == 1 and of.shape[0] > 1
    ]
    return found[0] if len(found) == 1 else None
