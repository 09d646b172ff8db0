"""PyTorch modules answer as graphs what PyTorch answers, for any number of rows."""

from typing import Any

import numpy as np
import pytest
import torch

from falaj.training.errors import TrainingError
from falaj.training.graph.convert import to_onnx
from falaj.training.graph.tabular_original import original_of_tabular
from falaj.training.graph.torch_original import original_of_module
from falaj.training.original import Arrays
from falaj.training.tabular import Calibration, Tabular
from tests.training.graph import tables
from tests.training.graph.answers import assert_alike, with_extremes


class Dense(torch.nn.Module):
    """Numbers whose gaps are filled, and codes of a category that are embedded, one more for the unknown."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.cities = torch.nn.Embedding(71, 3)
        self.first = torch.nn.Linear(7, 12)
        self.norm = torch.nn.BatchNorm1d(12)
        self.last = torch.nn.Linear(12, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        numbers, code = torch.nan_to_num(x[:, :4]), x[:, 4]
        city = torch.where(torch.isnan(code), torch.full_like(code, 70.0), code).long()
        hidden = torch.cat([numbers, self.cities(city)], dim=1)
        answer: torch.Tensor = self.last(torch.relu(self.norm(self.first(hidden))))
        return answer


class Picture(torch.nn.Module):
    """Convolutions over an image, beside a sequence that an attention layer reads."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.conv = torch.nn.Conv2d(3, 4, 3, padding=1)
        self.layer = torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.last = torch.nn.Linear(4 + 8, 5)

    def forward(self, image: torch.Tensor, sequence: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        seen = torch.relu(self.conv(image)).mean(dim=(2, 3))
        read = self.layer(sequence)
        return self.last(torch.cat([seen, read.mean(dim=1)], dim=1)), read


@pytest.mark.parametrize(
    ("task", "classes", "logits"),
    [
        ("binary", (0, 1), 1),
        ("binary", ("no", "yes"), 2),
        ("multiclass", (1, 2, 3), 3),
        ("regression", (), 1),
    ],
)
def test_module_of_a_table_answers_alike_when_converted(
    task: Any, classes: tuple[int | str, ...], logits: int
) -> None:
    module = Dense(logits)
    calibration = Calibration("sigmoid", 1.2, 0.1) if task == "binary" else None
    tabular = Tabular(module, tables.NUMBERS, {"city": tables.CATEGORIES["city"]}, calibration)
    original = original_of_tabular(tabular, task=task, classes=classes)
    given = {name: array for name, array in tables.arrays(200).items() if name != "colour"}
    model = assert_alike(original, given, within=2e-6, near=2e-6)
    assert_alike(original, with_extremes(given, infinite=False), within=2e-6, near=2e-6, model=model)
    assert module.training


def test_several_inputs_and_outputs_are_alike_when_a_module_has_them() -> None:
    random = np.random.default_rng(0)
    sample: Arrays = {
        "image": random.normal(size=(6, 3, 8, 9)).astype(np.float32),
        "sequence": random.normal(size=(6, 7, 8)).astype(np.float32),
    }
    original = original_of_module(Picture(), sample, outputs=("scores", "states"))
    assert [(one.name, one.shape) for one in original.inputs] == [
        ("image", (3, 8, 9)),
        ("sequence", (7, 8)),
    ]
    assert [(one.name, one.shape) for one in original.outputs] == [("scores", (5,)), ("states", (7, 8))]
    assert_alike(original, sample, within=1e-5)


def test_classes_are_of_the_highest_logit_when_a_module_classifies() -> None:
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3))
    sample = {"image": np.random.default_rng(0).normal(size=(5, 3, 2, 2)).astype(np.float32)}
    original = original_of_module(module, sample, task="multiclass", classes=("cat", "dog", "owl"))
    assert_alike(original, sample, within=1e-6, near=1e-6)
    with torch.no_grad():
        logits = module(torch.from_numpy(sample["image"])).numpy()
    assert original.predict(sample)["label"].tolist() == [
        ("cat", "dog", "owl")[at] for at in logits.argmax(axis=1)
    ]


def test_integers_are_taken_when_a_module_looks_up_tokens() -> None:
    module = torch.nn.Sequential(torch.nn.Embedding(20, 4), torch.nn.Flatten(), torch.nn.Linear(12, 1))
    sample = {"tokens": np.random.default_rng(0).integers(0, 20, (5, 3))}
    original = original_of_module(module, sample, task="regression")
    assert original.inputs[0].datatype == "INT64"
    assert_alike(original, sample, within=1e-6)


def test_outputs_are_numbered_when_they_have_no_names() -> None:
    sample = {"image": np.ones((1, 3, 4, 4), np.float32), "sequence": np.ones((1, 2, 8), np.float32)}
    assert [one.name for one in original_of_module(Picture(), sample).outputs] == ["output_0", "output_1"]
    with pytest.raises(TrainingError, match="expected 1 outputs, scores, got 2"):
        original_of_module(Picture(), sample, outputs=("scores",))


class Stubborn(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if float(x.sum()) > 0 else -x


def test_module_is_refused_when_it_decides_by_values() -> None:
    original = original_of_module(Stubborn(), {"x": np.ones((2, 2), np.float32)})
    with pytest.raises(TrainingError, match="torch: Stubborn cannot be traced for any number of rows"):
        to_onnx(original)


class Fixed(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(3, 2) if len(x) == 3 else x


def test_module_is_refused_when_it_is_of_one_number_of_rows() -> None:
    original = original_of_module(Fixed(), {"x": np.ones((2, 2), np.float32)})
    with pytest.raises(TrainingError, match=r"expected \[rows, ...\], got a fixed length"):
        to_onnx(original)


def test_module_is_refused_when_its_logits_are_not_of_the_classes() -> None:
    sample = {"x": np.ones((2, 4), np.float32)}
    with pytest.raises(TrainingError, match=r"expected one output with logits of 3 classes, got \[1, 2\]"):
        original_of_module(torch.nn.Linear(4, 2), sample, task="multiclass", classes=(1, 2, 3))
