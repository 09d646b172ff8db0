"""Feed-forward networks of known cost: an MLP, far cheaper than its request, and a conv net, far dearer."""

from itertools import pairwise
from typing import Literal

import numpy as np
import onnx
from onnx import helper

from tests.zoo.model import Dim, ZooModel, build, parse, sampler, value

_IMAGE = (3, 32, 32)
_CLASSES = 10
_WIDTH = 32  # channels of the conv net's first stage
# (output channels as a multiple of _WIDTH, stride) of each 3x3 convolution; each full one costs 18.9 MFLOP.
_STAGES = ((1, 1), (1, 1), (2, 2), (2, 1), (2, 1), (4, 2), (4, 1))


def mlp(sizes: tuple[int, ...] = (32, 64, 64, 2), batch: Literal["dynamic"] | int = "dynamic") -> ZooModel:
    """Build a perceptron `x` FP32 [batch, sizes[0]] -> `y` FP32 [batch, sizes[-1]], ReLU between its layers.

    An integer `batch` fixes dimension 0.
    """
    rng = np.random.default_rng(sum(sizes))
    nodes: list[onnx.NodeProto] = []
    constants: dict[str, np.ndarray] = {}
    current = "x"
    for i, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        constants[f"w{i}"] = _weights(rng, (fan_in, fan_out), fan_in)
        constants[f"b{i}"] = _weights(rng, (fan_out,), fan_in)
        last = i == len(sizes) - 2
        nodes.append(helper.make_node("Gemm", [current, f"w{i}", f"b{i}"], ["y" if last else f"h{i}"]))
        if not last:
            nodes.append(helper.make_node("Relu", [f"h{i}"], [f"r{i}"]))
            current = f"r{i}"
    rows: Dim = "batch" if batch == "dynamic" else int(batch)
    name = "mlp" if batch == "dynamic" else f"mlp_batch{batch}"
    inputs, outputs = [value("x", "FP32", [rows, sizes[0]])], [value("y", "FP32", [rows, sizes[-1]])]
    draw = sampler({"x": ("FP32", sizes[:1])})
    return ZooModel(
        name=name,
        proto=build(name, nodes, inputs, outputs, constants),
        sample=draw if batch == "dynamic" else lambda rng, _rows: draw(rng, int(batch)),
        batchable=batch == "dynamic",
        notes="-".join(map(str, sizes)),
    )


def conv_net(mflop: float = 100.0) -> ZooModel:
    """Build a conv net `image` FP32 [batch, 3, 32, 32] -> `scores` FP32 [batch, 10] of about `mflop` MFLOP.

    Seven 3x3 convolutions cost 96 MFLOP a row (a multiply-add is 2 FLOP); pairs of a 1x1 convolution and its
    way back, on the last 8x8 map, make up the rest in steps of 0.03 MFLOP. `notes` has the count, from the
    shapes. A row's input is 12 KiB, so copying it costs nothing beside the work. Raises ValueError under 96.3
    MFLOP.
    """
    narrow = _conv_net(())
    step = 2 * 2 * (_STAGES[-1][0] * _WIDTH) * 8 * 8  # FLOP of one more channel in a pair of 1x1 convolutions
    channels = int((mflop * 1e6 - flop_per_row(narrow)) // step)
    if channels < 1:
        raise ValueError(f"mflop {mflop}: expected at least {flop_per_row(narrow) / 1e6 + step / 1e6:.1f}")
    widest = 256
    pairs = (widest,) * (channels // widest) + ((channels % widest,) if channels % widest else ())
    proto = _conv_net(pairs)
    return ZooModel(
        name="conv_net",
        proto=proto,
        sample=sampler({"image": ("FP32", _IMAGE)}),
        batchable=True,
        notes=f"{flop_per_row(proto) / 1e6:.2f} MFLOP a row",
    )


def _conv_net(pairs: tuple[int, ...]) -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    nodes: list[onnx.NodeProto] = []
    constants: dict[str, np.ndarray] = {}
    current, channels = "image", _IMAGE[0]
    last = _STAGES[-1][0] * _WIDTH
    layers = [(factor * _WIDTH, 3, stride) for factor, stride in _STAGES]
    layers += [layer for inner in pairs for layer in ((inner, 1, 1), (last, 1, 1))]
    for i, (out, kernel, stride) in enumerate(layers):
        constants[f"w{i}"] = _weights(rng, (out, channels, kernel, kernel), channels * kernel * kernel)
        constants[f"b{i}"] = _weights(rng, (out,), channels * kernel * kernel)
        nodes.append(
            helper.make_node(
                "Conv",
                [current, f"w{i}", f"b{i}"],
                [f"c{i}"],
                kernel_shape=[kernel, kernel],
                strides=[stride, stride],
                pads=[kernel // 2] * 4,
            )
        )
        nodes.append(helper.make_node("Relu", [f"c{i}"], [f"r{i}"]))
        current, channels = f"r{i}", out
    constants["head"] = _weights(rng, (channels, _CLASSES), channels)
    nodes += [
        helper.make_node("GlobalAveragePool", [current], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "head"], ["scores"]),
    ]
    inputs, outputs = (
        [value("image", "FP32", ["batch", *_IMAGE])],
        [value("scores", "FP32", ["batch", _CLASSES])],
    )
    return build("conv_net", nodes, inputs, outputs, constants)


def flop_per_row(proto: onnx.ModelProto | bytes) -> int:
    """Count the FLOP of a model's Conv and Gemm nodes for one row, 2 a multiply-add, by inferred shapes.

    Conv: 2 * height * width * out * in * kernel area; Gemm (not transposed): 2 * in * out.
    """
    graph = onnx.shape_inference.infer_shapes(parse(proto)).graph
    weights = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    shapes = {
        info.name: [dim.dim_value for dim in info.type.tensor_type.shape.dim]
        for info in (*graph.value_info, *graph.output)
    }
    total = 0
    for node in graph.node:
        if node.op_type == "Conv":
            total += 2 * int(np.prod(weights[node.input[1]])) * int(np.prod(shapes[node.output[0]][2:]))
        elif node.op_type == "Gemm":
            total += 2 * int(np.prod(weights[node.input[1]]))
    return total


def _weights(rng: np.random.Generator, shape: tuple[int, ...], fan_in: int) -> np.ndarray:
    scale: float = np.sqrt(2 / fan_in)
    return (rng.standard_normal(shape) * scale).astype(np.float32)
