"""What a zoo model is, how one is put together, and how it gets into a model repository."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tests.zoo.datatypes import datatype_of, onnx_type, random_array

OPSET = 20
IR_VERSION = 9

Arrays = dict[str, np.ndarray]
Sample = Callable[[np.random.Generator, int], Arrays]
Dim = int | str | None  # a size, a symbol, or unknown without a name


@dataclass(frozen=True)
class TensorSpec:
    """One input or output as V2 metadata shows it: -1 stands for every dimension without a fixed size."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class ZooModel:
    """A model and what a test needs to know of it.

    `sample(rng, rows)` draws valid inputs with `rows` rows in dimension 0; a model whose first dimension is
    fixed, or absent, ignores `rows`. BF16 inputs are ml_dtypes.bfloat16 arrays, BYTES inputs are object
    arrays of bytes (UTF-8). `batchable` is the right answer of a batchability check: dimension 0 of every
    input and output is dynamic and a row's result does not depend on the other rows. `folder` holds the files
    beside `model.onnx` that the model refers to.
    """

    name: str
    proto: onnx.ModelProto | bytes
    sample: Sample
    batchable: bool
    notes: str = ""
    folder: Path | None = None

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Return the declared inputs, in order."""
        return tuple(_spec(value) for value in parse(self.proto).graph.input)

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Return the declared outputs, in order."""
        return tuple(_spec(value) for value in parse(self.proto).graph.output)


def parse(proto: onnx.ModelProto | bytes) -> onnx.ModelProto:
    """Return the message, parsing it if it is serialised."""
    return proto if isinstance(proto, onnx.ModelProto) else onnx.load_from_string(proto)


def serialise(proto: onnx.ModelProto | bytes) -> bytes:
    """Return the bytes of `model.onnx`."""
    return proto if isinstance(proto, bytes) else proto.SerializeToString(deterministic=True)


def save(model: ZooModel, folder: Path, version: int = 1) -> Path:
    """Write `<folder>/<name>/<version>/model.onnx`, and the files it refers to; return that folder."""
    target = Path(folder) / model.name / str(version)
    if model.folder is not None and model.folder.resolve() != target.resolve():
        shutil.copytree(model.folder, target, dirs_exist_ok=True)
    target.mkdir(parents=True, exist_ok=True)
    (target / "model.onnx").write_bytes(serialise(model.proto))
    return target


def value(name: str, datatype: str, shape: Sequence[Dim] | None) -> onnx.ValueInfoProto:
    """Describe a graph input or output; a shape of None leaves even the rank unknown."""
    return helper.make_tensor_value_info(name, onnx_type(datatype), None if shape is None else list(shape))


def constant(name: str, array: np.ndarray) -> onnx.TensorProto:
    """Make an initializer."""
    return numpy_helper.from_array(array, name)


def build(
    name: str,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    constants: Mapping[str, np.ndarray] | None = None,
    ml_opset: int | None = None,
) -> onnx.ModelProto:
    """Put a checked model together from its parts; `ml_opset` adds the ai.onnx.ml operators."""
    initializers = [constant(key, array) for key, array in (constants or {}).items()]
    graph = helper.make_graph(list(nodes), name, list(inputs), list(outputs), initializers)
    opsets = [helper.make_opsetid("", OPSET)]
    if ml_opset is not None:
        opsets.append(helper.make_opsetid("ai.onnx.ml", ml_opset))
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="falaj-zoo")
    onnx.checker.check_model(proto)
    return proto


def sampler(specs: Mapping[str, tuple[str, Sequence[int]]]) -> Sample:
    """Return a sample function for inputs of given (data type, row shape): arrays of [rows, *row shape]."""

    def sample(rng: np.random.Generator, rows: int) -> Arrays:
        return {key: random_array(rng, datatype, (rows, *shape)) for key, (datatype, shape) in specs.items()}

    return sample


def _spec(info: onnx.ValueInfoProto) -> TensorSpec:
    tensor = info.type.tensor_type
    shape = tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in tensor.shape.dim)
    return TensorSpec(info.name, datatype_of(tensor.elem_type), shape)
