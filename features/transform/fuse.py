"""Transforms in front of a model, as one ONNX graph."""

import json
from collections.abc import Iterator, Mapping, Sequence

import onnx
from onnx import GraphProto, ModelProto, ValueInfoProto, helper

from falaj.features.errors import DefinitionError
from falaj.features.transform.declare import Transform
from falaj.features.transform.lower import OLDEST_OPSET, Lowering, element_type
from falaj.features.transform.program import ANY

_DATATYPES = {element_type(datatype): datatype for datatype in ANY}
_NO_MATRICES: Mapping[str, Sequence[str]] = {}


def fuse(
    model: ModelProto,
    transforms: Sequence[Transform],
    matrices: Mapping[str, Sequence[str]] = _NO_MATRICES,
) -> ModelProto:
    """Return a model that takes request inputs and feature columns and runs the transforms itself.

    A transform may take what an earlier one gives. An input of the model that a transform gives is fed by it;
    the others stay. What else the transforms and matrices take becomes an input of shape [rows, 1]. The
    hashes of the transforms go into the model's metadata, as `falaj.transforms`.

    Args:
        model: With inputs of shape [rows] or [rows, 1] for what the transforms give.
        transforms: In the order in which they run.
        matrices: For an input of shape [rows, k], the k columns it is made of, in order.

    Raises:
        DefinitionError: They do not fit each other; the message names the tensor.
    """
    fused = ModelProto()
    fused.CopyFrom(model)
    work = _Fusion(fused)
    for one in transforms:
        work.add_transform(one)
    for name, columns in matrices.items():
        work.add_matrix(name, columns)
    work.finish(transforms)
    onnx.checker.check_model(fused)
    return fused


class _Fusion:
    """Grows the graph of one model. Every column has a tensor of shape [rows]."""

    def __init__(self, model: ModelProto) -> None:
        self._model, self._graph = model, model.graph
        opset = _opset(model)
        weights = {weight.name for weight in model.graph.initializer}
        self._old = {info.name: info for info in model.graph.input if info.name not in weights}
        self._rows = _rows(self._old)
        self._lowering = Lowering(unused_prefix(model.graph, "transform/"), opset)
        self._columns: dict[str, str] = {}
        self._datatypes: dict[str, str] = {}
        self._given: dict[str, str] = {}  # by a transform; who
        self._taken: set[str] = set()
        self._new: list[ValueInfoProto] = []
        self._fed: set[str] = set()

    def add_transform(self, one: Transform) -> None:
        inputs = {name: self._column(name, of, str(one)) for name, of in one.inputs.items()}
        outputs = self._lowering.program(one.program, inputs, str(one))
        for name, tensor in outputs.items():
            if name in self._columns:
                other = self._given.get(name, "an input of an earlier transform")
                raise DefinitionError(f"{one}, output {name!r}: is already {other}")
            self._columns[name], self._datatypes[name] = tensor, one.outputs[name]
            self._given[name] = f"an output of {one}"

    def add_matrix(self, name: str, columns: Sequence[str]) -> None:
        where = f"matrix {name!r}"
        if name not in self._old:
            raise DefinitionError(f"{where}: the model's inputs are {', '.join(self._old)}")
        if name in self._columns:
            raise DefinitionError(f"{where}: is a column of a transform already")
        info = self._old[name]
        dims = info.type.tensor_type.shape.dim
        width = dims[1].dim_value if len(dims) == 2 and dims[1].HasField("dim_value") else len(columns)
        if len(dims) != 2 or not columns or width != len(columns):
            raise DefinitionError(f"{where}: expected shape [rows, {len(columns)}], got {_shape(info)}")
        del self._old[name]
        self._fed.add(name)
        last = self._lowering.constant([1], "INT64")
        tensors = [self._column(of, _datatype(info), where) for of in columns]
        wide = [self._lowering.node("Unsqueeze", tensor, last) for tensor in tensors]
        self._lowering.node("Concat", *wide, output=name, axis=1)

    def finish(self, transforms: Sequence[Transform]) -> None:
        self._feed()
        for name, giver in self._given.items():
            if name not in self._taken:
                inputs = ", ".join(info.name for info in self._graph.input)
                raise DefinitionError(
                    f"column {name!r}, {giver}: nothing takes it; the model's inputs are {inputs}"
                )
        kept = [info for info in self._graph.input if info.name not in self._fed]
        nodes = [*self._lowering.nodes, *self._graph.node]
        del self._graph.input[:], self._graph.node[:]
        self._graph.input.extend([*self._new, *kept])
        self._graph.node.extend(nodes)
        self._graph.initializer.extend(self._lowering.initializers.values())
        told = json.dumps({one.name: one.identity for one in transforms})
        self._model.metadata_props.add(key="falaj.transforms", value=told)

    def _feed(self) -> None:
        for name in [name for name in self._old if name in self._given]:
            info = self._old[name]
            dims = info.type.tensor_type.shape.dim
            if len(dims) not in (1, 2) or (len(dims) == 2 and dims[1].dim_value not in (0, 1)):
                raise DefinitionError(
                    f"model input {name!r}: expected shape [rows] or [rows, 1], got {_shape(info)}"
                )
            tensor = self._column(name, _datatype(info), "the model")
            if len(dims) == 1:
                self._lowering.node("Identity", tensor, output=name)
            else:
                self._lowering.node("Unsqueeze", tensor, self._lowering.constant([1], "INT64"), output=name)
            self._fed.add(name)

    def _column(self, name: str, datatype: str, where: str) -> str:
        """Return the tensor of a column; what no transform gave before becomes an input."""
        if name not in self._columns:
            self._columns[name], self._datatypes[name] = self._input(name, datatype)
        if self._datatypes[name] != datatype:
            raise DefinitionError(
                f"{where}: column {name!r}: expected {datatype}, got {self._datatypes[name]}"
            )
        self._taken.add(name)
        return self._columns[name]

    def _input(self, name: str, datatype: str) -> tuple[str, str]:
        if name in self._old:
            datatype = _datatype(self._old[name])
        elif name in _names(self._graph):
            raise DefinitionError(f"column {name!r}: the model has a tensor of this name; rename the column")
        else:
            info = helper.make_tensor_value_info(name, element_type(datatype), [None, 1])
            info.type.tensor_type.shape.dim[0].CopyFrom(self._rows)
            self._new.append(info)
        return self._lowering.node("Reshape", name, self._lowering.constant([-1], "INT64")), datatype


