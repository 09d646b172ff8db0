"""The gate on graphs of skl2onnx, with faults planted; nothing here is made by Falaj's converters."""

import json
from collections.abc import Iterator

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from falaj.training.errors import ExportRefused
from falaj.training.gate.comparison import Bounds
from falaj.training.gate.parity import check_parity, require_parity
from falaj.training.gate.parity_report import ParityReport
from falaj.training.original import ModelInput, Original
from tests.training.gate import faults
from tests.training.gate.by_hand import Case, case
from tests.training.graph.threads import one_thread

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(autouse=True, scope="module")
def _threads() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="module")
def boosted() -> Case:
    from sklearn.datasets import load_wine
    from sklearn.ensemble import GradientBoostingClassifier

    x, y = load_wine(return_X_y=True)
    return case(GradientBoostingClassifier(n_estimators=5, random_state=0), x, y)


@pytest.fixture(scope="module")
def with_missing() -> Case:
    from sklearn.datasets import load_breast_cancer
    from sklearn.ensemble import HistGradientBoostingClassifier

    x, y = load_breast_cancer(return_X_y=True)
    x = x.astype(np.float32)
    x[np.random.default_rng(0).random(x.shape) < 0.05] = np.nan
    return case(HistGradientBoostingClassifier(max_iter=4, random_state=0), x, y)


@pytest.fixture(scope="module")
def linear() -> Case:
    from sklearn.datasets import load_wine
    from sklearn.linear_model import LogisticRegression

    x, y = load_wine(return_X_y=True)
    return case(LogisticRegression(max_iter=5000, C=0.01), x / x.std(axis=0), y)


def checked(case: Case, model: onnx.ModelProto | None = None) -> ParityReport:
    return check_parity(case.original, model if model is not None else case.model, case.rows)


@pytest.mark.parametrize("name", ["boosted", "with_missing", "linear"])
def test_export_passes_when_it_answers_as_its_original(name: str, request: pytest.FixtureRequest) -> None:
    report = checked(request.getfixturevalue(name))
    assert report.passed, list(report.lines())
    training = report.sets[0]
    assert (training.kind, training.compared) == (
        "training rows",
        len(request.getfixturevalue(name).rows["X"]),
    )
    assert training.alone == training.compared
    correlations = [output.rank_correlation for output in training.outputs if output.role != "label"]
    assert all(each is not None and each > 0.999 for each in correlations)


def each_branch(case: Case, most: int, up: bool | None) -> Iterator[int]:
    """Some nodes at which the way of a number matters to one of the rows, or of a missing one."""
    walk, rows = faults.Walk(case.model), case.rows["X"]
    width = rows.shape[1]
    places = walk.telling_missing(rows, width) if up is None else walk.telling(rows, width, up)
    assert len(places) >= most
    yield from np.random.default_rng(1).permutation(places)[:most].tolist()


@pytest.mark.parametrize("up", [True, False])
def test_every_threshold_of_a_tree_is_caught_when_one_ulp_off(boosted: Case, up: bool) -> None:
    for place in each_branch(boosted, 4, up):
        report = checked(boosted, faults.shifted(boosted.model, place, up))
        assert not report.passed, place
        assert any(each.misplaced for each in report.sets), place


def test_threshold_one_ulp_off_is_caught_when_its_leaves_are_nearer_than_the_bound(boosted: Case) -> None:
    loose = Bounds(abs=10.0, rel=10.0)  # no number is wrong within them
    assert check_parity(boosted.original, boosted.model, boosted.rows, bounds=loose).passed
    for place in each_branch(boosted, 2, up=True):
        shifted = faults.shifted(boosted.model, place, up=True)
        report = check_parity(boosted.original, shifted, boosted.rows, bounds=loose)
        assert not report.passed
        assert all("changes at another number" in reason for reason in report.reasons)


def test_default_direction_is_caught_when_it_is_the_other(with_missing: Case) -> None:
    for place in each_branch(with_missing, 2, None):
        assert not checked(with_missing, faults.other_missing(with_missing.model, place)).passed, place


@pytest.mark.parametrize("up", [True, False])
def test_threshold_is_caught_when_one_ulp_off_beside_missing_values(with_missing: Case, up: bool) -> None:
    for place in each_branch(with_missing, 2, up):
        assert not checked(with_missing, faults.shifted(with_missing.model, place, up)).passed, place


def test_columns_are_caught_when_swapped(boosted: Case) -> None:
    report = checked(boosted, faults.columns_swapped(boosted.model, 0, 12))
    assert any(reason.startswith("training rows: output 'label'") for reason in report.reasons)


