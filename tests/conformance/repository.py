"""The models that the suite asks: `python -m tests.conformance.repository FOLDER` writes them for any server.

Each has a `config.pbtxt`, which Triton and Falaj both read. Load all of them, and let requests load and
unload: `falaj serve --repository FOLDER`, or Triton's `--model-control-mode=explicit --load-model=*`.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.text_encoding import CEscape
from onnx import helper

from tests import zoo
from tests.zoo.model import build, serialise, value

LABELS = ("heron", "ibex", "فلج", "oryx")  # of the classifier's classes; the last has none
CLASSES = len(LABELS) + 1
FEATURES = 32
# A space, characters that mean something in a URL, and some beyond ASCII.
AWKWARD_NAME = "a+b=50% ?x#y&é;فلج"
IDENTITY = {datatype: f"identity_{datatype.lower()}" for datatype in zoo.DATATYPES}
# What the suite needs to say of a model in its configuration, beside its tensors.
_QUEUE_OF_ONE = """instance_group [{ count: 1, kind: KIND_CPU }]
dynamic_batching { default_queue_policy { max_queue_size: 1 } }
"""
_PRIORITIES = """instance_group [{ count: 1, kind: KIND_CPU }]
dynamic_batching { priority_levels: 2, default_priority_level: 2 }
"""
_ALL_VERSIONS = "version_policy { all {} }\n"
_ONE_INSTANCE = "instance_group [{ count: 1, kind: KIND_CPU }]\n"
# No trials of batch sizes while loading. Other servers pass over parameters that they do not know.
_QUICK = 'parameters { key: "falaj.tune_ms", value: { string_value: "0" } }\n'
_TYPES = {"BYTES": "TYPE_STRING"}


@dataclass(frozen=True)
class SuiteModel:
    """A model's folder. `max_batch_size` 0: dimension 0 is none of the server's business."""

    name: str
    versions: Mapping[int, onnx.ModelProto | bytes]
    max_batch_size: int = 0
    settings: str = ""  # more of config.pbtxt
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)  # of outputs

    def config(self) -> str:
        """The text of `config.pbtxt`."""
        proto = next(iter(self.versions.values()))
        described = zoo.ZooModel(self.name, proto, lambda _rng, _rows: {}, batchable=self.max_batch_size > 0)
        name = CEscape(self.name.encode(), as_utf8=False)
        return (
            f'name: "{name}"\nbackend: "onnxruntime"\nmax_batch_size: {self.max_batch_size}\n'
            + "".join(self._tensor("input", spec) for spec in described.inputs)
            + "".join(self._tensor("output", spec) for spec in described.outputs)
            + self.settings
            + _QUICK
        )

    def write(self, repository: Path) -> None:
        """Write the folder."""
        folder = repository / self.name
        for version, proto in self.versions.items():
            target = folder / str(version)
            target.mkdir(parents=True, exist_ok=True)
            (target / "model.onnx").write_bytes(serialise(proto))
        (folder / "config.pbtxt").write_text(self.config(), encoding="utf-8")
        for output, labels in self.labels.items():
            (folder / f"{output}.txt").write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")

    def _tensor(self, kind: str, spec: zoo.TensorSpec) -> str:
        shape = spec.shape[1:] if self.max_batch_size else spec.shape
        datatype = _TYPES.get(spec.datatype, f"TYPE_{spec.datatype}")
        labels = f', label_filename: "{spec.name}.txt"' if spec.name in self.labels else ""
        return f'{kind} [{{ name: "{spec.name}", data_type: {datatype}, dims: {[*shape]}{labels} }}]\n'


def models() -> list[SuiteModel]:
    """Every model of the suite."""
    loop = zoo.loop_n(width=64).proto
    return [
        *(SuiteModel(name, {1: _identity(datatype)}) for datatype, name in IDENTITY.items()),
        SuiteModel("classifier", {1: classifier()}, 16, "dynamic_batching {}\n", {"y": LABELS}),
        SuiteModel("add_sub", {1: _add_sub()}, 8, "dynamic_batching {}\n"),
        SuiteModel("fixed", {1: zoo.no_batch().proto}),  # x FP32 [3] -> y [3], 2x
        SuiteModel("transpose", {1: _transpose()}),
        SuiteModel("pairs", {1: _passed_on("FP32", ["batch", "length", 2])}, 4),
        SuiteModel("words", {1: _passed_on("BYTES", ["batch", 1])}, 4),
        SuiteModel("versions", {1: _scaled(1), 3: _scaled(3)}, settings=_ALL_VERSIONS),
        SuiteModel(AWKWARD_NAME, {1: _scaled(7)}),
        SuiteModel("spare", {1: _scaled(1)}, 8),  # loaded, unloaded and replaced by tests
        SuiteModel("gather", {1: zoo.gather_bad_index().proto}, settings=_ONE_INSTANCE),
        SuiteModel("reshape", {1: _reshape()}),
        SuiteModel("slow", {1: loop}, 1, _QUEUE_OF_ONE),
        SuiteModel("ranked", {1: loop}, 1, _PRIORITIES),
    ]


def write(repository: Path) -> None:
    """Write every model under `repository`."""
    for model in models():
        model.write(repository)


def classifier() -> onnx.ModelProto:
    """`x` FP32 [batch, FEATURES] -> `y` FP32 [batch, CLASSES]."""
    proto = zoo.mlp((FEATURES, 16, CLASSES)).proto
    assert isinstance(proto, onnx.ModelProto)
    return proto


def scaled_bytes(factor: int) -> bytes:
    """`x` FP32 [rows, 2] -> `y`, `factor` times x, as a file's content."""
    return serialise(_scaled(factor))


