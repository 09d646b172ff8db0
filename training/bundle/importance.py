"""What a model's answers hang on: how much worse they become when a column's values change places."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falaj.training.bundle.evaluation import predicted_of
from falaj.training.fit.metrics import default_metric, value_of
from falaj.training.original import Arrays, Original

_MOST_ROWS = 2_000
_TIMES = 3


@dataclass(frozen=True)
class Importance:
    """Permutation importance (Breiman 2001), of rows that the model was not fitted on where there are such.

    Attributes:
        metric: What became worse: `log_loss`, or `rmse`.
        rows: How many were asked of.
        columns: By name, the mean of how much the metric rose and its standard deviation over the
            permutations; the greatest first.
    """

    metric: str
    rows: int
    times: int
    columns: Mapping[str, tuple[float, float]]


def importance_of(original: Original, rows: Arrays, target: NDArray[Any], seed: int = 0) -> Importance:
    """Permute each column of each input, some times, and ask again.

    Columns that tell the same share their importance: either alone seems to tell little.

    Args:
        rows: Of which at most 2,000 are taken, by the seed. An input without columns is permuted as a whole.

    Raises:
        TrainingError: The model has no scores or values, see `predicted_of`.
    """
    random = np.random.default_rng(seed)
    chosen = random.permutation(len(target))[:_MOST_ROWS]
    taken = {name: array[chosen] for name, array in rows.items()}
    answers = target[chosen]
    metric = default_metric(original.task)
    before = value_of(metric, predicted_of(original, taken, answers))
    found: dict[str, tuple[float, float]] = {}
    for each in original.inputs:
        has_columns = each.shape == (len(each.columns),)
        for place, name in enumerate(each.columns if has_columns else (each.name,)):
            column = place if has_columns else None
            orders = [random.permutation(len(chosen)) for _ in range(_TIMES)]
            changed = np.concatenate([_permuted(taken[each.name], order, column) for order in orders])
            # At once: libraries take a while to begin.
            asked = {of: np.concatenate([array] * _TIMES) for of, array in taken.items() if of != each.name}
            said = predicted_of(original, {**asked, each.name: changed}, np.tile(answers, _TIMES))
            parts = np.split(np.arange(len(said.target)), _TIMES)
            rises = [value_of(metric, said.take(part)) - before for part in parts]
            found[name] = (float(np.mean(rises)), float(np.std(rises)))
    ordered = dict(sorted(found.items(), key=lambda it: -it[1][0]))
    return Importance(metric, len(chosen), _TIMES, ordered)


def _permuted(array: NDArray[Any], order: NDArray[np.int64], column: int | None) -> NDArray[Any]:
    if column is None:
        return array[order]
    changed = array.copy()
    changed[:, column] = changed[order, column]
    return changed