def _opset(model: ModelProto) -> int:
    for imported in model.opset_import:
        if imported.domain in ("", "ai.onnx"):
            if imported.version < OLDEST_OPSET:
                raise DefinitionError(
                    f"model: expected ai.onnx {OLDEST_OPSET} or newer, got {imported.version}"
                )
            return int(imported.version)
    model.opset_import.add(domain="", version=OLDEST_OPSET)
    return OLDEST_OPSET


def _rows(inputs: Mapping[str, ValueInfoProto]) -> onnx.TensorShapeProto.Dimension:
    for info in inputs.values():
        if info.type.tensor_type.shape.dim:
            first: onnx.TensorShapeProto.Dimension = info.type.tensor_type.shape.dim[0]
            return first
    raise DefinitionError("model: expected an input of shape [rows, ...], got none")


def _datatype(info: ValueInfoProto) -> str:
    number = info.type.tensor_type.elem_type
    if number not in _DATATYPES:
        raise DefinitionError(
            f"model input {info.name!r}: expected one of {', '.join(ANY)}, got ONNX's {number}"
        )
    return _DATATYPES[number]


def _shape(info: ValueInfoProto) -> str:
    dims = info.type.tensor_type.shape.dim
    return f"[{', '.join(dim.dim_param or str(dim.dim_value or '?') for dim in dims)}]"


def _names(graph: GraphProto) -> Iterator[str]:
    """All names of tensors and nodes, those of inner graphs too."""
    yield from (info.name for info in (*graph.input, *graph.output))
    yield from (weight.name for weight in graph.initializer)
    for node in graph.node:
        yield from (node.name, *node.input, *node.output)
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _names(inner)


def unused_prefix(graph: GraphProto, wanted: str) -> str:
    """Return a prefix that no name in a graph begins with: the wanted one, or longer."""
    names, prefix = set(_names(graph)), wanted
    while any(name.startswith(prefix) for name in names):
        prefix += "/"
    return prefix
