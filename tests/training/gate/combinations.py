"""Models and data that are exported and held against their originals; for the tests and the table."""

from collections.abc import Callable
from dataclasses import dataclass

import onnx

from falaj.training.original import Arrays, Original


@dataclass(frozen=True)
class Exported:
    original: Original
    model: onnx.ModelProto
    rows: Arrays


@dataclass(frozen=True)
class Combination:
    """A model on data.

    Attributes:
        make: Fits and converts.
        refused: What the reason says, where the gate is right to refuse; '' where it must pass.
    """

    model: str
    data: str
    make: Callable[[], Exported]
    refused: str = ""

    def __str__(self) -> str:
        return f"{self.model} on {self.data}"


def combinations() -> tuple[Combination, ...]:
    """Return all, in the order of the table."""
    from tests.training.gate.boosted_combinations import boosted
    from tests.training.gate.pipeline_combinations import pipelines
    from tests.training.gate.sklearn_combinations import sklearn_models
    from tests.training.gate.torch_combinations import modules

    return (*boosted(), *sklearn_models(), *pipelines(), *modules())
