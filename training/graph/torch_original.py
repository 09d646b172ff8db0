"""PyTorch modules as what an export must answer like."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falaj.training.datatypes import datatype_of
from falaj.training.errors import TrainingError
from falaj.training.graph.tabular_original import answers, checked_classes, outputs_of
from falaj.training.library import require
from falaj.training.original import Arrays, ModelInput, ModelOutput, Original, Task


def original_of_module(
    module: Any,
    sample: Arrays,
    *,
    task: Task = "other",
    classes: Sequence[int | str] = (),
    outputs: Sequence[str] = (),
    columns: Mapping[str, Sequence[str]] | None = None,
    origin: str = "",
) -> Original:
    """Return a module with the names that it is served under.

    A classification's module gives logits: one a row of the second of two classes, or one for each class;
    it is served with `label` and `probabilities`. A regression's gives [rows] or [rows, 1], served as
    `prediction`. Of `other` what it gives is served as it is.

    Args:
        module: A torch.nn.Module that takes tensors [rows, ...], in the order of the sample.
        sample: One row or more of each input, by the names that the inputs are to have.
        task: What it is for.
        classes: The labels, in the order of the logits.
        outputs: Names of what a module of task `other` gives; else `output`, or `output_0` and so on.
        columns: For inputs that are matrices, what their columns are called.
        origin: What it was read from, for messages.

    Raises:
        TrainingError: They do not fit each other, or torch is missing.
    """
    require("torch", "torch")
    labels = checked_classes(task, classes) if task != "other" else ()
    named = columns or {}
    inputs = tuple(_input(name, array, tuple(named.get(name, ()))) for name, array in sample.items())
    values = run(module, {name: array[:1] for name, array in sample.items()})
    if task == "other":
        told = _outputs(outputs, values)
    else:
        told = outputs_of(labels)
        _check_logits(values, labels)

    def predict(arrays: Arrays) -> dict[str, NDArray[Any]]:
        given = run(module, {one.name: arrays[one.name] for one in inputs})
        if task == "other":
            return {one.name: value for one, value in zip(told, given, strict=True)}
        return answers(probabilities(given[0], len(labels)), labels)

    return Original(
        family="torch",
        task=task,
        inputs=inputs,
        outputs=told,
        model=module,
        predict=predict,
        classes=labels,
        origin=origin,
    )


def run(module: Any, arrays: Arrays) -> list[NDArray[Any]]:
    """Return what a module gives for arrays, in evaluation mode, on the CPU."""
    import torch

    with evaluated(module), torch.no_grad():
        tensors = [torch.from_numpy(np.ascontiguousarray(array)) for array in arrays.values()]
        given = module(*tensors)
    values = list(given.values()) if isinstance(given, dict) else given
    values = list(values) if isinstance(values, list | tuple) else [values]
    return [value.numpy() for value in values]


@contextmanager
def evaluated(module: Any) -> Iterator[None]:
    """Put a module and what is in it into evaluation mode for a while."""
    modes = [(one, one.training) for one in module.modules()]
    # What torch.export made has one mode, and refuses to be asked for another.
    with suppress(NotImplementedError):
        module.eval()
    try:
        yield
    finally:
        for one, training in modes:
            one.training = training


def probabilities(logits: NDArray[Any], classes: int) -> NDArray[np.float64]:
    """Return the probabilities of logits [rows], [rows, 1] or [rows, classes]; of no classes the values."""
    wide = logits.astype(np.float64).reshape(len(logits), -1 if len(logits) else max(classes, 1))
    if not classes or not len(wide):
        return wide
    if wide.shape[1] == 1:
        with np.errstate(over="ignore"):
            second = 1.0 / (1.0 + np.exp(-wide))
        return np.concatenate([1.0 - second, second], axis=1)
    raised = np.exp(wide - wide.max(axis=1, keepdims=True))
    shares = np.asarray(raised / raised.sum(axis=1, keepdims=True))
    if classes == 2:
        shares[:, 0] = 1.0 - shares[:, 1]
    return shares


def _check_logits(values: Sequence[NDArray[Any]], classes: Sequence[int | str]) -> None:
    expected = {0: (1,), 2: (1, 2)}.get(len(classes), (len(classes),))
    if len(values) != 1 or values[0].size not in expected:
        got = ", ".join(str(list(value.shape)) for value in values)
        told = f"logits of {len(classes)} classes" if classes else "one value a row"
        raise TrainingError(f"torch: expected one output with {told}, got {got} for one row")


def _input(name: str, array: NDArray[Any], columns: tuple[str, ...]) -> ModelInput:
    datatype = datatype_of(array.dtype)
    if datatype is None or datatype == "BYTES" or array.ndim < 1 or not len(array):
        raise TrainingError(
            f"input {name!r}: expected numbers of shape [rows, ...], one row or more, got {array.dtype} "
            f"{list(array.shape)}"
        )
    if columns and len(columns) != int(np.prod(array.shape[1:])):
        raise TrainingError(f"input {name!r}: {len(columns)} names for shape {list(array.shape)}")
    return ModelInput(name, datatype, array.shape[1:], columns)


def _outputs(names: Sequence[str], values: Sequence[NDArray[Any]]) -> tuple[ModelOutput, ...]:
    if not names:
        names = ["output"] if len(values) == 1 else [f"output_{at}" for at in range(len(values))]
    if len(names) != len(values):
        raise TrainingError(f"torch: expected {len(names)} outputs, {', '.join(names)}, got {len(values)}")
    return tuple(_output(name, value) for name, value in zip(names, values, strict=True))


def _output(name: str, value: NDArray[Any]) -> ModelOutput:
    datatype = datatype_of(value.dtype)
    if datatype is None or value.ndim < 1:
        raise TrainingError(f"output {name!r}: expected [rows, ...], got {value.dtype} {list(value.shape)}")
    return ModelOutput(name, datatype, value.shape[1:], "value")
