"""Models that a server must not batch, must not trust, or must survive."""

from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from onnx import helper

from tests.zoo.model import Arrays, Dim, Sample, ZooModel, build, sampler, save, value

TABLE_ROWS = 10


def mean_over_batch() -> ZooModel:
    """Build `x` FP32 [batch, 4] -> `y` [batch, 4], x minus the mean of the batch: looks batchable, is not."""
    nodes = [
        helper.make_node("ReduceMean", ["x", "zero"], ["mean"], keepdims=1),
        helper.make_node("Sub", ["x", "mean"], ["y"]),
    ]
    return _fp32(
        "mean_over_batch", nodes, ["batch", 4], ["batch", 4], {"zero": np.array([0], dtype=np.int64)}
    )


def sequence_first(kind: Literal["cumsum", "attention"] = "cumsum") -> ZooModel:
    """Build `x` FP32 [seq, 8] -> `y` [seq, 8] where dimension 0 is time: a running sum or self-attention.

    The running sum leaves the first rows unchanged: only a check that looks at later rows sees the
    dependence.
    """
    name = f"sequence_first_{kind}"
    if kind == "cumsum":
        nodes = [helper.make_node("CumSum", ["x", "zero"], ["y"])]
        return _fp32(name, nodes, ["seq", 8], ["seq", 8], {"zero": np.array(0, dtype=np.int64)})
    nodes = [
        helper.make_node("Transpose", ["x"], ["keys"], perm=[1, 0]),
        helper.make_node("MatMul", ["x", "keys"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["weights"], axis=-1),
        helper.make_node("MatMul", ["weights", "x"], ["y"]),
    ]
    return _fp32(name, nodes, ["seq", 8], ["seq", 8])


def scalar_output() -> ZooModel:
    """Build `x` FP32 [batch, 4] -> `y` FP32 [], the sum of everything."""
    return _fp32("scalar_output", [helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)], ["batch", 4], [])


def nonzero_rows() -> ZooModel:
    """Build `x` FP32 [batch, 4] -> `y` FP32 [kept, 4], the rows of positive sum, however many they are."""
    nodes = [
        helper.make_node("ReduceSum", ["x", "one"], ["sum"], keepdims=0),
        helper.make_node("Greater", ["sum", "nothing"], ["keep"]),
        helper.make_node("Compress", ["x", "keep"], ["y"], axis=0),
    ]
    constants: Arrays = {"one": np.array([1], dtype=np.int64), "nothing": np.array(0, dtype=np.float32)}
    return _fp32("nonzero_rows", nodes, ["batch", 4], ["kept", 4], constants)


def fixed_batch4() -> ZooModel:
    """Build `x` FP32 [4, 3] -> `y` [4, 3], 2x: four rows, never another number."""
    return _fp32("fixed_batch4", [helper.make_node("Add", ["x", "x"], ["y"])], [4, 3], [4, 3])


def no_batch() -> ZooModel:
    """Build `x` FP32 [3] -> `y` [3], 2x: one fixed dimension that is no batch."""
    return _fp32("no_batch", [helper.make_node("Add", ["x", "x"], ["y"])], [3], [3])


def gather_bad_index() -> ZooModel:
    """Build `index` INT64 [batch, 1] -> `y` FP32 [batch, 4], a row of a table of 10.

    An index outside -10..9 fails the whole Run, so one bad row fails its batch; `sample` draws only good.
    Row i of the table is 10 * i + (0, 1, 2, 3).
    """
    nodes = [
        helper.make_node("Squeeze", ["index", "one"], ["flat"]),
        helper.make_node("Gather", ["table", "flat"], ["y"], axis=0),
    ]
    table = 10 * np.arange(TABLE_ROWS, dtype=np.float32)[:, None] + np.arange(4, dtype=np.float32)
    proto = build(
        "gather_bad_index",
        nodes,
        [value("index", "INT64", ["batch", 1])],
        [value("y", "FP32", ["batch", 4])],
        {"table": table, "one": np.array([1], dtype=np.int64)},
    )
    return ZooModel("gather_bad_index", proto, _counts("index", 0, TABLE_ROWS), batchable=True)


