"""How well the model tells late flights apart, month by month, and a plain model without its features."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Columns of views of departures: what the plain model does without.
_ROLLING = ("carrier__", "origin__", "tail__", "route__")


@dataclass(frozen=True)
class Month:
    """Areas under the ROC curve in a month of the test period; `late` is the share of late flights."""

    month: int
    flights: int
    late: float
    auc: float
    plain_auc: float


def by_month(
    months: NDArray[np.int64],
    late: NDArray[np.int64],
    scores: NDArray[np.float64],
    plain: NDArray[np.float64],
    which: Sequence[int],
) -> list[Month]:
    """Return the areas of some months. All arrays are of the same rows."""
    from sklearn.metrics import roc_auc_score

    told = []
    for month in which:
        rows = months == month
        auc = [float(roc_auc_score(late[rows], each[rows])) for each in (scores, plain)]
        told.append(Month(month, int(rows.sum()), float(late[rows].mean()), *auc))
    return told


def plain_scores(data: Path, numbers: Sequence[str], fitted: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Fit scikit-learn's gradient boosting on the same rows without the rolling features, and score all.

    Args:
        data: A feature export, with `late`.
        numbers: The model's; what remains of them is taken, and carrier, origin and dest as categories.
        fitted: Which rows it is fitted on.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    kept = [name for name in numbers if not name.startswith(_ROLLING)]
    texts = ("carrier", "origin", "dest")
    table = _table(data, [*kept, *texts, "late"])
    codes = []
    for name in texts:
        known = {value: code for code, value in enumerate(sorted(set(table[name][fitted])))}
        codes.append([known.get(value, np.nan) for value in table[name]])
    matrix = np.column_stack([*(table[name] for name in kept), *codes]).astype(np.float32)
    is_category = [False] * len(kept) + [True] * len(codes)
    model = HistGradientBoostingClassifier(categorical_features=is_category, random_state=0)
    model.fit(matrix[fitted], table["late"][fitted])
    return np.asarray(model.predict_proba(matrix)[:, 1])


def _table(path: Path, names: Sequence[str]) -> dict[str, Any]:
    import duckdb

    from falaj.features.offline.sql import literal, quoted

    with duckdb.connect() as connection:
        sql = f"SELECT {', '.join(map(quoted, names))} FROM {literal(str(path))}"
        columns = connection.execute(sql).fetchnumpy()
    return {
        name: np.ma.filled(of.astype(np.float64), np.nan) if of.dtype.kind == "f" else np.ma.getdata(of)
        for name, of in columns.items()
    }