def test_coefficients_are_caught_when_transposed(linear: Case) -> None:
    model = faults.copied(linear.model)
    node = next(each for each in model.graph.node if each.op_type == "LinearClassifier")
    weights = faults.attribute(node, "coefficients").floats
    weights[:] = np.array(weights).reshape(3, -1).T.ravel().tolist()
    assert not checked(linear, model).passed


def test_classes_are_caught_when_their_order_is_another(linear: Case) -> None:
    model = faults.copied(linear.model)
    node = next(each for each in model.graph.node if each.op_type == "LinearClassifier")
    labels = faults.attribute(node, "classlabels_ints").ints
    labels[:] = [labels[1], labels[0], labels[2]]
    report = checked(linear, model)
    assert {reason.split(":")[1].strip() for reason in report.reasons} == {"output 'label'"}


def test_rows_are_not_compared_but_told_when_the_original_refuses_them(linear: Case) -> None:
    report = checked(linear)
    missing = next(each for each in report.sets if each.kind == "missing")
    assert missing.refused == missing.answered_anyway == missing.rows > 0
    assert missing.compared == 0
    assert any(note.startswith("missing: the original refuses") for note in report.notes)


def test_export_is_refused_when_the_original_refuses_its_training_rows(linear: Case) -> None:
    rows = {"X": linear.rows["X"].copy()}
    rows["X"][3, 3] = np.nan
    with pytest.raises(
        ExportRefused, match=r"refuses .* of its training rows: ValueError: Input X contains NaN"
    ):
        check_parity(linear.original, linear.model, rows)


def test_require_parity_shows_the_rows_when_it_refuses(boosted: Case) -> None:
    wrong = faults.columns_swapped(boosted.model, 0, 12)
    with pytest.raises(ExportRefused, match=r"(?s)labels are others.*rows, row \d+: .*original"):
        require_parity(boosted.original, wrong, boosted.rows)


def test_report_is_json_when_plain(boosted: Case) -> None:
    report = checked(boosted, faults.columns_swapped(boosted.model, 0, 12))
    plain = json.loads(json.dumps(report.plain(), allow_nan=False))
    assert plain["passed"] is False
    assert plain["sets"][0]["outputs"][0]["flips"] == report.sets[0].outputs[0].flips > 0
    assert plain["offences"][0]["inputs"]["X"]


def test_same_report_is_made_when_the_seed_is_the_same(boosted: Case) -> None:
    first, again = checked(boosted), checked(boosted)
    assert first.sets == again.sets


def test_export_is_refused_when_an_input_is_another(boosted: Case) -> None:
    model = faults.copied(boosted.model)
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 12
    report = checked(boosted, model)
    assert report.reasons == ("input 'X': expected FP32 [-1, 13], the export has FP32 [-1, 12]",)


def test_export_is_refused_when_the_engine_does_not_load_it(boosted: Case) -> None:
    model = faults.copied(boosted.model)
    model.graph.node[0].op_type = "NoSuchOperator"
    (reason,) = checked(boosted, model).reasons
    assert reason.startswith("the engine does not serve the export: ")
    assert "NoSuchOperator" in reason


def test_rows_are_refused_when_they_are_not_of_the_inputs(boosted: Case) -> None:
    with pytest.raises(ExportRefused, match=r"input 'X': expected FP32 .*, got float64"):
        check_parity(boosted.original, boosted.model, {"X": boosted.rows["X"].astype(np.float64)})
    with pytest.raises(ExportRefused, match="at least one"):
        check_parity(boosted.original, boosted.model, {"X": boosted.rows["X"][:0]})


def fixed(batch: int | None) -> Case:
    """A sum over a row, of a graph with a batch dimension of this size."""
    info = [helper.make_tensor_value_info("X", TensorProto.FLOAT, [batch, 3])]
    out = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 1])]
    node = helper.make_node("ReduceSum", ["X", "axis"], ["y"], keepdims=1)
    axis = helper.make_tensor("axis", TensorProto.INT64, [1], [1])
    graph = helper.make_graph([node], "g", info, out, [axis])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    from falaj.training.original import ModelOutput

    original = Original(
        "onnx",
        "regression",
        (ModelInput("X", "FP32", (3,)),),
        (ModelOutput("y", "FP32", (1,), "value"),),
        None,
        lambda rows: {"y": rows["X"].sum(axis=1, keepdims=True)},
    )
    return Case(original, model, {"X": np.arange(30, dtype=np.float32).reshape(10, 3)})


def test_batch_dimension_is_caught_when_it_is_fixed() -> None:
    assert checked(fixed(None)).passed
    for batch in (1, 10):
        assert not checked(fixed(batch)).passed
