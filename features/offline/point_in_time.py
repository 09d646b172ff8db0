"""The point-in-time join: what was known of an entity at a time, as SQL for DuckDB.

A spine row takes, of each view, the newest history row that was true and usable at its time: `event_ts <=
spine_ts` and `known_ts + source_delay <= spine_ts`, the newest by `(event_ts, known_ts, sequence)`. DuckDB's
ASOF join takes one inequality, so both are made one. A history row can be seen from

    visible_ts = max(event_ts, known_ts + source_delay)

on. In the order of (visible_ts, event_ts, known_ts, sequence), a row whose event_ts is below that of one
before it is never the newest of those that can be seen: it came too late. The others, and of each visible_ts
the last, form the *frontier*, in which the row that was visible last is the newest. (Of two rows with the
same event_ts the one that is known later is also visible later or at the same time, so this order is right
for them too.)
"""

from dataclasses import dataclass

from falaj.features.datatypes import DUCKDB_TYPES
from falaj.features.identity import micros
from falaj.features.offline.history import DELETED, EVENT, KNOWN, SEQUENCE
from falaj.features.offline.sql import quoted
from falaj.features.view import View

VISIBLE = "__visible_ts"
SPINE_TIME = "__spine_ts"  # of the spine: UTC microseconds
SPINE_ROW = "__spine_row"  # its order
# What a view has for a spine row. A feature that is null in a row that is present is a third thing.
PRESENT, MISSING, EXPIRED = "present", "missing", "expired"


@dataclass(frozen=True)
class Joined:
    """A view to join, and the relation that has its history (see history.py)."""

    view: View
    history: str

    def column(self, name: str) -> str:
        """Return the name that a feature of the view has in the result."""
        return f"{self.view.name}__{name}"

    @property
    def status(self) -> str:
        """The name of the column that tells PRESENT, MISSING or EXPIRED."""
        return self.column("status")


def frontier_sql(joined: Joined, known_until: int | None = None) -> str:
    """Return SQL for a view's frontier.

    Args:
        known_until: Only what had arrived by then (UTC µs, inclusive), whatever came since; None: everything.
    """
    view = joined.view
    keys = ", ".join(quoted(key) for key in view.entity.keys)
    features = ", ".join(quoted(column.name) for column in view.columns)
    # With no order of their own, rows of the same times are told apart by their values, so that every run
    # takes the same.
    order = f"{VISIBLE}, {EVENT}, {KNOWN}, {SEQUENCE}, {DELETED}, {features}"
    visible = f"greatest({EVENT}, {KNOWN} + {micros(view.source_delay)})"
    return f"""
        SELECT {keys}, {VISIBLE}, {EVENT}, {DELETED}, {features}
        FROM (SELECT *, {visible} AS {VISIBLE} FROM {_known(joined, known_until)})
        WINDOW in_order AS (PARTITION BY {keys} ORDER BY {order})
        QUALIFY {EVENT} >= max({EVENT}) OVER (in_order ROWS UNBOUNDED PRECEDING)
            AND lead({VISIBLE}) OVER in_order IS DISTINCT FROM {VISIBLE}"""


def join_sql(spine: str, views: list[Joined], known_until: int | None = None) -> str:
    """Return SQL for a spine with what each view had for its rows.

    Every row of the spine is once in the result, in the order of SPINE_ROW. A null key has no features. Where
    a row is not PRESENT, all features of the view are null.

    Args:
        spine: A relation with the keys of all views, SPINE_TIME and SPINE_ROW.
        views: With names that differ.
        known_until: See `frontier_sql`.
    """
    joins, columns = [], ["spine.* EXCLUDE (" + f"{SPINE_TIME}, {SPINE_ROW})"]
    for i, joined in enumerate(views):
        own, view = f"v{i}", joined.view
        joins.append(
            f"ASOF LEFT JOIN ({frontier_sql(joined, known_until)}) AS {own} "
            f"ON {_keys_match(view, own)} AND spine.{SPINE_TIME} >= {own}.{VISIBLE}"
        )
        status = f"CASE WHEN {own}.{EVENT} IS NULL OR {own}.{DELETED} THEN '{MISSING}' "
        if view.ttl is not None:
            status += f"WHEN spine.{SPINE_TIME} - {own}.{EVENT} > {micros(view.ttl)} THEN '{EXPIRED}' "
        status += f"ELSE '{PRESENT}' END"
        columns.append(f"{status} AS {quoted(joined.status)}")
        for column in view.columns:
            value = f"CASE WHEN {status} = '{PRESENT}' THEN {own}.{quoted(column.name)} END"
            columns.append(f"{value} AS {quoted(joined.column(column.name))}")
    return (
        f"SELECT {', '.join(columns)} FROM {quoted(spine)} AS spine {' '.join(joins)} "
        f"ORDER BY spine.{SPINE_ROW}"
    )


def late_sql(spine: str, joined: Joined, known_until: int | None = None) -> str:
    """Return SQL for the number of spine rows at whose time a newer row was true, but not yet usable."""
    view = joined.view
    keys = ", ".join(quoted(key) for key in view.entity.keys)
    history = _known(joined, known_until)
    newest = f"SELECT {keys}, {EVENT}, max({KNOWN}) AS {KNOWN} FROM {history}"
    return (
        f"SELECT count(*) FILTER (v.{KNOWN} + {micros(view.source_delay)} > spine.{SPINE_TIME}) "
        f"FROM {quoted(spine)} AS spine ASOF LEFT JOIN ({newest} GROUP BY {keys}, {EVENT}) AS v "
        f"ON {_keys_match(view, 'v')} AND spine.{SPINE_TIME} >= v.{EVENT}"
    )


def _known(joined: Joined, until: int | None) -> str:
    return quoted(joined.history) + ("" if until is None else f" WHERE {KNOWN} <= {until}")


def _keys_match(view: View, own: str) -> str:
    keys = view.entity.keys.items()
    return " AND ".join(
        f"spine.{quoted(key)}::{DUCKDB_TYPES[datatype]} = {own}.{quoted(key)}" for key, datatype in keys
    )
