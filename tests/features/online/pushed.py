"""Views of pushed rows of tests, and all that can be asked of them: the store, a training set."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from falaj._core import OnlineStore
from falaj.features import Column, Entity, PushedRows, View
from falaj.features.offline.export import export
from falaj.features.offline.manifest import Manifest
from falaj.features.offline.resources import Resources
from falaj.features.offline.spine import Spine
from falaj.features.online.lookup import STATUSES
from falaj.features.online.store import open_view

CUSTOMER = Entity("customer", {"customer_id": "INT64"})
_ONE_THREAD = Resources(threads=1)


def pushed_view(folder: Path, **more: Any) -> View:
    """Return a view whose rows are kept in a folder, which is made."""
    folder.mkdir(exist_ok=True)
    told: dict[str, Any] = {
        "name": "profile",
        "version": 1,
        "entity": CUSTOMER,
        "source": PushedRows(str(folder)),
        "columns": (Column("value", "FP64"), Column("city", "BYTES")),
        "event_time": "at",
        "known_time": "arrived",
        "deleted": "gone",
    }
    return View(**{**told, **more})


def exported(
    view: View, asked: Sequence[tuple[int, int]], out: Path
) -> tuple[list[dict[str, Any]], Manifest]:
    """Export a view for (key, time in µs); return what it has for each, and the manifest."""
    spine = out.parent / "spine.parquet"
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE t (customer_id BIGINT, spine_ts BIGINT)")
        connection.executemany("INSERT INTO t VALUES (?, ?)", asked)
        connection.execute(f"COPY t TO '{spine}'")
        manifest = export(Spine(str(spine), "spine_ts"), [view], out, resources=_ONE_THREAD)
        found = connection.execute(f"FROM '{out}'")
        names = [str(column[0]).removeprefix(f"{view.name}__") for column in found.description]
        rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    return [{k: v for k, v in row.items() if k not in ("customer_id", "spine_ts")} for row in rows], manifest


def read_at(store: OnlineStore, view: View, keys: Sequence[int], at: int) -> list[dict[str, Any]]:
    """Return what a store has for keys at a time, as `exported` tells it."""
    status, columns, nulls = open_view(store, view).read([np.array(keys, np.int64)], at)
    return [
        {
            "status": STATUSES[int(status[row])],
            **{
                column.name: None if status[row] != 2 or null[row] else values[row : row + 1].tolist()[0]
                for column, values, null in zip(view.features, columns, nulls, strict=True)
            },
        }
        for row in range(len(keys))
    ]
