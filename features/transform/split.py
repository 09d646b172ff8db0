"""A model's matrix, with some of its columns as inputs of their own."""

from collections.abc import Sequence

from onnx import GraphProto, ModelProto, helper

from falaj.features.errors import DefinitionError
from falaj.features.transform.fuse import unused_prefix
from falaj.features.transform.lower import Lowering


def split_matrix(
    model: ModelProto, name: str, columns: Sequence[str], apart: Sequence[str]
) -> tuple[ModelProto, tuple[str, ...]]:
    """Return a model that takes some columns of a matrix apart, for transforms to give, and the rest as one.

    The rest keeps the matrix's name, and its order; each column that is apart is an input of its name, of
    shape [rows, 1]. Where no column is left, there is no matrix.

    Args:
        name: Of an input of shape [rows, k].
        columns: What its columns are called, from left to right.
        apart: Some of them.

    Raises:
        DefinitionError: There is no such input, or it has other columns.
    """
    inputs = {info.name: info for info in model.graph.input}
    if name not in inputs:
        raise DefinitionError(f"matrix {name!r}: the model's inputs are {', '.join(inputs)}")
    dims = inputs[name].type.tensor_type.shape.dim
    if len(dims) != 2 or (dims[1].HasField("dim_value") and dims[1].dim_value != len(columns)):
        raise DefinitionError(f"matrix {name!r}: expected shape [rows, {len(columns)}]")
    unknown = [each for each in apart if each not in columns]
    if unknown:
        raise DefinitionError(f"matrix {name!r}: has no column {unknown[0]!r}, it has: {', '.join(columns)}")
    rest = tuple(each for each in columns if each not in apart)
    split = ModelProto()
    split.CopyFrom(model)
    _rewrite(split, name, columns, [each for each in columns if each in apart], rest)
    return split, rest


def _rewrite(
    model: ModelProto, name: str, columns: Sequence[str], apart: Sequence[str], rest: Sequence[str]
) -> None:
    graph, prefix = model.graph, unused_prefix(model.graph, "split/")
    whole = f"{prefix}{name}"
    (info,) = (each for each in graph.input if each.name == name)
    kind, rows = info.type.tensor_type.elem_type, info.type.tensor_type.shape.dim[0]
    _rename(graph, name, whole)
    made = []
    for column in apart:
        given = helper.make_tensor_value_info(column, kind, [None, 1])
        given.type.tensor_type.shape.dim[0].CopyFrom(rows)
        made.append(given)
    if rest:
        info.type.tensor_type.shape.dim[1].dim_value = len(rest)
    else:
        graph.input.remove(info)
    graph.input.extend(made)
    lowering = Lowering(prefix, 0)
    together = [*([name] if rest else []), *apart]
    order = [[*rest, *apart].index(column) for column in columns]
    if order == list(range(len(order))):
        lowering.node("Concat", *together, output=whole, axis=1)
    else:
        joined = lowering.node("Concat", *together, axis=1)
        lowering.node("Gather", joined, lowering.constant(order, "INT64"), output=whole, axis=1)
    nodes = [*lowering.nodes, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(lowering.initializers.values())


def _rename(graph: GraphProto, name: str, new: str) -> None:
    """Have every node take another tensor, those of inner graphs too."""
    for node in graph.node:
        for place, taken in enumerate(node.input):
            if taken == name:
                node.input[place] = new
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                _rename(inner, name, new)
