"""Faults in what is before and behind estimators, and in nets, are caught by the gate too."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from falaj.training.gate.parity import check_parity
from falaj.training.gate.parity_report import ParityReport
from falaj.training.graph.convert import to_onnx
from falaj.training.graph.torch_original import original_of_module
from tests.training.gate import faults, pipeline_combinations
from tests.training.gate.combinations import Exported
from tests.training.gate.matrix_data import table
from tests.training.graph.threads import one_thread

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:Found unknown categories"),
]


@pytest.fixture(autouse=True, scope="module")
def _threads() -> Iterator[None]:
    with one_thread():
        yield


def checked(made: Exported, model: onnx.ModelProto | None = None) -> ParityReport:
    return check_parity(made.original, model if model is not None else made.model, made.rows)


@cache
def pipeline(name: str) -> Exported:
    (found,) = [each for each in pipeline_combinations.pipelines() if each.model == name]
    return found.make()


def constants(model: onnx.ModelProto, length: int) -> list[tuple[Any, np.ndarray]]:
    """Numbers of the graph with so many elements, and where they are."""
    found = [(each, numpy_helper.to_array(each)) for each in model.graph.initializer]
    for node in model.graph.node:
        if node.op_type == "Constant":
            tensor = next(each.t for each in node.attribute if each.name == "value")
            found.append((tensor, numpy_helper.to_array(tensor)))
    return [(where, value) for where, value in found if value.size == length and value.dtype.kind == "f"]


def put(where: Any, value: np.ndarray) -> None:
    where.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value), where.name))


@pytest.mark.parametrize("up", [True, False], ids=["up", "down"])
def test_threshold_behind_a_scaler_is_caught_when_off_by_one_step_of_the_input(up: bool) -> None:
    made = pipeline("scaler, one hot, forest")
    columns = made.original.model.estimator[0].named_transformers_["numbers"][-1]
    features = list(faults.attribute(faults.trees(made.model), "nodes_featureids").ints)
    # Every row comes to the roots; one of each column is moved.
    roots = {features[root]: root for root in faults.Walk(made.model).roots if features[root] < 3}
    assert len(roots) >= 2
    for feature, place in roots.items():
        values = np.array(faults.thresholds(made.model))
        at = values[place] * columns.scale_[feature] + columns.mean_[feature]
        whole = made.original.inputs[feature].datatype == "INT64"
        step = (1.0 if whole else float(np.spacing(np.float32(at)))) / columns.scale_[feature]
        values[place] += 1.25 * step if up else -1.25 * step
        report = checked(made, faults.with_thresholds(made.model, values))
        assert any(each.misplaced for each in report.sets), feature
        assert not report.passed


def test_scaler_is_caught_when_two_of_its_columns_are_swapped() -> None:
    made = pipeline("one hot, logistic regression")
    model = faults.copied(made.model)
    (where, value), *_ = [each for each in constants(model, 3) if len(set(each[1].ravel())) == 3]
    put(where, value.ravel()[[1, 0, 2]].reshape(value.shape))
    assert not checked(made, model).passed


def test_one_hot_is_caught_when_two_categories_are_swapped() -> None:
    made = pipeline("one hot, logistic regression")
    model = faults.copied(made.model)
    swapped = 0
    for node in model.graph.node:
        for each in node.attribute:
            if len(each.strings) > 2 and each.name in ("cats_strings", "keys_strings"):
                each.strings[0], each.strings[1] = each.strings[1], each.strings[0]
                swapped += 1
                break
        if swapped:
            break
    assert swapped
    assert not checked(made, model).passed


def test_words_are_caught_when_the_case_is_kept() -> None:
    made = pipeline("TF-IDF, logistic regression")
    model = faults.copied(made.model)
    for node in faults.nodes_of(model, "StringNormalizer"):
        faults.attribute(node, "case_change_action").s = b"NONE"
    assert not checked(made, model).passed


class Layers(torch.nn.Module):
    """A square matrix after a layer of convolutions, over eight scans as channels.

    Args:
        channels_last: Whether it takes the channels for the last dimension.
    """

    def __init__(self, channels_last: bool = False) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.first = torch.nn.Conv2d(8, 5, 3)
        self.second = torch.nn.Linear(5, 5)
        self.channels_last = channels_last

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        seen = image.permute(0, 3, 1, 2) if self.channels_last else image
        answer: torch.Tensor = self.second(torch.relu(self.first(seen / 16)).mean(dim=(2, 3)))
        return answer


@cache
def layers() -> Exported:
    scans = table("digits").rows["x"][:60].reshape(-1, 8, 8)
    rows = {"image": np.lib.stride_tricks.sliding_window_view(scans, 8, axis=0).transpose(0, 3, 1, 2).copy()}
    original = original_of_module(Layers(), rows)
    return Exported(original, to_onnx(original), rows)


def test_layout_is_caught_when_channels_are_taken_for_the_last_dimension() -> None:
    made = layers()
    assert checked(made).passed
    other = original_of_module(Layers(channels_last=True), made.rows)
    report = checked(made, to_onnx(other))
    assert any(reason.startswith("training rows: output 'output'") for reason in report.reasons)


def test_matrix_is_caught_when_it_is_transposed() -> None:
    made = layers()
    model = faults.copied(made.model)
    (where, value), *_ = [each for each in constants(model, 25) if each[1].shape == (5, 5)]
    put(where, value.T)
    assert not checked(made, model).passed


def test_sequence_is_caught_when_rows_and_steps_are_exchanged() -> None:
    class Reader(torch.nn.Module):
        """An attention layer; in it, rows and steps of a sequence are of one kind of shape."""

        def __init__(self, batch_first: bool) -> None:
            super().__init__()
            torch.manual_seed(5)
            self.layer = torch.nn.MultiheadAttention(8, 2, batch_first=batch_first)

        def forward(self, steps: torch.Tensor) -> torch.Tensor:
            answer: torch.Tensor = self.layer(steps, steps, steps, need_weights=False)[0]
            return answer

    steps = table("digits").rows["x"][:40].reshape(-1, 8, 8)[:, 2:5] / np.float32(16)
    original = original_of_module(Reader(batch_first=True), {"steps": steps})
    assert check_parity(original, to_onnx(original), {"steps": steps}).passed
    mixing = original_of_module(Reader(batch_first=False), {"steps": steps})
    report = check_parity(original, to_onnx(mixing), {"steps": steps})
    assert any("answered otherwise when alone" in reason for reason in report.reasons)
