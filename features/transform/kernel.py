"""Operations that NumPy rounds otherwise than ONNX Runtime: training has them from ONNX Runtime too."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from numpy.typing import NDArray

from falaj.features.errors import DefinitionError

# By the names that ONNX has for them. Their kernels give a value the same result wherever in a batch it is.
BY_ONNX_RUNTIME: Mapping[str, str] = {"exp": "Exp", "tanh": "Tanh"}


def run_kernel(name: str, column: NDArray[Any]) -> NDArray[Any]:
    """Return what an operation of ONNX makes of FP32. Raises DefinitionError without onnx or onnxruntime."""
    result: NDArray[Any] = _session(name).run(None, {"x": column})[0]
    return result


@cache
def _session(name: str) -> Any:
    try:
        import onnxruntime
        from onnx import TensorProto, helper
    except ImportError as error:
        raise DefinitionError(f"xp.{name.lower()}: needs onnx and onnxruntime, {error}") from error
    x, y = (helper.make_tensor_value_info(of, TensorProto.FLOAT, ["rows"]) for of in "xy")
    graph = helper.make_graph([helper.make_node(name, ["x"], ["y"])], name, [x], [y])
    opset = [helper.make_opsetid("", 13)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
