"""One small model per V2 data type: values passed through unchanged, and values computed."""

import numpy as np
import onnx
from onnx import helper

from tests.zoo.datatypes import onnx_type
from tests.zoo.model import Dim, ZooModel, build, sampler, value

_WIDTH = 3


def identity(datatype: str, inputs: int = 1, seed: int = 0) -> ZooModel:
    """Build `x0..` [batch, *row shape] -> `y0..`; each row shape, of rank 0 to 3, is drawn from `seed`."""
    rng = np.random.default_rng(seed)
    shapes = {f"x{i}": tuple(rng.integers(1, 5, int(rng.integers(0, 4))).tolist()) for i in range(inputs)}
    name = f"identity_{datatype.lower()}_{inputs}"
    nodes = [helper.make_node("Identity", [x], [x.replace("x", "y")]) for x in shapes]
    proto = build(
        name,
        nodes,
        [value(x, datatype, ["batch", *shape]) for x, shape in shapes.items()],
        [value(x.replace("x", "y"), datatype, ["batch", *shape]) for x, shape in shapes.items()],
    )
    sample = sampler({x: (datatype, shape) for x, shape in shapes.items()})
    return ZooModel(name, proto, sample, batchable=True)


def elementwise(datatype: str) -> ZooModel:
    """Build `a`, `b` [batch, 3] -> `y` [batch, 3] and `joined` [batch, 6], `a` beside `b`.

    `y` is a + b for numbers (integers wrap; BF16 is added in FP32), a xor b for BOOL, the join for BYTES.
    """
    name = f"elementwise_{datatype.lower()}"
    row: list[Dim] = ["batch", _WIDTH]
    nodes = [*_combined(datatype), helper.make_node("Concat", ["a", "b"], ["joined"], axis=-1)]
    proto = build(
        name,
        nodes,
        [value("a", datatype, row), value("b", datatype, row)],
        [value("y", datatype, row), value("joined", datatype, ["batch", 2 * _WIDTH])],
    )
    sample = sampler({"a": (datatype, (_WIDTH,)), "b": (datatype, (_WIDTH,))})
    return ZooModel(name, proto, sample, batchable=True)


def _combined(datatype: str) -> list[onnx.NodeProto]:
    if datatype != "BF16":
        operator = {"BOOL": "Xor", "BYTES": "StringConcat"}.get(datatype, "Add")
        return [helper.make_node(operator, ["a", "b"], ["y"])]
    return [  # ONNX Runtime's CPU provider has no BF16 arithmetic
        helper.make_node("Cast", ["a"], ["a32"], to=onnx_type("FP32")),
        helper.make_node("Cast", ["b"], ["b32"], to=onnx_type("FP32")),
        helper.make_node("Add", ["a32", "b32"], ["y32"]),
        helper.make_node("Cast", ["y32"], ["y"], to=onnx_type("BF16")),
    ]
