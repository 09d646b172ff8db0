"""Small ONNX models to be put together, and the text of a pipeline."""

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tests.serving import QUICK

OPSET, IR = 17, 9
FLOAT, INT64 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64


def dense(inputs: int, outputs: int, seed: int) -> onnx.ModelProto:
    """`x` FP32 [rows, inputs] -> `y` FP32 [rows, outputs]: one layer and a tanh."""
    generator = np.random.default_rng(seed)
    weights = (generator.standard_normal((inputs, outputs)) / np.sqrt(inputs)).astype(np.float32)
    return _model(
        [helper.make_node("MatMul", ["x", "w"], ["z"]), helper.make_node("Tanh", ["z"], ["y"])],
        [helper.make_tensor_value_info("x", FLOAT, ["rows", inputs])],
        [helper.make_tensor_value_info("y", FLOAT, ["rows", outputs])],
        {"w": weights},
    )


def add(columns: int) -> onnx.ModelProto:
    """`left`, `right` FP32 [rows, columns] -> `sum`."""
    pair = [helper.make_tensor_value_info(name, FLOAT, ["rows", columns]) for name in ("left", "right")]
    sum_of = helper.make_tensor_value_info("sum", FLOAT, ["rows", columns])
    return _model([helper.make_node("Add", ["left", "right"], ["sum"])], pair, [sum_of], {})


def sign(columns: int) -> onnx.ModelProto:
    """`x` FP32 [rows, columns] -> `route` INT64 [rows, 1]: -1, 0 or 1, the sign of the first column."""
    nodes = [
        helper.make_node("Slice", ["x", "from", "to", "axis"], ["first"]),
        helper.make_node("Sign", ["first"], ["signed"]),
        helper.make_node("Cast", ["signed"], ["route"], to=INT64),
    ]
    one = {"from": 0, "to": 1, "axis": 1}
    return _model(
        nodes,
        [helper.make_tensor_value_info("x", FLOAT, ["rows", columns])],
        [helper.make_tensor_value_info("route", INT64, ["rows", 1])],
        {name: np.array([value], np.int64) for name, value in one.items()},
    )


def save(repository: Path, name: str, model: onnx.ModelProto, version: int = 1) -> None:
    """Write a model with a quick `model.toml`."""
    folder = repository / name / str(version)
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / "model.onnx")
    (folder.parent / "model.toml").write_text(QUICK + "max_batch_size = 16\n", encoding="utf-8")


def add_pipeline(repository: Path, name: str, text: str) -> None:
    """Write a pipeline without a version folder."""
    (repository / name).mkdir(parents=True, exist_ok=True)
    (repository / name / "pipeline.toml").write_text(text, encoding="utf-8")


CHAIN = """
[[input]]
name = "x"

[[step]]
model = "first"
inputs = { x = "x" }
outputs = { y = "hidden" }

[[step]]
model = "second"
inputs = { x = "hidden" }
outputs = { y = "score" }

[[output]]
name = "score"
"""
DIAMOND = """
[[input]]
name = "x"

[[step]]
model = "add"
inputs = { left = "l", right = "r" }
outputs = { sum = "s" }

[[step]]
model = "first"
inputs = { x = "x" }
outputs = { y = "hidden" }

[[step]]
name = "left"
model = "second"
inputs = { x = "hidden" }
outputs = { y = "l" }

[[step]]
name = "right"
model = "other"
inputs = { x = "hidden" }
outputs = { y = "r" }

[[output]]
name = "s"
"""
BRANCHES = """
[[input]]
name = "x"

[[step]]
model = "sign"
inputs = { x = "x" }
outputs = { route = "route" }

[[step]]
name = "positive"
model = "first"
inputs = { x = "x" }
outputs = { y = "y" }
when = { tensor = "route", equals = 1 }

[[step]]
name = "negative"
model = "widened"
inputs = { x = "x" }
outputs = { y = "y" }
when = { tensor = "route", equals = -1 }

[[output]]
name = "y"

[[output]]
name = "route"
"""


def add_models(repository: Path) -> None:
    """The models of all three."""
    save(repository, "first", dense(8, 16, 0))
    save(repository, "second", dense(16, 4, 1))
    save(repository, "other", dense(16, 4, 2))
    save(repository, "widened", dense(8, 16, 3))
    save(repository, "add", add(4))
    save(repository, "sign", sign(8))


def _model(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    constants: dict[str, np.ndarray],
) -> onnx.ModelProto:
    weights = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "graph", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
