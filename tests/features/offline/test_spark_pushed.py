"""Spark exports pushed rows as DuckDB does."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from pyspark.sql import SparkSession

from falaj.features import Column, PushedRows, View, pushed_log
from falaj.features.offline.spine import Spine
from falaj.features.online.push import push
from falaj.features.online.store import open_store
from tests.features.offline.spark_engine import assert_same_export, spark_session
from tests.features.online.pushed import CUSTOMER


@pytest.fixture(scope="module")
def session() -> Iterator[SparkSession]:
    with spark_session() as session:
        yield session


def test_pushed_rows_are_exported_as_by_duckdb(
    session: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pushed_log, "SEGMENT_BYTES", 3_000)
    (tmp_path / "log").mkdir()
    view = View(
        name="profile",
        version=1,
        entity=CUSTOMER,
        source=PushedRows(str(tmp_path / "log")),
        columns=(Column("value", "FP64"), Column("city", "BYTES"), Column("visits", "UINT16")),
        event_time="at",
        known_time="arrived",
    )
    store = open_store(f"lmdb://{tmp_path}/online")
    for place in range(40):  # four rows of each time, the last of which is the newest
        row: dict[str, Any] = {"customer_id": place % 3, "at": place // 12, "arrived": place // 12}
        push(store, view, {**row, "value": place / 8, "city": str(place), "visits": place or None})
    assert len(list((tmp_path / "log").glob("*.parquet"))) > 2
    spine = tmp_path / "spine.parquet"
    asked = "SELECT i % 4 AS customer_id, (i // 4)::BIGINT AS spine_ts FROM range(20) t(i)"
    duckdb.execute(f"COPY ({asked}) TO '{spine}'")
    manifest = assert_same_export(session, Spine(str(spine), "spine_ts"), [view], tmp_path)
    assert manifest.views[0].staged is not None
    assert manifest.views[0].staged.rows == 40
    last = duckdb.execute(
        f"SELECT profile__value FROM '{tmp_path}/one.parquet' WHERE customer_id = 0 ORDER BY spine_ts"
    )
    assert last.fetchall() == [(9 / 8,), (21 / 8,), (33 / 8,), (39 / 8,), (39 / 8,)]
