"""Gradient-boosted trees as scoring services deploy them: ONNX-ML, a label and the class probabilities."""

import functools
import warnings
from typing import Literal

import numpy as np
import onnx

from tests.zoo.model import Arrays, ZooModel

_OPSETS = {"": 18, "ai.onnx.ml": 3}


def trees_gbdt(library: Literal["sklearn", "lightgbm"] = "sklearn", as_converted: bool = False) -> ZooModel:
    """Build `x` FP32 [batch, 30] -> `label` INT64 [batch], `probabilities` FP32 [batch, 2].

    20 trees of depth 3, trained on scikit-learn's breast-cancer data; `sample` draws its rows, jittered by 5
    %. onnxmltools declares LightGBM's `label` as [1], which is false for any batch but one row; this is
    mended unless `as_converted`, which gives the file that its users really have.
    """
    proto = onnx.load_from_string(_trained(library))
    if not as_converted:
        for output in proto.graph.output:
            output.type.tensor_type.shape.dim[0].dim_param = "batch"
    name = f"trees_{library}_as_converted" if as_converted else f"trees_{library}"
    return ZooModel(name, proto, _sample, batchable=True, notes="20 trees, no ZipMap")


@functools.cache
def _data() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_breast_cancer  # type: ignore[import-untyped]

    x, y = load_breast_cancer(return_X_y=True)
    return x.astype(np.float32), y


@functools.cache
def _trained(library: str) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the converters' own deprecations
        proto = _fit_lightgbm() if library == "lightgbm" else _fit_sklearn()
    proto.ir_version = min(proto.ir_version, 9)
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    return proto.SerializeToString(deterministic=True)


def _fit_sklearn() -> onnx.ModelProto:
    from skl2onnx import to_onnx  # type: ignore[import-untyped]
    from sklearn.ensemble import GradientBoostingClassifier  # type: ignore[import-untyped]

    x, y = _data()
    trees = GradientBoostingClassifier(n_estimators=20, max_depth=3, random_state=0).fit(x, y)
    proto = to_onnx(trees, x[:1], options={"zipmap": False}, target_opset=_OPSETS)
    return _renamed(proto)


def _fit_lightgbm() -> onnx.ModelProto:
    from lightgbm import LGBMClassifier
    from onnxmltools import convert_lightgbm  # type: ignore[import-untyped]
    from onnxmltools.convert.common.data_types import FloatTensorType  # type: ignore[import-untyped]

    x, y = _data()
    trees = LGBMClassifier(n_estimators=20, max_depth=3, random_state=0, n_jobs=1, verbose=-1).fit(x, y)
    types = [("x", FloatTensorType([None, x.shape[1]]))]
    return _renamed(convert_lightgbm(trees, initial_types=types, zipmap=False, target_opset=15))


def _renamed(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Give the graph's edges the names x, label and probabilities, whatever the converter called them."""
    graph = proto.graph
    edges = (graph.input[0], graph.output[0], graph.output[1])
    names = {edge.name: new for edge, new in zip(edges, ("x", "label", "probabilities"), strict=True)}
    for edge in edges:
        edge.name = names[edge.name]
    for node in graph.node:
        node.input[:] = [names.get(key, key) for key in node.input]
        node.output[:] = [names.get(key, key) for key in node.output]
    return proto


def _sample(rng: np.random.Generator, rows: int) -> Arrays:
    x, _ = _data()
    drawn = x[rng.integers(0, len(x), rows)]
    return {"x": (drawn * rng.uniform(0.95, 1.05, drawn.shape)).astype(np.float32)}
