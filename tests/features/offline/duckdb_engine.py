"""Histories and spines of tests, put to the DuckDB join."""

from collections.abc import Sequence
from datetime import timedelta

import duckdb

from falaj.features import Column, Entity, ParquetFiles, View
from falaj.features.offline.history import DELETED, EVENT, KNOWN, SEQUENCE
from falaj.features.offline.point_in_time import SPINE_ROW, SPINE_TIME, Joined, join_sql
from tests.features.oracle import Answer, Row, Rules

CUSTOMER = Entity("customer", {"customer_id": "INT64"})


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
    )


def ask(history: Sequence[Row], spine: Sequence[tuple[int | None, int]], rules: Rules) -> list[Answer]:
    """Return the join's answers to (key, time), in order."""
    with duckdb.connect() as connection:
        connection.execute(
            f"CREATE TABLE history (customer_id BIGINT, {EVENT} BIGINT, {KNOWN} BIGINT, value DOUBLE, "
            f"{SEQUENCE} BIGINT, {DELETED} BOOLEAN)"
        )
        for row in history:
            values = [row.key, row.event, row.known, row.value, row.sequence, row.deleted]
            connection.execute("INSERT INTO history VALUES (?, ?, ?, ?, ?, ?)", values)
        connection.execute(
            f"CREATE TABLE spine (customer_id BIGINT, {SPINE_TIME} BIGINT, {SPINE_ROW} BIGINT)"
        )
        for number, (key, time) in enumerate(spine):
            connection.execute("INSERT INTO spine VALUES (?, ?, ?)", [key, time, number])
        sql = join_sql("spine", [Joined(view_of(rules), "history")], rules.known_until)
        rows = connection.execute(f"SELECT profile__status, profile__value FROM ({sql})").fetchall()
        return [(status, value) for status, value in rows]
