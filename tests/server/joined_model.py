"""A model that looks its features up: the sum of two views' columns and of a value of the request."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import numpy as np

from falaj._core import OnlineStore
from falaj.features import Column, Entity, ParquetFiles, View
from falaj.features.binding import (
    Binding,
    BoundInput,
    BoundView,
    Feature,
    OnMissing,
    RequestValue,
    write_binding,
)
from falaj.features.online.store import open_store, open_view
from tests.serving import QUICK, add_python

CUSTOMER = Entity("customer", {"customer_id": "INT64"})
Values = tuple[float | None, int | None]  # income and visits; None: null
# Its rows in the store, by customer. 3 was deleted, 4 has expired.
ROWS: Mapping[int, Values] = {1: (10.0, 1), 2: (None, 2), 5: (50.5, None)}
DAY = 86_400_000_000
_SUM = """
class Model:
    def infer(self, batch):
        x = batch["x"]
        return {"y": x.sum(axis=1, keepdims=True), "seen": x}
"""
_TENSORS = """
[[input]]
name = "x"
datatype = "FP32"
shape = [-1, 3]

[[output]]
name = "y"
datatype = "FP32"
shape = [-1, 1]

[[output]]
name = "seen"
datatype = "FP32"
shape = [-1, 3]
"""


def account(ttl_days: int = 3650, default: float | None = -1.0) -> View:
    """The view `account@1`."""
    return View(
        name="account",
        version=1,
        entity=CUSTOMER,
        source=ParquetFiles("none/*.parquet"),
        columns=(Column("income", "FP32", default=default), Column("visits", "INT64", default=7)),
        event_time="at",
        known_time=None,
        ttl=timedelta(days=ttl_days),
    )


def fill(where: Path | str, view: View, now: int, rows: Mapping[int, Values] = ROWS) -> OnlineStore:
    """Write rows, a deleted customer 3 and an expired customer 4, into a folder or the store at a URL."""
    store = open_store(where if isinstance(where, str) else f"lmdb://{where}")
    ids = [*rows, 3, 4]
    assert view.ttl is not None
    late = now - DAY - int(view.ttl.total_seconds() * 1e6)
    event = np.array([late if key == 4 else now - DAY for key in ids], np.int64)
    income = [rows.get(key, (1.0, 1))[0] for key in ids]
    visits = [rows.get(key, (1.0, 1))[1] for key in ids]
    open_view(store, view).write(
        [np.array(ids, np.int64)],
        event,
        event,
        np.zeros(len(ids), np.int64),
        np.array([key == 3 for key in ids]),
        [
            np.array([each or 0 for each in income], np.float32),
            np.array([each or 0 for each in visits], np.int64),
        ],
        [np.array([each is None for each in income]), np.array([each is None for each in visits])],
        now,
        None,
    )
    return store


def add_joined(
    repository: Path,
    view: View,
    on_missing: OnMissing = "default",
    name: str = "score",
    *,
    budget_ms: float | None = None,
    max_staleness_ms: float = 0,
) -> Path:
    """Add the model; its input `x` is [income, visits, amount], the last of the request."""
    folder = add_python(repository, name, _SUM, head=f"max_batch_size = 64\n{QUICK}", tensors=_TENSORS)
    columns = (Feature("account", "income"), Feature("account", "visits"), RequestValue("amount", "FP32"))
    bound = BoundView(view, on_missing, budget_ms, max_staleness_ms)
    write_binding(folder, Binding((bound,), (BoundInput("x", columns),)))
    return folder
