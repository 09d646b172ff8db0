"""A model of a table's columns, with the encoding before it and the calibration behind it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Calibration:
    """Makes a better probability of a binary model's score for its second class, FP64.

    Attributes:
        method: `sigmoid`: 1 / (1 + exp(-(slope * logit(s) + offset))), s kept within 1e-7 of 0 and 1 (Platt);
            `isotonic`: linear between the knots, constant beyond them.
        knots, values: Of `isotonic`: ascending scores, each once, and what each becomes.
    """

    method: Literal["sigmoid", "isotonic"]
    slope: float = 1.0
    offset: float = 0.0
    knots: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    values: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))


@dataclass(frozen=True)
class Tabular:
    """What is fitted on numbers and categories.

    The estimator takes one FP32 matrix: the numbers, then for each category its code, which is the value's
    place in the list, and NaN for any other value. Served, the numbers are the input `x`, [rows, numbers],
    and each category is an input of its own name, BYTES [rows, 1].

    Attributes:
        estimator: lightgbm.Booster, xgboost.Booster, catboost.CatBoost, a torch.nn.Module (which gives
            logits, or values of a regression), or an estimator of scikit-learn.
        numbers: Columns of `x`, in order. NaN where there is no value.
        categories: Known values by column, in order. The text '' stands for no value, and can be one of them.
    """

    estimator: Any
    numbers: tuple[str, ...]
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    calibration: Calibration | None = None
