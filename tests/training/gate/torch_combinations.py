"""Small nets of PyTorch: of tables, of images, of sequences, and of several inputs."""

from functools import partial
from typing import Any

import numpy as np
import torch

from falaj.training.graph.convert import to_onnx
from falaj.training.graph.torch_original import original_of_module
from falaj.training.original import Arrays
from tests.training.gate.boosted_combinations import tabular
from tests.training.gate.combinations import Combination, Exported
from tests.training.gate.matrix_data import Table, table


class Dense(torch.nn.Module):
    """A perceptron of standardised numbers, in which what is missing is the mean."""

    def __init__(self, of: Table) -> None:
        super().__init__()
        torch.manual_seed(0)
        width = of.matrix.shape[1]
        mean, deviation = np.nanmean(of.matrix, axis=0), np.nanstd(of.matrix, axis=0)
        self.register_buffer("mean", torch.from_numpy(mean))
        self.register_buffer("deviation", torch.from_numpy(np.maximum(deviation, 1e-3)))
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(width, 16), torch.nn.ReLU(), torch.nn.Linear(16, max(1, len(of.classes)))
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.layers(torch.nan_to_num((x - self.mean) / self.deviation))
        return answer


class Convolutions(torch.nn.Module):
    """Two layers over 8 x 8 scans of digits."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first = torch.nn.Conv2d(1, 6, 3, padding=1)
        self.second = torch.nn.Conv2d(6, 8, 3, stride=2)
        self.last = torch.nn.Linear(8 * 3 * 3, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        seen = torch.relu(self.second(torch.relu(self.first(image / 16))))
        answer: torch.Tensor = self.last(seen.flatten(1))
        return answer


class Tokens(torch.nn.Module):
    """Texts as numbers of their letters, read by a transformer's layer, beside one number."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.letters = torch.nn.Embedding(128, 8)
        self.layer = torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.last = torch.nn.Linear(9, 3)

    def forward(self, tokens: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        read = self.layer(self.letters(tokens)).mean(dim=1)
        return self.last(torch.cat([read, x], dim=1)), read


class Recurrent(torch.nn.Module):
    """A GRU over the last six readings of two instruments."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.cells = torch.nn.GRU(2, 6, batch_first=True)
        self.last = torch.nn.Linear(6, 1)

    def forward(self, readings: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.last(self.cells(readings)[0][:, -1])
        return answer


def trained(of: Table) -> Any:
    """Fit a perceptron, a few steps of gradient descent."""
    module = Dense(of)
    x = torch.from_numpy(of.matrix)
    optimiser = torch.optim.Adam(module.parameters(), lr=0.02)
    goal = torch.from_numpy(of.target.astype(np.float32 if of.task == "regression" else np.int64))
    for _ in range(40):
        optimiser.zero_grad()
        answer = module(x)
        if of.task == "regression":
            loss = torch.nn.functional.mse_loss(answer[:, 0], goal)
        else:
            loss = torch.nn.functional.cross_entropy(answer, goal)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return module


def _module(module: Any, rows: Arrays, **told: Any) -> Exported:
    original = original_of_module(module, rows, **told)
    return Exported(original, to_onnx(original), rows)


def images() -> Exported:
    scans = table("digits").rows["x"][:150].reshape(-1, 1, 8, 8)
    return _module(Convolutions(), {"image": scans}, task="multiclass", classes=tuple(range(10)))


def tokens() -> Exported:
    names = [text.ljust(12)[:12] for text in table("planes").rows["manufacturer"][:, 0]]
    letters = np.array([[min(ord(letter), 127) for letter in name] for name in names], np.int64)
    x = np.nan_to_num(table("planes").rows["x"][:, 2:3]) / 100
    return _module(Tokens(), {"tokens": letters, "x": x}, outputs=("scores", "read"))


def readings() -> Exported:
    x = np.nan_to_num(table("weather").rows["x"][:, :2])
    windows = np.lib.stride_tricks.sliding_window_view(x, 6, axis=0).transpose(0, 2, 1)[:200] / 100
    return _module(Recurrent(), {"readings": np.ascontiguousarray(windows)}, task="regression")


def modules() -> tuple[Combination, ...]:
    dense = [
        Combination("perceptron of PyTorch", data, partial(tabular, trained, data))
        for data in ("breast_cancer", "wine", "weather")
    ]
    return (
        *dense,
        Combination("convolutions of PyTorch", "digits", images),
        Combination("transformer of PyTorch", "planes", tokens),
        # ONNX Runtime's GRU makes numbers of NaN.
        Combination("GRU of PyTorch", "weather", readings, r"missing: .* NaN or infinite"),
    )
