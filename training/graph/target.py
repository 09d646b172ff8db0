"""The versions in which graphs are written: the newest that what is installed reads and writes."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any, Literal

from falaj.training.errors import TrainingError

# The oldest that the graphs are written in: Softmax over one axis, axes as inputs; trees with doubles.
OLDEST_OPSET, OLDEST_ML_OPSET, OLDEST_IR_VERSION = 13, 3, 8
TREE_ENSEMBLE_ML_OPSET = 5  # has TreeEnsemble, and no longer TreeEnsembleRegressor
# What torch's exporter writes without converting what it has written.
_NEWEST_OF_TORCH = 23


@dataclass(frozen=True)
class Target:
    """What a graph is written for.

    Attributes:
        opset, ml_opset: Of `ai.onnx` and `ai.onnx.ml`.
        ir_version: Of the file's format.
        sums: How leaves of trees that sum in FP64 are summed: FP32 makes the graph a quarter smaller and some
            percent faster, and the sums less exact (5e-6 on 500 trees).
    """

    opset: int
    ml_opset: int
    ir_version: int
    sums: Literal["FP32", "FP64"] = "FP64"

    def __post_init__(self) -> None:
        oldest = {"opset": OLDEST_OPSET, "ml_opset": OLDEST_ML_OPSET, "ir_version": OLDEST_IR_VERSION}
        for name, least in oldest.items():
            if getattr(self, name) < least:
                raise TrainingError(f"target: {name}: expected {least} or newer, got {getattr(self, name)}")


@cache
def target_here() -> Target:
    """Return the newest versions that the installed ONNX Runtime loads and the installed converters write.

    The runtime is asked with models of one node, from the newest version that `onnx` knows downwards.

    Raises:
        TrainingError: A package is missing, or the runtime loads none of them.
    """
    for package in ("onnx", "onnxruntime"):
        if find_spec(package) is None:
            raise TrainingError(f"target: no package {package}: pip install 'falaj[cpu,training]'")
    from onnx import IR_VERSION, defs

    newest = min(defs.onnx_opset_version(), _NEWEST_OF_TORCH, _newest_of_skl2onnx())
    opset = _newest("ai.onnx", newest, OLDEST_OPSET, lambda version: (version, 1, OLDEST_IR_VERSION))
    newest_ml = max(
        schema.since_version for schema in defs.get_all_schemas() if schema.domain == "ai.onnx.ml"
    )
    ml_opset = _newest(
        "ai.onnx.ml",
        newest_ml,
        OLDEST_ML_OPSET,
        lambda version: (OLDEST_OPSET, version, OLDEST_IR_VERSION),
    )
    ir_version = _newest("IR", IR_VERSION, OLDEST_IR_VERSION, lambda version: (OLDEST_OPSET, 1, version))
    return Target(opset, ml_opset, ir_version)


def _newest_of_skl2onnx() -> int:
    if find_spec("skl2onnx") is None:
        return _NEWEST_OF_TORCH
    import skl2onnx

    return int(skl2onnx.__max_supported_opset__)


def _newest(what: str, newest: int, oldest: int, versions: Callable[[int], tuple[int, int, int]]) -> int:
    why = "none was tried"
    for version in range(newest, oldest - 1, -1):
        refused = _refusal(*versions(version))
        if refused is None:
            return version
        why = refused
    raise TrainingError(f"target: this ONNX Runtime loads no {what} from {oldest} to {newest}: {why}")


def _refusal(opset: int, ml_opset: int, ir_version: int) -> str | None:
    """Return what the runtime says against a model of these versions."""
    import onnxruntime
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [None]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "probe", [x], [y])
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", ml_opset)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=ir_version)
    options: Any = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # a refusal is an answer, not an error to print
    try:
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no common type of their own
        return str(error)
    return None
