"""The network of `mlp`, with its standardising and its embeddings inside: its graph needs nothing else."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

_LARGEST = 10.0  # standard deviations; further ones are taken for these, infinities too


class TableNetwork(nn.Module):  # type: ignore[misc]
    """Takes FP32 [rows, numbers + categories] as codes.py has it; gives logits [rows, classes], or [rows, 1].

    A missing number is the training rows' mean, and says so in a column of its own where training rows lack
    it too. A value of a category that is not known has an embedding that is never trained: zeros.
    """

    def __init__(
        self,
        mean: Sequence[float],
        scale: Sequence[float],
        flagged: Sequence[int],
        categories: Sequence[int],
        outputs: int,
        hidden: Sequence[int],
        dropout: float,
        target: Sequence[float] | None = None,
    ) -> None:
        """Make it with weights that are drawn from torch's own generator.

        Args:
            mean, scale: Of each number; it is divided by the scale.
            flagged: Places of numbers that training rows lack in places.
            categories: How many known values each category has.
            target: Of a regression: mean and scale of what is predicted.
        """
        super().__init__()
        self.numbers = len(mean)
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float32))
        self.register_buffer("flagged", torch.tensor(list(flagged), dtype=torch.int64))
        self.register_buffer("target", None if target is None else torch.tensor(target, dtype=torch.float32))
        self.embeddings = nn.ModuleList(
            nn.Embedding(count + 1, width_of(count), padding_idx=count) for count in categories
        )
        self.unknown = list(categories)
        width = self.numbers + len(flagged) + sum(width_of(count) for count in categories)
        layers: list[Any] = []
        for size in hidden:
            layers += [nn.Linear(width, size), nn.ReLU(), *([nn.Dropout(dropout)] if dropout else [])]
            width = size
        self.layers = nn.Sequential(*layers, nn.Linear(width, outputs))

    def forward(self, x: Any) -> Any:
        """Return logits, or values."""
        numbers = x[:, : self.numbers]
        missing = torch.isnan(numbers)
        scaled = torch.clamp((numbers - self.mean) / self.scale, -_LARGEST, _LARGEST)
        parts = [torch.where(missing, torch.zeros_like(scaled), scaled)]
        parts.append(torch.index_select(missing, 1, self.flagged).to(torch.float32))
        for i, (embedding, unknown) in enumerate(zip(self.embeddings, self.unknown, strict=True)):
            code = x[:, self.numbers + i]
            place = torch.where(torch.isnan(code), torch.full_like(code, unknown), code)
            parts.append(embedding(place.to(torch.int64)))
        said = self.layers(torch.cat(parts, dim=1))
        return said if self.target is None else said * self.target[1] + self.target[0]


def made(shape: Mapping[str, Any]) -> TableNetwork:
    """Return a network of the shape that `mlp.py` tells."""
    return TableNetwork(**shape)


def width_of(count: int) -> int:
    """Return how wide the embedding of so many values is."""
    return min(32, (count + 1) // 2 + 1)
