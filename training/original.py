"""A model as training has it: what its export must answer like."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]
Task = Literal["binary", "multiclass", "regression", "other"]
Family = Literal["sklearn", "xgboost", "lightgbm", "catboost", "torch", "onnx"]
Role = Literal["label", "scores", "value"]


@dataclass(frozen=True)
class ModelInput:
    """An input of the served model, an array of shape [rows, *shape]; BYTES are `object` arrays of str.

    Attributes:
        shape: Of one row.
        columns: What its columns are called in training data, from left to right, where the shape is (k,): of
            a matrix k names, of a single column one. None of other tensors.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelOutput:
    """An output of the served model, an array of shape [rows, *shape].

    Attributes:
        shape: Of one row; () of a label.
        role: `label`, one of the classes; `scores`, a probability for each class, in their order; or `value`.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    role: Role


@dataclass(frozen=True)
class Thresholds:
    """What the trees of a model compare one of its input's columns with, as the column comes.

    Attributes:
        input, column: Name of the input, and the column's place in it.
        values: FP64, ascending, each once.
        inclusive: Whether a value equal to one goes the way of the smaller (`x <= t`), or not (`x < t`).
    """

    input: str
    column: int
    values: NDArray[np.float64]
    inclusive: bool


@dataclass(frozen=True)
class Original:
    """A fitted model with the names that its export will have.

    Attributes:
        model: What was fitted, of its own library.
        predict: Answers inputs by the model's own library, as it was fitted: arrays by the names of `inputs`
            in, by those of `outputs` out. Takes any number of rows from 0 on.
        classes: The labels, in the order of the scores; none of regressions.
        thresholds: Where trees compare inputs as they come.
        categories: The known values of inputs that are categories, by the input's name.
        origin: What it was read from, for messages.
    """

    family: Family
    task: Task
    inputs: tuple[ModelInput, ...]
    outputs: tuple[ModelOutput, ...]
    model: Any
    predict: Callable[[Arrays], dict[str, NDArray[Any]]]
    classes: tuple[int | str, ...] = ()
    thresholds: tuple[Thresholds, ...] = ()
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    origin: str = ""
