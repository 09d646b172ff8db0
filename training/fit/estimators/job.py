"""One fit: what every library is given, and what it gives back."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falaj.training.errors import TrainingError
from falaj.training.original import Task

# Called after a round with its number from 0 on and the validation loss (lower is better).
Report = Callable[[int, float], None]


class Pruned(Exception):
    """Raised by a report: the fit is given up."""


@dataclass(frozen=True)
class Rows:
    """Rows of one part.

    Attributes:
        matrix: FP32 [rows, numbers + categories], see codes.py.
        target: INT64 places of classes, or FP64.
        weight: FP64 [rows].
    """

    matrix: NDArray[np.float32]
    target: NDArray[Any]
    weight: NDArray[np.float64]


@dataclass(frozen=True)
class Job:
    """A fit of an estimator.

    Attributes:
        classes: How many; 0 of a regression.
        numbers: Columns of the matrix that are numbers, the first ones.
        categories: How many known values each further column has.
        params: By the library's own names.
        rounds: At most; None: the kind's own.
        patience: Rounds without a better loss after which it ends; 0: never.
    """

    task: Task
    classes: int
    train: Rows
    validation: Rows
    numbers: int
    categories: tuple[int, ...]
    params: Mapping[str, Any]
    rounds: int | None
    patience: int
    seed: int
    threads: int
    report: Report


@dataclass(frozen=True)
class Fitted:
    """An estimator as a `Tabular` has it.

    Attributes:
        rounds: That it has; None where it has none.
    """

    estimator: Any
    rounds: int | None = None


@contextmanager
def library(name: str, extra: str) -> Iterator[None]:
    """Raise TrainingError where a library is missing that the context imports."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise TrainingError(
            f"training: the package {name} is missing: pip install 'falaj[{extra}]'"
        ) from error


@contextmanager
def blaming(kind: str) -> Iterator[None]:
    """Raise what a library says of its parameters and rows as TrainingError; not what ends a trial."""
    try:
        yield
    except (Pruned, TrainingError, MemoryError, ImportError):
        raise
    except Exception as error:
        raise TrainingError(f"model.kind '{kind}': {type(error).__name__}: {error}") from error


def module_of(kind: str) -> Any:
    """Return the module of a kind, which has `fit(job)`, `score`, `save` and `load`."""
    modules = {
        "linear": "scikit_learn",
        "hist_gradient_boosting": "scikit_learn",
        "random_forest": "scikit_learn",
        "lightgbm": "of_lightgbm",
        "xgboost": "of_xgboost",
        "catboost": "of_catboost",
        "mlp": "mlp",
    }
    return import_module(f"falaj.training.fit.estimators.{modules[kind]}")
