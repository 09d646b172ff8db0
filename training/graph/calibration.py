"""What a calibration makes of scores: in NumPy, and as nodes of a graph."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from falaj.training.errors import TrainingError
from falaj.training.tabular import Calibration

if TYPE_CHECKING:
    from falaj.training.graph.graph import Growth
    from falaj.training.graph.target import Target

_EDGE = 1e-7  # how near to 0 and 1 a score may be for its logit


def calibrated(calibration: Calibration, scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probabilities of the second class, FP64 of the shape of its scores."""
    if calibration.method == "isotonic":
        knots, values = _line(calibration)
        return np.interp(scores, knots, values)
    kept = np.clip(scores, _EDGE, 1.0 - _EDGE)
    raised = calibration.slope * np.log(kept / (1.0 - kept)) + calibration.offset
    return np.asarray(1.0 / (1.0 + np.exp(-raised)), np.float64)


def calibration_graph(grow: "Growth", calibration: Calibration, score: str, target: "Target") -> str:
    """Add the calibration of a tensor FP64 [rows, 1]; return that of the probabilities, of its shape."""
    if calibration.method == "isotonic":
        return _isotonic_graph(grow, calibration, score, target)
    one = grow.constant(1.0, np.float64)
    edges = grow.constant(_EDGE, np.float64), grow.constant(1.0 - _EDGE, np.float64)
    kept = grow.node("Clip", score, *edges)
    logit = grow.node("Log", grow.node("Div", kept, grow.node("Sub", one, kept)))
    scaled = grow.node("Mul", logit, grow.constant(calibration.slope, np.float64))
    return sigmoid_graph(grow, grow.node("Add", scaled, grow.constant(calibration.offset, np.float64)))


def sigmoid_graph(grow: "Growth", x: str, slope: float = 1.0) -> str:
    """Add 1 / (1 + exp(-slope * x)) of a tensor FP64; return it.

    ONNX Runtime's own Sigmoid of FP64 is 0 from -37 down, and 0.1 % off at -30.
    """
    power = grow.node("Exp", grow.node("Mul", x, grow.constant(-slope, np.float64)))
    return grow.node("Reciprocal", grow.node("Add", power, grow.constant(1.0, np.float64)))


def _isotonic_graph(grow: "Growth", calibration: Calibration, score: str, target: "Target") -> str:
    """A tree finds the piece of the line that a score lies on; the rest is as `numpy.interp` has it."""
    from onnx import TensorProto

    from falaj.training.graph.forest import Forest, Rule, tree
    from falaj.training.graph.forest_graph import sums_graph

    knots, values = _line(calibration)
    nodes = np.array(_search(len(knots)), np.int64)
    search = tree(
        feature=np.zeros(len(nodes), np.int64),
        threshold=knots[nodes[:, 0]],
        missing=np.zeros(len(nodes), np.bool_),
        yes=nodes[:, 1],
        no=nodes[:, 2],
        leaves=np.arange(len(knots) + 1, dtype=np.float64).reshape(-1, 1),
        rule=Rule.BELOW,
    )
    forest = Forest((search,), features=1, outputs=1, base=np.zeros(1))
    piece = grow.node("Cast", sums_graph(grow, forest, score, "FP64", target), to=TensorProto.INT64)
    slopes = np.diff(values) / np.diff(knots)
    starts = np.concatenate([knots[:1], knots])
    heights = np.concatenate([values[:1], values])
    steep = np.concatenate([[0.0], slopes, [0.0]])
    taken = [grow.node("Gather", grow.constant(table), piece) for table in (starts, heights, steep)]
    risen = grow.node("Mul", taken[2], grow.node("Sub", score, taken[0]))
    return grow.node("Add", risen, taken[1])


def _line(calibration: Calibration) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    knots = np.asarray(calibration.knots, np.float64)
    values = np.asarray(calibration.values, np.float64)
    if not len(knots) or knots.shape != values.shape or not (np.diff(knots) > 0).all():
        raise TrainingError(
            f"calibration: expected ascending knots, at least one, and as many values, got {len(knots)} "
            f"knots and {len(values)} values"
        )
    return knots, values


def _search(count: int) -> list[tuple[int, int, int]]:
    """Return the nodes of a binary search: the knot, where to go below it, and where otherwise.

    A leaf is ~(the number of knots that are not above the score).
    """
    nodes: list[tuple[int, int, int]] = []

    def between(low: int, high: int) -> int:
        if low == high:
            return ~low
        place, middle = len(nodes), (low + high) // 2
        nodes.append((middle, 0, 0))
        nodes[place] = (middle, between(low, middle), between(middle + 1, high))
        return place

    between(0, count)
    return nodes