def loop_n(width: int = 256) -> ZooModel:
    """Build `n` INT64 [batch, 1] -> `done` INT64 [batch, 1], equal to `n`, after max(n) rounds of real work.

    A round is a MatMul of two `width` x `width` matrices (2 * width^3 FLOP: 34 MFLOP at 256, some tenths of a
    millisecond on one core) and a Tanh; the time is linear in max(n). `sample` draws n in 0..3: fast.
    """
    rng = np.random.default_rng(0)
    # A gain of 2 keeps the state from decaying into denormals, which would change the time of a round.
    weight = (rng.standard_normal((width, width)) * 2 / np.sqrt(width)).astype(np.float32)
    nodes = [
        helper.make_node("ReduceMax", ["n"], ["rounds"], keepdims=0),
        helper.make_node("Loop", ["rounds", "", "state"], ["result"], body=_loop_body(width)),
        # A Tanh never exceeds 2, so this adds 0; it keeps the loop from being optimised away.
        helper.make_node("ReduceMax", ["result"], ["largest"], keepdims=0),
        helper.make_node("Greater", ["largest", "two"], ["never"]),
        helper.make_node("Cast", ["never"], ["nothing"], to=onnx.TensorProto.INT64),
        helper.make_node("Add", ["n", "nothing"], ["done"]),
    ]
    proto = build(
        "loop_n",
        nodes,
        [value("n", "INT64", ["batch", 1])],
        [value("done", "INT64", ["batch", 1])],
        {"state": np.tanh(weight), "weight": weight, "two": np.array(2, dtype=np.float32)},
    )
    return ZooModel("loop_n", proto, _counts("n", 0, 4), batchable=True, notes=f"{2 * width**3} FLOP a round")


def external_data(folder: Path) -> ZooModel:
    """Build `x` FP32 [batch, 16] -> `y` [batch, 4] whose weights are in `weights.bin` beside the model.

    Writes `<folder>/external_data/1/` (`model.onnx`, `weights.bin`), a version folder of a model repository.
    """
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((16, 4)).astype(np.float32)
    model = _fp32(
        "external_data",
        [helper.make_node("MatMul", ["x", "weight"], ["y"])],
        ["batch", 16],
        ["batch", 4],
        {"weight": weight},
    )
    target = save(model, folder)
    proto = onnx.load(target / "model.onnx")
    onnx.save_model(
        proto, target / "model.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    proto = onnx.load(target / "model.onnx", load_external_data=False)
    return ZooModel(model.name, proto, model.sample, batchable=True, folder=target)


def _fp32(
    name: str,
    nodes: list[onnx.NodeProto],
    x: list[Dim],
    y: list[Dim],
    constants: dict[str, np.ndarray] | None = None,
) -> ZooModel:
    """Build a model of one FP32 input `x` and one FP32 output `y`; it is batchable only in external_data."""
    proto = build(name, nodes, [value("x", "FP32", x)], [value("y", "FP32", y)], constants)
    rows, *row = x
    draw = sampler({"x": ("FP32", [int(n) for n in row if isinstance(n, int)])})
    sample: Sample = draw if not isinstance(rows, int) else lambda rng, _rows: draw(rng, rows)
    return ZooModel(name, proto, sample, batchable=False)


def _loop_body(width: int) -> onnx.GraphProto:
    """Make the body state -> Tanh(state @ weight); `weight` is the outer graph's."""
    return helper.make_graph(
        [
            helper.make_node("MatMul", ["before", "weight"], ["product"]),
            helper.make_node("Tanh", ["product"], ["after"]),
            helper.make_node("Identity", ["going_on"], ["go_on"]),
        ],
        "round",
        [value("i", "INT64", []), value("going_on", "BOOL", []), value("before", "FP32", [width, width])],
        [value("go_on", "BOOL", []), value("after", "FP32", [width, width])],
    )


def _counts(name: str, low: int, high: int) -> Sample:
    def sample(rng: np.random.Generator, rows: int) -> Arrays:
        return {name: rng.integers(low, high, (rows, 1), dtype=np.int64)}

    return sample
