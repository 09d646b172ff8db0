"""Stateful models for tests: a sum, a layer with two states, a state that grows, and a Python model."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from tests.engine.pipeline_models import add_pipeline
from tests.serving import add_python

Floats = npt.NDArray[np.float32]

# y is the sum of the sequence's x; told is what the control tensors say: [start, end, ready, id].
_SUM = """
<ir_version: 8, opset_import: ["" : 17]>
sum (float[rows, 1] x, int32[rows, 1] START, float[rows, 1] END, bool[rows, 1] READY, uint64[rows, 1] ID,
     float[rows, 1] sum_in) => (float[rows, 1] y, float[rows, 4] told, float[rows, 1] sum_out)
{
  sum_out = Add(sum_in, x)
  y = Identity(sum_out)
  start = Cast<to: int = 1>(START)
  ready = Cast<to: int = 1>(READY)
  id = Cast<to: int = 1>(ID)
  told = Concat<axis: int = 1>(start, END, ready, id)
}
"""
_SUM_TABLE = """
[[sequence.control]]
name = "START"
kind = "start"
[[sequence.control]]
name = "END"
kind = "end"
[[sequence.control]]
name = "READY"
kind = "ready"
[[sequence.control]]
name = "ID"
kind = "id"
[[sequence.state]]
input = "sum_in"
output = "sum_out"
"""


def _add(root: Path, name: str, model: onnx.ModelProto, toml: str) -> Path:
    folder = root / name / "1"
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / "model.onnx")
    (root / name / "model.toml").write_text(toml)
    return root / name


def add_sum(root: Path, name: str = "sum", *, head: str = "", sequence: str = "", more: str = "") -> Path:
    """Add the summing model. `head`: keys of the file; `sequence`: of its table; `more`: what follows."""
    toml = f"tune_ms = 0\n{head}\n[sequence]\n{sequence}\n{_SUM_TABLE}{more}"
    return _add(root, name, onnx.parser.parse_model(_SUM), toml)


# y = x as integers, which those of the tests are.
_WHOLE = """
<ir_version: 8, opset_import: ["" : 17]>
whole (float[rows, 1] x) => (float[rows, 1] y) { y = Floor(x) }
"""
_BEHIND = """
[[input]]
name = "x"
[[step]]
model = "whole"
inputs = { x = "x" }
outputs = { y = "w" }
[[step]]
model = "MODEL"
inputs = { x = "w" }
outputs = { y = "y" }
[[output]]
name = "y"
"""


def add_behind(root: Path, name: str, model: str) -> None:
    """Add a pipeline that hands x, rounded down, to a stateful model."""
    _add(root, "whole", onnx.parser.parse_model(_WHOLE), "tune_ms = 0\n")
    add_pipeline(root, name, _BEHIND.replace("MODEL", model))


def lstm_model(size: int = 4, hidden: int = 8) -> onnx.ModelProto:
    """One step of an LSTM: x [rows, size] and states h_in, c_in [rows, hidden] to y = h_out, and c_out."""
    random = np.random.default_rng(5)
    constants = {
        "w": random.normal(size=(1, 4 * hidden, size)).astype(np.float32),
        "r": random.normal(size=(1, 4 * hidden, hidden)).astype(np.float32),
        "b": random.normal(size=(1, 8 * hidden)).astype(np.float32),
        "zero": np.zeros(1, np.int64),
    }
    nodes = [
        helper.make_node("Unsqueeze", ["x", "zero"], ["step"]),
        helper.make_node("Unsqueeze", ["h_in", "zero"], ["h0"]),
        helper.make_node("Unsqueeze", ["c_in", "zero"], ["c0"]),
        helper.make_node(
            "LSTM", ["step", "w", "r", "b", "", "h0", "c0"], ["", "h1", "c1"], hidden_size=hidden
        ),
        helper.make_node("Squeeze", ["h1", "zero"], ["h_out"]),
        helper.make_node("Squeeze", ["c1", "zero"], ["c_out"]),
        helper.make_node("Identity", ["h_out"], ["y"]),
    ]
    inputs = [("x", size), ("h_in", hidden), ("c_in", hidden)]
    outputs = [("y", hidden), ("h_out", hidden), ("c_out", hidden)]
    graph = helper.make_graph(
        nodes,
        "lstm",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", width]) for name, width in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", width]) for name, width in outputs],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def add_lstm(root: Path, name: str = "lstm", *, head: str = "", sequence: str = "") -> Path:
    """Add lstm_model with its two states."""
    states = "".join(f'[[sequence.state]]\ninput = "{s}_in"\noutput = "{s}_out"\n' for s in "hc")
    return _add(root, name, lstm_model(), f"tune_ms = 0\n{head}\n[sequence]\n{sequence}\n{states}")


def add_growing(root: Path, name: str = "growing", *, sequence: str = "") -> Path:
    """Add a model whose state is all that came so far: y is what it has, [1, n]."""
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]>
        growing (float[rows, 1] x, float[rows, n] past_in) => (float[rows, m] y, float[rows, m] past_out)
        { past_out = Concat<axis: int = 1>(past_in, x)  y = Identity(past_out) }"""
    )
    state = '[[sequence.state]]\ninput = "past_in"\noutput = "past_out"\n'
    return _add(root, name, model, f"tune_ms = 0\nmax_batch_size = 8\n[sequence]\n{sequence}\n{state}")


# Keeps its sums itself, by the row of the batch: what a model of the strategy direct may do.
_BY_ROW = """
import numpy as np
class Model:
    def load(self, parameters, folder):
        self.sums = np.zeros(64, np.float32)
    def infer(self, batch):
        rows = len(batch["x"])
        start, ready = batch["START"][:, 0] == 1, batch["READY"][:, 0] == 1
        self.sums[:rows][start] = 0
        self.sums[:rows][ready] += batch["x"][ready, 0]
        return {"y": self.sums[:rows, None].copy()}
"""
_BY_ROW_TABLES = """
[[sequence.control]]
name = "START"
kind = "start"
datatype = "INT32"
[[sequence.control]]
name = "READY"
kind = "ready"
datatype = "INT32"
"""


def add_by_row(root: Path, name: str = "by_row", *, slots: int = 4, sequence: str = "") -> None:
    """Add the Python model, strategy direct."""
    head = f'max_batch_size = {slots}\n[sequence]\nstrategy = "direct"\n{sequence}\n{_BY_ROW_TABLES}'
    add_python(root, name, _BY_ROW, head=head)
