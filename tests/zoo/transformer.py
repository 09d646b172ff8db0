"""A small transformer encoder: two inputs, two symbolic dimensions, rows padded to one length under a
mask."""

from typing import Any

import numpy as np
import onnx
from onnx import helper

from tests.zoo.model import Arrays, ZooModel, build, value

_POSITIONS = 512


class _Graph:
    """Nodes and weights as they are added; each operation returns the name of its result."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}
        self._rng = np.random.default_rng(0)

    def op(self, op_type: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        result = name or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, list(inputs), [result], **attributes))
        return result

    def const(self, array: object, dtype: type = np.int64) -> str:
        name = f"k{len(self.constants)}"
        self.constants[name] = np.asarray(array, dtype=dtype)
        return name

    def weight(self, *shape: int) -> str:
        return self.const(self._rng.standard_normal(shape) / np.sqrt(shape[0]), np.float32)

    def dense(self, x: str, fan_in: int, fan_out: int) -> str:
        return self.op("Add", self.op("MatMul", x, self.weight(fan_in, fan_out)), self.weight(fan_out))

    def normalised(self, x: str, hidden: int) -> str:
        one, zero = self.const(np.ones(hidden), np.float32), self.const(np.zeros(hidden), np.float32)
        return self.op("LayerNormalization", x, one, zero, axis=-1)

    def heads(self, x: str, heads: int, size: int) -> str:
        split = self.op("Reshape", x, self.const([0, 0, heads, size]))
        return self.op("Transpose", split, perm=[0, 2, 1, 3])


def transformer_encoder(
    vocabulary: int = 100, hidden: int = 32, heads: int = 4, layers: int = 2, longest: int = 16
) -> ZooModel:
    """Build an encoder of `token_ids` and `attention_mask`, both INT64 [batch, seq].

    It answers `last_hidden` FP32 [batch, seq, hidden] and `pooled` FP32 [batch, hidden], the mean of the real
    positions. The mask (1 real, 0 padding) adds -1e9 to the scores, which makes the weight of padding exactly
    0: the results at real positions and `pooled` do not depend on how far a row is padded, up to rounding. At
    most 512 positions. `sample` draws one sequence length up to `longest` a call and pads the rows to it with
    token 0.
    """
    g = _Graph()
    real = g.op("Cast", "attention_mask", to=1)
    bias = g.op("Mul", g.op("Sub", real, g.const(1.0, np.float32)), g.const(1e9, np.float32))
    bias = g.op("Unsqueeze", bias, g.const([1, 2]))
    x = g.normalised(_embedded(g, vocabulary, hidden), hidden)
    for _ in range(layers):
        x = g.normalised(g.op("Add", x, _attention(g, x, bias, hidden, heads)), hidden)
        inner = g.op("Gelu", g.dense(x, hidden, 4 * hidden))
        x = g.normalised(g.op("Add", x, g.dense(inner, 4 * hidden, hidden)), hidden)
    g.op("Identity", x, name="last_hidden")
    kept = g.op("Mul", x, g.op("Unsqueeze", real, g.const([2])))
    count = g.op("Max", g.op("ReduceSum", real, g.const([1])), g.const(1.0, np.float32))
    g.op("Div", g.op("ReduceSum", kept, g.const([1]), keepdims=0), count, name="pooled")
    inputs = [value(name, "INT64", ["batch", "seq"]) for name in ("token_ids", "attention_mask")]
    outputs = [
        value("last_hidden", "FP32", ["batch", "seq", hidden]),
        value("pooled", "FP32", ["batch", hidden]),
    ]

    def sample(rng: np.random.Generator, rows: int) -> Arrays:
        seq = int(rng.integers(1, longest, endpoint=True))
        lengths = rng.integers(1, seq, (rows, 1), endpoint=True)
        mask = (np.arange(seq) < lengths).astype(np.int64)
        return {"token_ids": rng.integers(1, vocabulary, (rows, seq)) * mask, "attention_mask": mask}

    proto = build("transformer_encoder", g.nodes, inputs, outputs, g.constants)
    return ZooModel(
        "transformer_encoder", proto, sample, batchable=True, notes=f"{layers} layers of {hidden}"
    )


def _embedded(g: _Graph, vocabulary: int, hidden: int) -> str:
    word = g.op("Gather", g.weight(vocabulary, hidden), "token_ids")
    seq = g.op("Shape", "token_ids", start=1, end=2)
    position = g.op("Slice", g.weight(_POSITIONS, hidden), g.const([0]), seq)
    return g.op("Add", word, position)


def _attention(g: _Graph, x: str, bias: str, hidden: int, heads: int) -> str:
    size = hidden // heads
    query, key, content = (g.heads(g.dense(x, hidden, hidden), heads, size) for _ in range(3))
    scores = g.op("MatMul", query, g.op("Transpose", key, perm=[0, 1, 3, 2]))
    scaled = g.op("Mul", scores, g.const(1 / np.sqrt(size), np.float32))
    weights = g.op("Softmax", g.op("Add", scaled, bias), axis=-1)
    merged = g.op("Transpose", g.op("MatMul", weights, content), perm=[0, 2, 1, 3])
    return g.dense(g.op("Reshape", merged, g.const([0, 0, hidden])), hidden, hidden)
