"""The versions of graphs are those that the installed runtime loads."""

import numpy as np
import onnxruntime
import pytest
from onnx import IR_VERSION, TensorProto, defs, helper

from falaj.training import errors
from falaj.training.graph.target import Target, target_here


def _loads(opset: int, ml_opset: int, ir_version: int) -> bool:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [None]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "probe", [x], [y])
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", ml_opset)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=ir_version)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception:
        return False
    return bool(session.run(None, {"x": np.array([-1.0, 2.0], np.float32)})[0].tolist() == [0.0, 2.0])


def test_target_is_the_newest_that_loads_when_asked() -> None:
    target = target_here()
    assert _loads(target.opset, target.ml_opset, target.ir_version)
    assert target.ir_version == IR_VERSION or not _loads(target.opset, 1, target.ir_version + 1)
    assert not _loads(target.opset, target.ml_opset + 1, target.ir_version)
    assert target.opset <= defs.onnx_opset_version()


@pytest.mark.parametrize("versions", [(12, 3, 8), (13, 2, 8), (13, 3, 7)])
def test_target_is_refused_when_older_than_the_graphs(versions: tuple[int, int, int]) -> None:
    with pytest.raises(errors.TrainingError, match=r"target: .*: expected \d+ or newer, got \d+"):
        Target(*versions)
