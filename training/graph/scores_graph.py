"""From what a model computes to the outputs that are served."""

from collections.abc import Sequence

import numpy as np
from onnx import TensorProto

from falaj.training.errors import TrainingError
from falaj.training.graph.calibration import calibration_graph, sigmoid_graph
from falaj.training.graph.forest import Link
from falaj.training.graph.graph import Growth
from falaj.training.graph.target import Target
from falaj.training.original import ModelOutput
from falaj.training.tabular import Calibration


def link_graph(grow: Growth, link: Link, slope: float, sums: str) -> str:
    """Add what makes scores of sums, FP64 [rows, outputs]; return the scores, of the same shape.

    `sigmoid`, `sigmoids`: 1 / (1 + exp(-slope * s)); `softmax`: over the outputs; `exp`; `signed_square`:
    s * |s|; `log1pexp`: log(1 + exp(s)); `shares`: divided by their sum, alike
    where all are 0.
    """
    if link in ("sigmoid", "sigmoids"):
        return sigmoid_graph(grow, sums, slope)
    if link == "softmax":
        return grow.node("Softmax", sums, axis=1)
    if link == "exp":
        return grow.node("Exp", sums)
    if link == "signed_square":
        return grow.node("Mul", sums, grow.node("Abs", sums))
    if link == "log1pexp":
        one = grow.constant(1.0, np.float64)
        return grow.node("Log", grow.node("Add", one, grow.node("Exp", sums)))
    if link == "shares":
        return _shares(grow, sums)
    return sums


def _shares(grow: Growth, scores: str) -> str:
    """Divide scores by their sum; where all are 0, each gets as much."""
    axis = grow.constant([1], np.int64)
    total = grow.node("ReduceSum", scores, axis, keepdims=1)
    none = grow.node("Equal", total, grow.constant(0.0, np.float64))
    some = grow.node("Where", none, grow.constant(1.0, np.float64), scores)
    return grow.node("Div", some, grow.node("ReduceSum", some, axis, keepdims=1))


def outputs_graph(
    grow: Growth,
    scores: str,
    width: int,
    outputs: Sequence[ModelOutput],
    classes: Sequence[int | str],
    calibration: Calibration | None,
    target: Target,
) -> None:
    """Add the outputs of a model.

    Args:
        grow: Where to add them.
        scores: FP64 [rows, width] of a classification, where two classes may have one, that of the second;
            or the values of a regression.
        width: Of the scores.
        outputs: Whose roles say what each is; scores and values are cast to their datatypes.
        classes: None of a regression.
        calibration: Of two classes.
        target: Of the graph.
    """
    by_role = {one.role: one for one in outputs}
    if not classes:
        grow.node("Cast", scores, to=_element(by_role["value"]), output=by_role["value"].name)
        return
    if len(classes) == 2:
        second = _second(grow, scores, width, calibration, target)
        first = grow.node("Sub", grow.constant(1.0, np.float64), second)
        scores = grow.node("Concat", first, second, axis=1)
    elif calibration is not None:
        raise TrainingError(f"calibration: expected two classes, got {len(classes)}")
    if "label" in by_role:
        labels = np.array(classes, np.int64 if isinstance(classes[0], int) else np.object_)
        place = grow.node("ArgMax", scores, axis=1, keepdims=0)
        grow.node("Gather", grow.constant(labels), place, output=by_role["label"].name)
    grow.node("Cast", scores, to=_element(by_role["scores"]), output=by_role["scores"].name)


def _second(grow: Growth, scores: str, width: int, calibration: Calibration | None, target: Target) -> str:
    last = scores
    if width == 2:
        last = grow.node("Slice", scores, *(grow.constant([of], np.int64) for of in (1, 2, 1)))
    return last if calibration is None else calibration_graph(grow, calibration, last, target)


def _element(output: ModelOutput) -> int:
    return int({"FP32": TensorProto.FLOAT, "FP64": TensorProto.DOUBLE}[output.datatype])
