"""Random models: any data types, row shapes and operators that ONNX Runtime's CPU provider has kernels for.

The operator tables hold what ONNX Runtime 1.23 to 1.32 all have, so that a seed means the same model
everywhere; test_zoo.py loads a model for every entry.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper

from tests.zoo.datatypes import DATATYPES, onnx_type, random_array
from tests.zoo.model import Arrays, Dim, ZooModel, build, value

_UNSIGNED = ("UINT8", "UINT16", "UINT32", "UINT64")
_SIGNED = ("INT8", "INT16", "INT32", "INT64")
_FLOATS = ("FP16", "FP32", "FP64")  # BF16 has few kernels and is named where it has
_NUMBERS = (*_UNSIGNED, *_SIGNED, *_FLOATS)

UNARY: dict[str, tuple[str, ...]] = {
    "Identity": DATATYPES,
    "Transpose": DATATYPES,
    "Abs": _NUMBERS,
    "Sign": (*_NUMBERS, "BF16"),
    "Neg": (*_SIGNED, *_FLOATS),
    "Not": ("BOOL",),
    "BitwiseNot": (*_UNSIGNED, *_SIGNED),
    "ReduceMax": ("BOOL", "UINT8", "INT8", "INT32", "INT64", *_FLOATS),
    "Cast": ("BOOL", *_NUMBERS, "BF16"),  # to FP32
}
BINARY: dict[str, tuple[str, ...]] = {
    "Concat": DATATYPES,
    "Add": _NUMBERS,
    "Sub": _NUMBERS,
    "Mul": _NUMBERS,
    "BitwiseXor": (*_UNSIGNED, *_SIGNED),
    "Xor": ("BOOL",),
    "Or": ("BOOL",),
    "StringConcat": ("BYTES",),
    "Equal": ("BOOL", *_NUMBERS, "BYTES"),
}
_LEAST_RANK = {
    "Transpose": 2,
    "ReduceMax": 1,
    "Concat": 1,
}  # of a row; every operator leaves dimension 0 alone

_NULL_ON_ITSELF = ("Sub", "BitwiseXor", "Xor", "Equal")  # x op x tells nothing of x

LAST = {"last": np.array([-1], dtype=np.int64)}


@dataclass(frozen=True)
class RowTensor:
    """A tensor without its batch dimension; a str in `row` is an axis of variable size."""

    name: str
    datatype: str
    row: tuple[Dim, ...]


def random_model(rng: np.random.Generator, name: str = "random") -> ZooModel:
    """Draw a model of 1-4 inputs `in0..` and 1-3 outputs `out0..`, the same for the same generator state.

    Each input has its own data type and row shape (rank 0-3, axes of 1-4, a third of them variable), except
    that about a third repeat an earlier one's, so that operators have two inputs to combine. The batch
    dimension is dynamic in three models of four, else fixed at 1-4. Rows never depend on each other. An input
    may be unused.
    """
    rows: Dim = "batch" if rng.random() < 0.75 else int(rng.integers(1, 5))
    inputs = _draw_inputs(rng)
    nodes: list[onnx.NodeProto] = []
    outputs: list[RowTensor] = []
    order = rng.permutation(len(inputs))
    for i in range(int(rng.integers(1, 4))):
        source = inputs[int(order[i % len(inputs)])]
        partner = _partner(rng, source, inputs)
        node, output = apply(_draw_operator(rng, source, partner), source, partner, f"out{i}")
        nodes.append(node)
        outputs.append(output)
    proto = build(
        name,
        nodes,
        [value(t.name, t.datatype, (rows, *t.row)) for t in inputs],
        [value(t.name, t.datatype, (rows, *t.row)) for t in outputs],
        LAST if any("last" in node.input for node in nodes) else {},
    )

    def sample(rng: np.random.Generator, count: int) -> Arrays:
        sizes = {axis: int(rng.integers(1, 5)) for t in inputs for axis in t.row if isinstance(axis, str)}
        leading = rows if isinstance(rows, int) else count
        return {t.name: random_array(rng, t.datatype, (leading, *_sized(t.row, sizes))) for t in inputs}

    notes = ", ".join(f"{node.op_type}({', '.join(node.input)})" for node in nodes)
    return ZooModel(name, proto, sample, batchable=rows == "batch", notes=notes)


def apply(op_type: str, first: RowTensor, second: RowTensor, name: str) -> tuple[onnx.NodeProto, RowTensor]:
    """Make the node of an operator and describe its result; a unary operator ignores `second`.

    The graph of a ReduceMax must hold the constant LAST.
    """
    names = [first.name, second.name] if op_type in BINARY else [first.name]
    row, datatype, rank = first.row, first.datatype, len(first.row)
    attributes: dict[str, Any] = {}
    if op_type == "Transpose":
        attributes["perm"] = [*range(rank - 1), rank, rank - 1]
        row = (*row[:-2], row[-1], row[-2])
    elif op_type == "ReduceMax":
        names.append("last")
        attributes["keepdims"] = 0
        row = row[:-1]
    elif op_type == "Concat":
        attributes["axis"] = -1
        row = (*row[:-1], 2 * row[-1] if isinstance(row[-1], int) else None)
    elif op_type == "Cast":
        attributes["to"] = onnx_type("FP32")
        datatype = "FP32"
    elif op_type == "Equal":
        datatype = "BOOL"
    return helper.make_node(op_type, names, [name], **attributes), RowTensor(name, datatype, row)


def _draw_inputs(rng: np.random.Generator) -> list[RowTensor]:
    inputs: list[RowTensor] = []
    for i in range(int(rng.integers(1, 5))):
        if inputs and rng.random() < 0.35:
            like = inputs[int(rng.integers(len(inputs)))]
            inputs.append(RowTensor(f"in{i}", like.datatype, like.row))
            continue
        row: list[Dim] = []
        for axis in range(int(rng.integers(0, 4))):
            row.append(f"in{i}_axis{axis}" if rng.random() < 1 / 3 else int(rng.integers(1, 5)))
        inputs.append(RowTensor(f"in{i}", DATATYPES[int(rng.integers(len(DATATYPES)))], tuple(row)))
    return inputs


def _draw_operator(rng: np.random.Generator, source: RowTensor, partner: RowTensor) -> str:
    fitting = [
        op_type
        for op_type, datatypes in {**UNARY, **BINARY}.items()
        if source.datatype in datatypes
        and len(source.row) >= _LEAST_RANK.get(op_type, 0)
        and not (source is partner and op_type in _NULL_ON_ITSELF)
    ]
    return fitting[int(rng.integers(len(fitting)))]


def _partner(rng: np.random.Generator, source: RowTensor, inputs: list[RowTensor]) -> RowTensor:
    """Pick another input of the same data type and row shape, or the source itself if it is the only one."""
    alike = [
        t for t in inputs if t.name != source.name and (t.datatype, t.row) == (source.datatype, source.row)
    ]
    return alike[int(rng.integers(len(alike)))] if alike else source


def _sized(row: tuple[Dim, ...], sizes: dict[str, int]) -> list[int]:
    return [sizes[axis] if isinstance(axis, str) else int(axis or 1) for axis in row]