def _scaled(factor: int) -> onnx.ModelProto:
    return _of_x_and_y(
        "scaled",
        helper.make_node("Mul", ["x", "factor"], ["y"]),
        "FP32",
        ["rows", 2],
        {"factor": np.array(factor, dtype=np.float32)},
    )


def _identity(datatype: str) -> onnx.ModelProto:
    """`x` [rows, columns] -> `y`, the same: both sizes are free."""
    return _passed_on(datatype, ["rows", "columns"])


def _passed_on(datatype: str, shape: list[int | str | None]) -> onnx.ModelProto:
    return _of_x_and_y("identity", helper.make_node("Identity", ["x"], ["y"]), datatype, shape)


def _of_x_and_y(
    name: str,
    node: onnx.NodeProto,
    datatype: str,
    shape: list[int | str | None],
    constants: Mapping[str, np.ndarray] | None = None,
) -> onnx.ModelProto:
    return build(name, [node], [value("x", datatype, shape)], [value("y", datatype, shape)], constants)


def _transpose() -> onnx.ModelProto:
    """`x` INT64 [a, b] -> `y` INT64 [b, a]: tells in which order the elements were read."""
    node = helper.make_node("Transpose", ["x"], ["y"], perm=[1, 0])
    return build("transpose", [node], [value("x", "INT64", ["a", "b"])], [value("y", "INT64", ["b", "a"])])


def _reshape() -> onnx.ModelProto:
    """`x` FP32 [n] -> `y` FP32 [m, 2]: no odd n can be run."""
    node = helper.make_node("Reshape", ["x", "shape"], ["y"])
    constants = {"shape": np.array([-1, 2], np.int64)}
    return build("reshape", [node], [value("x", "FP32", ["n"])], [value("y", "FP32", ["m", 2])], constants)


def _add_sub() -> onnx.ModelProto:
    """`left`, `right` INT32 [batch, 4] -> `sum` and `difference`."""
    shape: list[int | str | None] = ["batch", 4]
    nodes = [
        helper.make_node("Add", ["left", "right"], ["sum"]),
        helper.make_node("Sub", ["left", "right"], ["difference"]),
    ]
    inputs = [value(name, "INT32", shape) for name in ("left", "right")]
    return build("add_sub", nodes, inputs, [value(name, "INT32", shape) for name in ("sum", "difference")])


if __name__ == "__main__":
    write(Path(sys.argv[1]))
