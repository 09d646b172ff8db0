"""Views that the programs of this folder materialise and push to, and histories of them."""

from datetime import timedelta
from pathlib import Path

import duckdb

from falaj.features import Aggregate, Column, Entity, ParquetFiles, View

CUSTOMER = Entity("customer", {"customer_id": "INT64"})
BEGIN_US = 1_767_225_600_000_000  # of the histories: 2026-01-01
MONTH_US = 30 * 86_400_000_000
END_US = BEGIN_US + MONTH_US + 86_400_000_000  # when the last row is known
_MINUTE_US, _DAY_US = 60_000_000, 86_400_000_000


def profile(files: Path) -> View:
    """Return a view of columns of five datatypes, with deletions."""
    return View(
        name="profile",
        version=1,
        entity=CUSTOMER,
        source=ParquetFiles(str(files)),
        columns=(
            Column("amount", "FP64"),
            Column("visits", "INT32"),
            Column("ratio", "FP32"),
            Column("active", "BOOL"),
            Column("city", "BYTES"),
        ),
        event_time="event_us",
        known_time="known_us",
        deleted="gone",
    )


def write_profile(path: Path, rows: int, entities: int) -> None:
    """Write rows of a month in no order: a tenth known up to a day late, a twentieth of each column null, a
    fiftieth deletions, and one in a hundred thousand bad for want of a key."""
    late = (
        f"CASE WHEN hash(i * 19) % 10 = 0 THEN hash(i * 13) % {_DAY_US} ELSE hash(i * 13) % {_MINUTE_US} END"
    )
    _write(
        path,
        f"SELECT CASE WHEN hash(i * 17) % 100000 > 0 THEN (hash(i) % {entities})::BIGINT END AS customer_id, "
        f"event_us, event_us + ({late})::BIGINT AS known_us, "
        "CASE WHEN hash(i * 23) % 20 > 0 THEN (i % 100000) / 7 END AS amount, "
        "CASE WHEN hash(i * 29) % 20 > 0 THEN i % 1000 END::INTEGER AS visits, "
        "CASE WHEN hash(i * 31) % 20 > 0 THEN i % 13 END::FLOAT AS ratio, "
        "CASE WHEN hash(i * 37) % 20 > 0 THEN hash(i * 41) % 2 = 0 END AS active, "
        "CASE WHEN hash(i * 43) % 20 > 0 THEN 'city ' || hash(i * 47) % 5000 END AS city, "
        "hash(i * 53) % 50 = 0 AS gone "
        f"FROM (SELECT i, ({BEGIN_US} + hash(i * 7) % {MONTH_US})::BIGINT AS event_us "
        f"FROM range({rows}) AS t(i))",
    )


def spending(files: Path, *, identified: bool = True) -> View:
    """Return a view of events with windows of an hour to a week, with or without ids."""
    amount, shop = Column("amount", "FP64"), Column("shop", "BYTES")
    return View(
        name="spending",
        version=1,
        entity=CUSTOMER,
        source=ParquetFiles(str(files)),
        aggregates=(
            Aggregate("orders_1h", "count", None, timedelta(hours=1)),
            Aggregate("spent_1d", "sum", amount, timedelta(days=1)),
            Aggregate("most_1d", "max", amount, timedelta(days=1)),
            Aggregate("spread_7d", "std", amount, timedelta(days=7)),
            Aggregate("shops_1d", "distinct", shop, timedelta(days=1)),
            Aggregate("shop_7d", "last", shop, timedelta(days=7)),
        ),
        event_time="event_us",
        known_time="known_us",
        sequence="number",
        event_id="order_id" if identified else None,
    )


def write_events(
    path: Path, rows: int, entities: int, begin_us: int = BEGIN_US, span_us: int = MONTH_US
) -> None:
    """Write events in the order in which they become known.

    A tenth are copies of another, with other values, known before it or after; a fifth are up to three hours
    late, the others up to five seconds; a ninth of the amounts are null.
    """
    events = rows - rows // 10
    late = "CASE WHEN hash(n * 19) % 5 = 0 THEN hash(n * 13) % 10800000000 ELSE hash(n * 13) % 5000000 END"
    _write(
        path,
        f"SELECT (hash(i) % {entities})::BIGINT AS customer_id, i AS order_id, event_us, "
        f"event_us + ({late})::BIGINT AS known_us, n AS number, "
        "CASE WHEN hash(n * 11) % 9 > 0 THEN (hash(n * 5) % 100000) / 7 END AS amount, "
        "'shop ' || hash(n * 23) % 50 AS shop "
        f"FROM (SELECT n, i, ({begin_us} + hash(i * 3) % {span_us})::BIGINT AS event_us FROM "
        f"(SELECT n, CASE WHEN n < {events} THEN n ELSE (hash(n) % {events})::BIGINT END AS i "
        f"FROM range({rows}) AS t(n))) ORDER BY known_us, number",
    )


def _write(path: Path, sql: str) -> None:
    with duckdb.connect(config={"memory_limit": "2GB"}) as connection:
        connection.execute(f"COPY ({sql}) TO '{path}'")
