"""Recurrent layers, which ONNX Runtime cannot be asked to run on nothing: it would end the process."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import falaj

pytestmark = pytest.mark.core


def _recurrent(folder: Path, kind: str, gates: int) -> None:
    """Add a model of one layer: [rows, steps, 3] to [rows, 2], the state after the last step."""
    random = np.random.default_rng(0)
    weights = {
        "w": random.normal(size=(1, gates * 2, 3)).astype(np.float32),
        "r": random.normal(size=(1, gates * 2, 2)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Transpose", ["x"], ["steps_first"], perm=[1, 0, 2]),
        helper.make_node(kind, ["steps_first", "w", "r"], ["", "state"], hidden_size=2),
        helper.make_node("Squeeze", ["state", "zero"], ["y"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", "steps", 3])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 2])
    constants = {**weights, "zero": np.zeros(1, np.int64)}
    initializers = [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, kind, [x], [y], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = folder / kind.lower() / "1"
    path.mkdir(parents=True)
    onnx.save(model, path / "model.onnx")


@pytest.mark.parametrize(("kind", "gates"), [("GRU", 3), ("LSTM", 4)])
def test_requests_of_no_rows_and_of_no_steps_are_refused_when_a_layer_is_recurrent(
    tmp_path: Path, kind: str, gates: int
) -> None:
    _recurrent(tmp_path, kind, gates)
    with falaj.Engine(tmp_path, cores=1, strict=True) as engine:
        for shape in ((0, 4, 3), (2, 0, 3)):
            with pytest.raises(falaj.InvalidInput, match=r"input 'x': expected elements, got shape \["):
                engine.infer(kind.lower(), {"x": np.empty(shape, np.float32)})
        answer = engine.infer(kind.lower(), {"x": np.ones((2, 4, 3), np.float32)})["y"]
    assert answer.shape == (2, 2)
    assert np.array_equal(answer[0], answer[1])
    assert np.isfinite(answer).all()


def test_request_of_no_rows_is_answered_when_no_layer_is_recurrent(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]> plain (float[rows, 3] x) => (float[rows, 3] y)
        { y = Relu(x) }"""
    )
    (tmp_path / "plain" / "1").mkdir(parents=True)
    onnx.save(model, tmp_path / "plain" / "1" / "model.onnx")
    with falaj.Engine(tmp_path, cores=1, strict=True) as engine:
        assert engine.infer("plain", {"x": np.empty((0, 3), np.float32)})["y"].shape == (0, 3)
