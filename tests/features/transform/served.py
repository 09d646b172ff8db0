"""Transforms in ONNX Runtime, and columns with all that is rare in them."""

from typing import Any

import numpy as np
import onnxruntime
from onnx import ModelProto, helper

from falaj.features.transform import Transform
from falaj.features.transform.evaluate import dtype_of
from falaj.features.transform.fuse import fuse
from falaj.features.transform.lower import element_type
from falaj.features.transform.program import FLOATS

Columns = dict[str, Any]


def passing(columns: dict[str, str], opset: int = 19) -> ModelProto:
    """Return a model that gives each of its inputs, of shape [rows], as `NAME_out`."""
    ins = [helper.make_tensor_value_info(name, element_type(of), ["rows"]) for name, of in columns.items()]
    outs = [
        helper.make_tensor_value_info(f"{name}_out", element_type(of), ["rows"])
        for name, of in columns.items()
    ]
    nodes = [helper.make_node("Identity", [name], [f"{name}_out"]) for name in columns]
    graph = helper.make_graph(nodes, "passing", ins, outs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def answer(model: ModelProto, columns: Columns, optimized: bool = True) -> Columns:
    """Return what a model answers, on a CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    given = {info.name: columns[info.name].reshape(-1, 1) for info in session.get_inputs()}
    names = [info.name for info in session.get_outputs()]
    return dict(zip(names, session.run(names, given), strict=True))


def served(transform: Transform, columns: Columns, optimized: bool = True) -> Columns:
    """Return what a transform gives when a model holds it."""
    got = answer(fuse(passing(transform.outputs), [transform]), columns, optimized)
    return {name.removesuffix("_out"): value for name, value in got.items()}


def assert_same_bits(trained: Columns, of_server: Columns) -> None:
    """Compare bits; a NaN is a NaN, whichever its bits."""
    assert list(trained) == list(of_server)
    for name, value in trained.items():
        other = of_server[name]
        assert value.dtype == other.dtype
        assert value.shape == other.shape
        if value.dtype.kind == "f":
            bits = f"u{value.itemsize}"
            same = (value.view(bits) == other.view(bits)) | (np.isnan(value) & np.isnan(other))
        else:
            same = value == other
        where = np.flatnonzero(~same)[:5]
        assert same.all(), f"{name}: rows {where}: {value[where]} in training, {other[where]} in serving"


def edges(datatype: str) -> list[Any]:
    """Return the values of a datatype that break what is written carelessly."""
    if datatype == "BOOL":
        return [False, True]
    if datatype == "BYTES":
        return ["", "a", "A", "a\0", "é", "e\u0301", "سوق", "Dubai"]
    if datatype in FLOATS:
        of = np.finfo(dtype_of(datatype))
        top = [float(v) for v in (of.max, of.tiny, of.smallest_subnormal, of.eps, 1 + of.eps)]
        plain = [
            0.0,
            0.3,
            0.5,
            1.0,
            1.5,
            2.5,
            127.5,
            128.0,
            255.5,
            2.0**31,
            2.0**32,
            2.0**63,
            2.0**64,
            88.8,
            1e-3,
        ]
        return [float("nan"), *(sign * v for v in [*plain, *top, float("inf")] for sign in (1.0, -1.0))]
    whole = np.iinfo(datatype.lower())
    values = {0, 1, 2, 3, 7, 100, whole.max, whole.max - 1, whole.min, whole.min + 1}
    return sorted(values | ({-1, -7} if whole.min else set()))


def column(datatype: str, rows: int, seed: int) -> Any:
    """Return random bits, plain numbers and edges, mixed."""
    rng = np.random.default_rng(seed)
    chosen = np.array(edges(datatype), dtype=dtype_of(datatype))[rng.integers(0, len(edges(datatype)), rows)]
    if datatype in ("BOOL", "BYTES"):
        return chosen
    dtype = dtype_of(datatype)
    noise = np.frombuffer(rng.bytes(rows * dtype.itemsize), dtype)
    with np.errstate(over="ignore"):
        plain = (rng.standard_normal(rows) * 10.0 ** rng.integers(-3, 3, rows)).astype(np.float64)
        mild = np.abs(plain).astype(np.int64).astype(dtype) if dtype.kind in "iu" else plain.astype(dtype)
    kind = rng.integers(0, 3, rows)
    return np.select([kind == 0, kind == 1], [chosen, noise], mild)
