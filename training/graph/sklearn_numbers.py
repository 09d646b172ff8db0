"""Scikit-learn's transformers of numbers as nodes of a graph, computed in FP64 as it computes them."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from onnx import TensorProto

from falaj.training.errors import TrainingError
from falaj.training.graph.graph import Growth
from falaj.training.graph.sklearn_frame import Frame, Part, matrix, single, taken, width

Transform = Callable[[Growth, Any, Frame], Frame]


def _standard(grow: Growth, of: Any, frame: Frame) -> Frame:
    return _moved(grow, frame, of, subtract=of.mean_ if of.with_mean else None, divide=of.scale_)


def _robust(grow: Growth, of: Any, frame: Frame) -> Frame:
    center = of.center_ if of.with_centering else None
    return _moved(grow, frame, of, subtract=center, divide=of.scale_ if of.with_scaling else None)


def _max_abs(grow: Growth, of: Any, frame: Frame) -> Frame:
    return _moved(grow, frame, of, subtract=None, divide=of.scale_)


def _moved(grow: Growth, frame: Frame, of: Any, *, subtract: Any, divide: Any) -> Frame:
    x = matrix(grow, frame, type(of).__name__)
    if subtract is not None:
        x = grow.node("Sub", x, grow.constant(subtract, np.float64))
    if divide is not None:
        x = grow.node("Div", x, grow.constant(divide, np.float64))
    return (Part(x, width(frame)),)


def _min_max(grow: Growth, of: Any, frame: Frame) -> Frame:
    x = matrix(grow, frame, "MinMaxScaler")
    x = grow.node("Mul", x, grow.constant(of.scale_, np.float64))
    x = grow.node("Add", x, grow.constant(of.min_, np.float64))
    if of.clip:
        x = grow.node("Clip", x, *(grow.constant(edge, np.float64) for edge in of.feature_range))
    return (Part(x, width(frame)),)


def _impute(grow: Growth, of: Any, frame: Frame) -> Frame:
    """Fill what is missing, drop columns that never had a value, and add what tells which were missing."""
    made: list[Part] = []
    missing: list[str] = []
    for column, part in enumerate(single(grow, frame)):
        absent = _absent(grow, of, part)
        missing.append(absent)
        value = of.statistics_[column]
        if not part.text and np.isnan(float(value)):
            continue
        filled = grow.constant([[value]], np.object_ if part.text else np.float64)
        tensor = grow.node("Where", absent, filled, part.tensor)
        made.append(Part(tensor, 1, part.text, None if _fills(of, part) else part.missing))
    if of.indicator_ is not None:
        told = (grow.node("Cast", missing[at], to=TensorProto.DOUBLE) for at in of.indicator_.features_)
        made += [Part(tensor, 1) for tensor in told]
    return _merged(grow, made)


def _absent(grow: Growth, of: Any, part: Part) -> str:
    marker = of.missing_values
    if part.text:
        empty = grow.node("Equal", part.tensor, grow.constant([[""]], np.object_))
        if _fills(of, part) or (marker == "" and part.missing is None):
            return empty
        return grow.node("And", empty, grow.constant([[False]]))
    if marker is None or marker != marker:
        return grow.node("IsNaN", part.tensor)
    return grow.node("Equal", part.tensor, grow.constant([[float(marker)]], np.float64))


def _fills(of: Any, part: Part) -> bool:
    """Say whether an imputer fills what '' stands for; NaN is not None to it."""
    marker = of.missing_values
    return part.missing == ("None" if marker is None else "NaN" if marker != marker else "")


def _merged(grow: Growth, parts: list[Part]) -> Frame:
    """Return columns of numbers in one tensor again."""
    if any(part.text for part in parts) or len(parts) < 2:
        return tuple(parts)
    return (Part(grow.node("Concat", *(part.tensor for part in parts), axis=1), len(parts)),)


def _indicate(grow: Growth, of: Any, frame: Frame) -> Frame:
    x = matrix(grow, taken(grow, frame, of.features_.tolist()), "MissingIndicator")
    return (Part(grow.node("Cast", grow.node("IsNaN", x), to=TensorProto.DOUBLE), len(of.features_)),)


def _function(grow: Growth, of: Any, frame: Frame) -> Frame:
    if of.func is None:
        return frame
    operators = {np.log: "Log", np.sqrt: "Sqrt", np.abs: "Abs", np.exp: "Exp", np.sin: "Sin", np.cos: "Cos"}
    if of.kw_args or of.func not in {*operators, np.log1p}:
        known = ", ".join(f"numpy.{one.__name__}" for one in (*operators, np.log1p))
        name = getattr(of.func, "__qualname__", str(of.func))
        raise TrainingError(
            f"FunctionTransformer: expected one of {known} without arguments, got {name}: write it as a "
            "request-time transform"
        )
    x = matrix(grow, frame, "FunctionTransformer")
    if of.func is np.log1p:
        x = grow.node("Log", grow.node("Add", x, grow.constant(1.0, np.float64)))
    else:
        x = grow.node(operators[of.func], x)
    return (Part(x, width(frame)),)


def _normalize(grow: Growth, of: Any, frame: Frame) -> Frame:
    if of.norm not in ("l1", "l2"):
        raise TrainingError(f"Normalizer: norm: expected 'l1' or 'l2', got {of.norm!r}")
    return (Part(normalized(grow, matrix(grow, frame, "Normalizer"), of.norm), width(frame)),)


def normalized(grow: Growth, x: str, norm: str) -> str:
    """Return each row divided by its length, by `l1` or `l2`; a row of zeros stays."""
    size = grow.node("Mul", x, x) if norm == "l2" else grow.node("Abs", x)
    length = grow.node("ReduceSum", size, grow.constant([1], np.int64), keepdims=1)
    length = grow.node("Sqrt", length) if norm == "l2" else length
    zero = grow.node("Equal", length, grow.constant(0.0, np.float64))
    return grow.node("Div", x, grow.node("Where", zero, grow.constant(1.0, np.float64), length))


def _polynomial(grow: Growth, of: Any, frame: Frame) -> Frame:
    """Each output is a product of columns, as many as the degree; of fewer, with columns of ones."""
    x = matrix(grow, frame, "PolynomialFeatures")
    count = width(frame)
    rows = grow.node("Slice", grow.node("Shape", x), *(grow.constant([at], np.int64) for at in (0, 1)))
    shape = grow.node("Concat", rows, grow.constant([1], np.int64), axis=0)
    ones = grow.node("Expand", grow.constant([[1.0]], np.float64), shape)
    wide = grow.node("Concat", x, ones, axis=1)
    powers = np.asarray(of.powers_, np.int64)
    degree = max(1, int(powers.sum(axis=1).max()))
    factors = np.full((degree, len(powers)), count)
    for output, row in enumerate(powers):
        chosen = np.repeat(np.arange(count), row)
        factors[: len(chosen), output] = chosen
    product = grow.node("Gather", wide, grow.constant(factors[0]), axis=1)
    for chosen in factors[1:]:
        product = grow.node("Mul", product, grow.node("Gather", wide, grow.constant(chosen), axis=1))
    return (Part(product, len(powers)),)


def _pca(grow: Growth, of: Any, frame: Frame) -> Frame:
    x = matrix(grow, frame, "PCA")
    x = grow.node("Sub", x, grow.constant(of.mean_, np.float64))
    x = grow.node("MatMul", x, grow.constant(of.components_.T, np.float64))
    if of.whiten:
        x = grow.node("Div", x, grow.constant(np.sqrt(of.explained_variance_), np.float64))
    return (Part(x, len(of.components_)),)


def _svd(grow: Growth, of: Any, frame: Frame) -> Frame:
    x = matrix(grow, frame, "TruncatedSVD")
    x = grow.node("MatMul", x, grow.constant(of.components_.T, np.float64))
    return (Part(x, len(of.components_)),)


def _select(grow: Growth, of: Any, frame: Frame) -> Frame:
    return taken(grow, frame, np.flatnonzero(of.get_support()).tolist())


# By the name of the class.
NUMBERS: Mapping[str, Transform] = {
    "StandardScaler": _standard,
    "RobustScaler": _robust,
    "MaxAbsScaler": _max_abs,
    "MinMaxScaler": _min_max,
    "SimpleImputer": _impute,
    "MissingIndicator": _indicate,
    "FunctionTransformer": _function,
    "Normalizer": _normalize,
    "PolynomialFeatures": _polynomial,
    "PCA": _pca,
    "TruncatedSVD": _svd,
    "VarianceThreshold": _select,
    "SelectKBest": _select,
    "SelectPercentile": _select,
    "SelectFromModel": _select,
    "SelectFpr": _select,
    "SelectFdr": _select,
    "SelectFwe": _select,
    "RFE": _select,
    "RFECV": _select,
}
