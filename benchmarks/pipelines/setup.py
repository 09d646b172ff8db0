"""The models of the pipelines, the same graphs merged offline, and a repository of all of them."""

from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import compose, helper

from tests import zoo
from tests.zoo.model import ZooModel, build, sampler, value

_WIDTH = 64
_CHAIN = """
[[input]]
name = "x"
[[step]]
model = "first"
inputs = { x = "x" }
outputs = { y = "hidden" }
[[step]]
model = "second"
inputs = { x = "hidden" }
outputs = { y = "y" }
[[output]]
name = "y"
"""
_DIAMOND = """
[[input]]
name = "x"
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
model = "third"
inputs = { x = "hidden" }
outputs = { y = "r" }
[[step]]
model = "add"
inputs = { left = "l", right = "r" }
outputs = { y = "y" }
[[output]]
name = "y"
"""


@dataclass(frozen=True)
class Graph:
    """A pipeline, the models that it asks (one as often as it does), and the one model that it is merged to.
    `inputs` has a sample of each model's, by name of the model."""

    name: str
    parts: tuple[str, ...]
    merged: str


GRAPHS = (
    Graph("chain", ("first", "second"), "merged_chain"),
    Graph("diamond", ("first", "second", "third", "add"), "merged_diamond"),
)


def write_repository(folder: Path) -> dict[str, ZooModel]:
    """Write models and pipelines; return what can be asked, by name. Every model batches up to 128 rows."""
    first = _named(zoo.mlp((32, 64, _WIDTH)), "first")
    second = _named(zoo.mlp((_WIDTH, 64, 2)), "second")
    third = _named(zoo.mlp((_WIDTH, 32, 2)), "third")
    models = [first, second, third, _add(), *_merged(first, second, third)]
    for model in models:
        zoo.save(model, folder)
        (folder / model.name / "model.toml").write_text("max_batch_size = 128\n", encoding="utf-8")
    asked = {model.name: model for model in models}
    for name, text in (("chain", _CHAIN), ("diamond", _DIAMOND)):
        (folder / name).mkdir()
        (folder / name / "pipeline.toml").write_text(text, encoding="utf-8")
        asked[name] = _named(first, name)
    return asked


def _named(model: ZooModel, name: str) -> ZooModel:
    return ZooModel(name=name, proto=model.proto, sample=model.sample, batchable=True, notes=model.notes)


def _add() -> ZooModel:
    node = helper.make_node("Add", ["left", "right"], ["y"])
    pair = [value(name, "FP32", ["batch", 2]) for name in ("left", "right")]
    return ZooModel(
        name="add",
        proto=build("add", [node], pair, [value("y", "FP32", ["batch", 2])], {}),
        sample=sampler({"left": ("FP32", (2,)), "right": ("FP32", (2,))}),
        batchable=True,
    )


def _merged(first: ZooModel, second: ZooModel, third: ZooModel) -> list[ZooModel]:
    """The same graphs as one model each; they take `a_x`."""
    chain = compose.merge_models(first.proto, second.proto, [("y", "x")], prefix1="a_", prefix2="b_")
    both = compose.merge_models(
        first.proto, second.proto, [("y", "x")], prefix1="a_", prefix2="b_", outputs=["a_y", "b_y"]
    )
    three = compose.merge_models(both, third.proto, [("a_y", "x")], prefix2="c_")
    diamond = compose.merge_models(three, _add().proto, [("b_y", "left"), ("c_y", "right")], prefix2="d_")
    draw = sampler({"a_x": ("FP32", (32,))})
    graphs: list[tuple[str, onnx.ModelProto]] = [("merged_chain", chain), ("merged_diamond", diamond)]
    return [ZooModel(name=name, proto=proto, sample=draw, batchable=True) for name, proto in graphs]
