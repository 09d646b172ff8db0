"""Small tables with what real ones have: missing values, zeros, categories that are unknown or empty."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falaj.training.graph.tabular_original import matrix_of
from falaj.training.original import Arrays
from falaj.training.tabular import Tabular

NUMBERS = ("age", "income", "debt", "hours")
CATEGORIES: Mapping[str, tuple[str, ...]] = {
    "city": tuple(f"city {number}" for number in range(70)),
    "colour": ("red", "", "Blue", "blue"),
}
ROWS = 1500


def arrays(rows: int = ROWS, seed: int = 0) -> Arrays:
    """Return the inputs of models of NUMBERS and CATEGORIES."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, len(NUMBERS))).astype(np.float32)
    x[random.random(x.shape) < 0.1] = 0.0
    x[random.random(x.shape) < 0.1] = np.nan
    known = {name: np.array([*values, "never seen"], object) for name, values in CATEGORIES.items()}
    texts = {name: random.choice(values, (rows, 1)) for name, values in known.items()}
    return {"x": x, **texts}


def matrix(given: Arrays) -> NDArray[np.float32]:
    """Return what an estimator is fitted on."""
    return matrix_of(Tabular(None, NUMBERS, CATEGORIES), given)


def targets(given: Arrays, seed: int = 0) -> dict[str, NDArray[Any]]:
    """Return by task what depends on the columns, and on some of them only where they are not zero."""
    x = np.nan_to_num(given["x"].astype(np.float64), nan=0.7)
    cities = np.nan_to_num(matrix(given)[:, -2], nan=11.0)
    value = x[:, 0] + np.where(x[:, 1] == 0, 1.5, x[:, 1] * x[:, 2]) + np.sin(cities)
    value += np.random.default_rng(seed).normal(size=len(value), scale=0.3)
    return {
        "binary": (value > 0.5).astype(np.int64),
        "multiclass": np.digitize(value, [-0.5, 0.8]),
        "regression": value,
        "positive": np.exp(value / 3),
    }
