"""Histories and spines of tests, put to a real export of real files."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb

from falaj.features import Column, Entity, ParquetFiles, View
from falaj.features.offline.export import export
from falaj.features.offline.resources import Resources
from falaj.features.offline.spine import Spine
from tests.features.oracle import Answer, Row, Rules

CUSTOMER = Entity("customer", {"customer_id": "INT64"})
_ONE_THREAD = Resources(threads=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def view_of(rules: Rules, name: str = "profile") -> View:
    """Return a view with one feature, `value`, by these rules."""
    return View(
        name=name,
        version=1,
        entity=CUSTOMER,
        source=ParquetFiles("unused"),
        columns=(Column("value", "FP64"),),
        event_time="event_time",
        known_time="known_time",
        source_delay=timedelta(microseconds=rules.delay),
        ttl=None if rules.ttl is None else timedelta(microseconds=rules.ttl),
        sequence="number",
        deleted="gone",
    )


def ask(history: Sequence[Row], spine: Sequence[tuple[int | None, int]], rules: Rules) -> list[Answer]:
    """Return the export's answers to (key, time), in order."""
    columns = (
        "customer_id BIGINT, event_time BIGINT, known_time BIGINT, value DOUBLE, number BIGINT, gone BOOLEAN"
    )
    rows = [
        (
            row.key,
            row.event,
            row.known,
            None if row.value is None else repr(row.value),
            row.sequence,
            row.deleted,
        )
        for row in history
    ]
    with TemporaryDirectory() as name, duckdb.connect() as connection:
        folder = Path(name)
        _write(connection, folder / "history.parquet", columns, rows)
        _write(connection, folder / "spine.parquet", "customer_id BIGINT, spine_ts BIGINT", spine)
        view = replace(view_of(rules), source=ParquetFiles(str(folder / "history.parquet")))
        until = None if rules.known_until is None else _EPOCH + timedelta(microseconds=rules.known_until)
        out = folder / "set.parquet"
        export(Spine(str(folder / "spine.parquet")), [view], out, as_of_known=until, resources=_ONE_THREAD)
        return connection.execute(f"SELECT profile__status, profile__value FROM '{out}'").fetchall()


def _write(
    connection: duckdb.DuckDBPyConnection, path: Path, columns: str, rows: Sequence[tuple[Any, ...]]
) -> None:
    connection.execute(f"CREATE OR REPLACE TABLE rows ({columns})")
    if rows:
        values = ", ".join(f"({', '.join('?' * len(rows[0]))})" for _ in rows)
        connection.execute(f"INSERT INTO rows VALUES {values}", [value for row in rows for value in row])
    connection.execute(f"COPY rows TO '{path}'")
