"""The nodes of trees as the gate reads them: rows come to the leaves that ONNX Runtime sums."""

from collections.abc import Iterator

import numpy as np
import onnx
import onnxruntime
import pytest

from falaj.training.gate.graph_features import Graph
from falaj.training.gate.node_rows import node_windows
from falaj.training.gate.parity import check_parity
from falaj.training.gate.rows import count, take
from falaj.training.gate.tree_nodes import only_compares
from tests.training.gate import faults
from tests.training.gate.test_planted_faults import FITS, exported
from tests.training.graph.threads import one_thread

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(autouse=True, scope="module")
def _threads() -> Iterator[None]:
    with one_thread():
        yield


def sums(model: onnx.ModelProto, features: np.ndarray) -> np.ndarray:
    """What ONNX Runtime makes of features with the trees of a graph alone."""
    node = faults.trees(model)
    kind = onnx.helper.np_dtype_to_tensor_dtype(features.dtype)
    given = onnx.helper.make_tensor_value_info(node.input[0], kind, [None, features.shape[1]])
    graph = onnx.helper.make_graph([node], "trees", [given], [onnx.ValueInfoProto(name=node.output[0])])
    alone = onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    session = onnxruntime.InferenceSession(alone.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {node.input[0]: features})[0])


@pytest.mark.parametrize("name", FITS)
def test_leaves_are_those_that_onnx_runtime_sums_when_rows_go_down(name: str) -> None:
    made = exported(name)
    graph = Graph(made.model, made.original)
    (trees,) = graph.ensembles
    rows = take(made.rows, slice(0, 80))
    rows["x"][::7, 0] = np.nan
    features = graph.features(rows)[trees.tensor]
    total = np.zeros((count(rows), trees.weights.shape[1]))
    for tree in range(trees.roots.size):
        total += trees.weights[trees.paths(features, tree)[-1]]
    np.testing.assert_allclose(total, sums(made.model, features), rtol=1e-6, atol=1e-6)
    assert graph.largest_sum(rows) >= np.abs(total).max() - 1e-9


@pytest.mark.parametrize("name", FITS)
def test_visitors_come_to_their_nodes_when_chosen(name: str) -> None:
    made = exported(name)
    graph = Graph(made.model, made.original)
    (trees,) = graph.ensembles
    features = graph.features(made.rows)[trees.tensor]
    visitors = trees.visitors(features, np.random.default_rng(0))
    levels = [trees.paths(features, tree) for tree in range(trees.roots.size)]
    come = {node for tree in levels for level in tree for node in level.tolist()}
    come &= set(trees.branches.tolist())
    assert set(np.flatnonzero(visitors[:, 0] >= 0).tolist()) == come
    for node in come:
        for row in visitors[node].tolist():
            assert any(level[row] == node for tree in levels for level in tree)


@pytest.mark.parametrize("name", ["lightgbm", "xgboost", "catboost", "forest"])
def test_graph_of_trees_only_compares_when_nothing_else_takes_numbers(name: str) -> None:
    model = exported(name).model
    assert only_compares(model)
    beside = faults.copied(model)
    output = beside.graph.output[-1].name
    for node in beside.graph.node:
        for i, made in enumerate(node.output):
            node.output[i] = "trees alone" if made == output else made
    axes = onnx.helper.make_tensor("axes", onnx.TensorProto.INT64, [1], [1])
    beside.graph.initializer.append(axes)
    summed = onnx.helper.make_node("ReduceSum", ["x", "axes"], ["sum of x"], keepdims=1)
    beside.graph.node.extend([summed, onnx.helper.make_node("Add", ["trees alone", "sum of x"], [output])])
    assert not only_compares(beside)


def test_node_is_come_to_when_no_real_row_does() -> None:
    made = exported("lightgbm of three classes")
    few = take(made.rows, slice(0, 4))
    walk = faults.Walk(made.model)
    width = few["x"].shape[1]
    lonely = set(walk.telling(made.rows["x"], width, True)) - {
        at for root in walk.roots for row in few["x"] for at in walk.path(root, row)[1]
    }
    assert len(lonely) >= 3
    graph = Graph(made.model, made.original)
    _, tried = node_windows(graph, made.original, few, np.random.default_rng(0), 100_000)
    assert tried.tried == tried.there > len(lonely)
    assert check_parity(made.original, made.model, few).passed
    for place in sorted(lonely)[:3]:
        report = check_parity(made.original, faults.shifted(made.model, place, up=True), few)
        assert not report.passed, place
