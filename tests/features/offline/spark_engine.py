"""Spark for tests: one session, and exports that are to be those of DuckDB."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from pyspark.sql import SparkSession

from falaj.features import View
from falaj.features.offline import export as by_duckdb
from falaj.features.offline import spark as by_spark
from falaj.features.offline.manifest import Manifest
from falaj.features.offline.resources import Resources
from falaj.features.offline.spine import Spine


@contextmanager
def spark_session() -> Iterator[SparkSession]:
    """A session that is quick to start; stopped when the context is left."""
    # In jobs this short, what the JVM would compile further, or verify, pays nothing back.
    options = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
    options += " -XX:+UnlockDiagnosticVMOptions -XX:-BytecodeVerificationRemote"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JDK_JAVA_OPTIONS", options)
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")  # the machine's name need not be known
        with by_spark.local_session(Resources(threads=2)) as session:
            session.sparkContext.setLogLevel("ERROR")
            yield session
    assert SparkSession.getActiveSession() is None  # what was made here is stopped


def rows_of(sql: str) -> list[tuple[Any, ...]]:
    """Return what DuckDB answers."""
    with duckdb.connect() as connection:
        return connection.execute(sql).fetchall()


def assert_same_export(
    session: SparkSession, spine: Spine, views: Sequence[View], folder: Path, **options: Any
) -> Manifest:
    """Export on both engines; rows, their order, bits and counts are the same. Return Spark's manifest."""
    one = by_duckdb.export(spine, views, folder / "one.parquet", **options)
    two = by_spark.export(spine, views, folder / "two.parquet", session=session, **options)
    assert (two.columns, two.transforms) == (one.columns, one.transforms)
    for ours, theirs in zip(two.views, one.views, strict=True):
        assert ours == theirs, f"{ours}\n{theirs}"
    rows = rows_of(f"SELECT * FROM '{folder}/two.parquet/part-*.parquet'")
    expected = rows_of(f"SELECT * FROM '{folder}/one.parquet'")
    for ours, theirs in zip(rows, expected, strict=True):
        assert _told(ours) == _told(theirs), f"{ours}\n{theirs}"
    return two


def _told(row: tuple[Any, ...]) -> str:
    """As text NaN is itself, and -0.0 is not 0.0. Of UINT64 Spark has decimals."""
    return repr([int(value) if isinstance(value, Decimal) else value for value in row])
