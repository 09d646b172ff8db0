"""Small ONNX models to be put together, the text of pipelines, and the same graphs merged offline."""

from pathlib import Path

import numpy as np
import onnx
from onnx import compose, helper

from tests.serving import QUICK
from tests.zoo.model import build, value


def dense(inputs: int, outputs: int, seed: int) -> onnx.ModelProto:
    """`x` FP32 [rows, inputs] -> `y` FP32 [rows, outputs]: one layer and a tanh."""
    generator = np.random.default_rng(seed)
    weights = (generator.standard_normal((inputs, outputs)) / np.sqrt(inputs)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["z"]), helper.make_node("Tanh", ["z"], ["y"])]
    x, y = value("x", "FP32", ["rows", inputs]), value("y", "FP32", ["rows", outputs])
    return build("dense", nodes, [x], [y], {"w": weights})


def add(columns: int) -> onnx.ModelProto:
    """`left`, `right` FP32 [rows, columns] -> `sum`."""
    left, right, sum_of = (value(name, "FP32", ["rows", columns]) for name in ("left", "right", "sum"))
    return build("add", [helper.make_node("Add", ["left", "right"], ["sum"])], [left, right], [sum_of])


def sign(columns: int) -> onnx.ModelProto:
    """`x` FP32 [rows, columns] -> `route` INT64 [rows, 1]: -1, 0 or 1, the sign of the first column."""
    nodes = [
        helper.make_node("Slice", ["x", "from", "to", "axis"], ["first"]),
        helper.make_node("Sign", ["first"], ["signed"]),
        helper.make_node("Cast", ["signed"], ["route"], to=onnx.TensorProto.INT64),
    ]
    one = {"from": 0, "to": 1, "axis": 1}
    return build(
        "sign",
        nodes,
        [value("x", "FP32", ["rows", columns])],
        [value("route", "INT64", ["rows", 1])],
        {name: np.array([number], np.int64) for name, number in one.items()},
    )


def merged_chain(first: onnx.ModelProto, second: onnx.ModelProto) -> onnx.ModelProto:
    """CHAIN as one graph of models that are `x` -> `y`: it is `a_x` -> `b_y`."""
    return compose.merge_models(first, second, [("y", "x")], prefix1="a_", prefix2="b_")


def merged_diamond(
    first: onnx.ModelProto, second: onnx.ModelProto, other: onnx.ModelProto, both: onnx.ModelProto
) -> onnx.ModelProto:
    """DIAMOND as one graph of three models that are `x` -> `y`, and an `add`: it is `a_x` -> `d_sum`."""
    two = compose.merge_models(
        first, second, [("y", "x")], prefix1="a_", prefix2="b_", outputs=["a_y", "b_y"]
    )
    three = compose.merge_models(two, other, [("a_y", "x")], prefix2="c_")
    return compose.merge_models(three, both, [("b_y", "left"), ("c_y", "right")], prefix2="d_")


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
