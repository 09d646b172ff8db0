"""A model that is asked by key, and the store that it looks its features up in."""

import shutil
from pathlib import Path

import numpy as np

from falaj.features import Column, Entity, ParquetFiles, View
from falaj.features.binding import BoundView, bind_all, write_binding
from falaj.features.online.store import open_store, open_view
from tests.zoo.model import ZooModel

KEYED = "mlp_by_key"
ENTITIES, COLUMNS = 100_000, 32
FIRST = 100_000  # of the keys: all have as many digits


def write_keyed(repository: Path, model: ZooModel, online: Path) -> ZooModel:
    """Write `model`, of 32 FP32 inputs in one row, bound to a view, and fill a store for it."""
    view = View(
        name="bench",
        version=1,
        entity=Entity("customer", {"customer_id": "INT64"}),
        source=ParquetFiles("none/*.parquet"),
        columns=tuple(Column(f"f{i}", "FP32", default=0.0) for i in range(COLUMNS)),
        event_time="at",
        known_time=None,
    )
    folder = repository / KEYED / "1"
    shutil.copytree(repository / model.name / "1", folder, dirs_exist_ok=True)
    write_binding(folder, bind_all([BoundView(view)], "x"))
    online.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(5)
    ids = np.arange(FIRST, FIRST + ENTITIES, dtype=np.int64)
    times = np.zeros(ENTITIES, np.int64)
    rows = [random.standard_normal(ENTITIES).astype(np.float32) for _ in range(COLUMNS)]
    deleted = np.zeros(ENTITIES, bool)
    opened = open_view(open_store(f"lmdb://{online}"), view)
    opened.write([ids], times, times, times, deleted, rows, [None] * COLUMNS, 1, None)
    return ZooModel(
        name=KEYED,
        proto=model.proto,
        sample=lambda rng, count: {"customer_id": rng.integers(FIRST, FIRST + ENTITIES, (count, 1))},
        batchable=True,
    )
