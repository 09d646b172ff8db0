"""A model whose features come from files through the online store, and the log of what it was served with."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

import falaj
from falaj.features import Column, Entity, ParquetFiles, View
from falaj.features.binding import Binding, BoundInput, BoundView, Feature, RequestValue, write_binding
from falaj.features.online.materialize import materialize_views
from falaj.features.online.store import open_store
from falaj.features.registry import Registry
from falaj.features.served.audit import audit
from falaj.features.served.summary import Audit
from falaj.server.feature_log import FeatureLog
from falaj.server.online_features import OnlineFeatures
from tests.serving import QUICK, add_python

HOUR = 3_600_000_000
_MODEL = """
class Model:
    def infer(self, batch):
        return {"y": batch["x"]}
"""
_TENSORS = """
[[input]]
name = "x"
datatype = "FP64"
shape = [-1, 2]

[[input]]
name = "s"
datatype = "BYTES"
shape = [-1, 1]

[[output]]
name = "y"
datatype = "FP64"
shape = [-1, 2]
"""
# customer_id, event and known in hours from now, income, visits, city
Row = tuple[int, float, float, float | None, int | None, str | None]
ROWS: tuple[Row, ...] = (
    (1, -9, -8, 10.5, 1, "Dubai"),
    (1, -5, -4, 11.5, 2, "Sharjah"),
    (2, -5, -4, None, None, None),
    (3, -5, -4, float("nan"), 3, "العين"),
    (4, -500, -499, 4.5, 4, "Al Ain"),  # expired
    (5, -5, -4, -0.0, 5, ""),
    (5, -1, 5, 1.0, 5, "not yet"),
)


def now() -> int:
    """The time, UTC µs."""
    return time.time_ns() // 1000


@dataclass(frozen=True)
class Audited:
    """All of it, in a folder."""

    folder: Path
    begin: int  # hours of rows are counted from here

    @property
    def view(self) -> View:
        """The view `profile@1`."""
        return View(
            name="profile",
            version=1,
            entity=Entity("customer", {"customer_id": "INT64"}),
            source=ParquetFiles(str(self.folder / "rows" / "*.parquet")),
            columns=(
                Column("income", "FP64", default=0.0),
                Column("visits", "INT64", default=0),
                Column("city", "BYTES", default=""),
            ),
            event_time="event",
            known_time="known",
            ttl=timedelta(hours=100),
        )

    @property
    def data(self) -> Path:
        """The data folder."""
        return self.folder / "data"

    @property
    def url(self) -> str:
        """Of the store."""
        return f"lmdb://{self.data / 'online'}"

    def arrives(self, name: str, row: Row) -> None:
        """Write a file of a row that is known from now on."""
        self.write(name, [(*row[:2], (now() - self.begin) / HOUR, *row[3:])])

    def write(self, name: str, rows: Sequence[Row]) -> None:
        """Write a file of the source."""
        (self.folder / "rows").mkdir(exist_ok=True)
        keys = ("customer_id", "event", "known", "income", "visits", "city")
        values = [
            (key, self.begin + int(event * HOUR), self.begin + int(known * HOUR), *rest)
            for key, event, known, *rest in rows
        ]
        with duckdb.connect() as connection:
            types = ("BIGINT", "BIGINT", "BIGINT", "DOUBLE", "BIGINT", "VARCHAR")
            columns = ", ".join(f"{key} {of}" for key, of in zip(keys, types, strict=True))
            connection.execute(f"CREATE TABLE told ({columns})")
            connection.executemany("INSERT INTO told VALUES (?, ?, ?, ?, ?, ?)", values)
            connection.execute(f"COPY told TO '{self.folder / 'rows' / name}' (FORMAT parquet)")

    def prepare(self, view: View | None = None) -> None:
        """Register the view, and add the model that is bound to it."""
        view = self.view if view is None else view
        Registry(self.data / "features.db").apply([view])
        version = add_python(
            self.folder / "models", "score", _MODEL, head=f"max_batch_size = 64\n{QUICK}", tensors=_TENSORS
        )
        columns = [Feature("profile", column.name) for column in view.features]
        text = tuple(columns[2:]) or (RequestValue("city", "BYTES"),)
        inputs = (BoundInput("x", tuple(columns[:2])), BoundInput("s", text))
        write_binding(version, Binding((BoundView(view),), inputs))

    def materialize(self, view: View | None = None) -> None:
        """Give the store what has arrived."""
        materialize_views([self.view if view is None else view], open_store(self.url), self.data)

    def serve(self, *ids: int, **brought: Any) -> None:
        """Ask an engine that logs everything about customers, one after the other."""
        log = FeatureLog(self.data / "features" / "log", 1.0, 1 << 20)
        online = OnlineFeatures(self.url, log)
        with falaj.Engine(self.folder / "models", cores=1, strict=True, features=online) as engine:
            for key in ids:
                engine.infer("score", {"customer_id": np.array([[key]], np.int64), **brought})
        log.close()

    def audit(self, **options: Any) -> Audit:
        """Audit the log."""
        return audit(self.data / "features" / "log", Registry(self.data / "features.db"), **options)


def audited(folder: Path, rows: Sequence[Row] = ROWS, **changes: Any) -> Audited:
    """Return one whose store has been given what there is; `changes` are those of its view."""
    made = Audited(folder, now())
    made.data.mkdir()
    made.write("1.parquet", rows)
    view = replace(made.view, **changes)
    made.prepare(view)
    made.materialize(view)
    return made


def mismatches(found: Audit) -> dict[str, dict[str, int]]:
    """By column, the causes that there are."""
    return {
        each.column: {cause: count for cause, count in each.mismatches.items() if count}
        for each in found.columns
    }
