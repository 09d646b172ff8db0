"""The point-in-time join on Spark.

The rows of the spine and of a history are put in one order for each entity, by the time from which a history
row can be seen, `max(event_ts, known_ts + source_delay)`, and the time of the spine row, history first. The
newest row that a spine row can see is then the greatest by `(event_ts, known_ts, sequence)` of all that are
before it: a window that keeps one row, and needs no join of inequalities. Views with aggregates: see
spark_windows.py.
"""

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as fn

from falaj.features.identity import micros
from falaj.features.offline.history import DELETED, EVENT, KNOWN, SEQUENCE
from falaj.features.offline.point_in_time import (
    EXPIRED,
    MISSING,
    PRESENT,
    SPINE_ROW,
    SPINE_TIME,
    Joined,
)
from falaj.features.offline.spark_history import column_of, key_of, late_of
from falaj.features.offline.spark_windows import with_windows

_VISIBLE = "__visible_ts"  # from when on a history row can be seen; the spine row's time
_NEWEST = "__newest"  # of the rows that can be seen
_TRUE = "__true"  # of the rows that are true, seen or not


def join(
    spine: DataFrame, views: Sequence[tuple[Joined, DataFrame]], known_until: int | None = None
) -> DataFrame:
    """Return a spine with the columns that an export adds, SPINE_ROW and `late_of` each view, in no order.

    Args:
        spine: As `read_spine` makes it.
        views: Each with its history, as `read_history` makes it.
        known_until: Only what had arrived by then (UTC µs, inclusive); None: everything.
    """
    asked = spine
    for joined, history in views:
        if known_until is not None:
            history = history.where(fn.col(KNOWN) <= known_until)
        if joined.view.aggregates:
            spine = with_windows(spine, asked, joined, history)
        else:
            spine = _with_view(spine, joined, history)
    return spine.drop(SPINE_TIME, *(name for name in spine.columns if name.startswith(key_of(""))))


def _with_view(spine: DataFrame, joined: Joined, history: DataFrame) -> DataFrame:
    view = joined.view
    keys = [fn.col(key_of(key)) for key in view.entity.keys]
    usable = fn.col(KNOWN) + fn.lit(micros(view.source_delay))
    # Without a sequence, rows of the same times are told apart by their values, a null last, as in DuckDB.
    values = [
        each
        for column in view.columns
        for each in (column_of(column.name).isNull().alias(f"__null_{column.name}"), column_of(column.name))
    ]
    for key in keys:
        history = history.where(key.isNotNull())
    rows = history.select(
        *keys,
        fn.greatest(EVENT, usable).alias(_VISIBLE),
        fn.col(EVENT),
        fn.struct(EVENT, KNOWN, SEQUENCE, DELETED, *values).alias(_NEWEST),
        fn.struct(fn.col(EVENT), usable.alias("usable")).alias(_TRUE),
    )
    time = fn.col(SPINE_TIME)
    both = spine.withColumns({_VISIBLE: time, EVENT: time}).unionByName(rows, allowMissingColumns=True)
    asked = fn.col(SPINE_ROW).isNotNull()

    def newest(of: str, time: str) -> Column:
        order = Window.partitionBy(*keys).orderBy(fn.col(time), asked)
        return fn.max(of).over(order.rowsBetween(Window.unboundedPreceding, Window.currentRow))

    found = both.withColumns({_NEWEST: newest(_NEWEST, _VISIBLE), _TRUE: newest(_TRUE, EVENT)}).where(asked)
    late = fn.coalesce(fn.col(f"{_TRUE}.usable") > time, fn.lit(False))
    return found.withColumns({**_features(joined), late_of(joined): late}).drop(
        _VISIBLE, EVENT, _NEWEST, _TRUE
    )


def _features(joined: Joined) -> dict[str, Column]:
    view, newest = joined.view, fn.col(_NEWEST)
    status = fn.when(newest.isNull() | newest[DELETED], MISSING)
    if view.ttl is not None:
        status = status.when(fn.col(SPINE_TIME) - newest[EVENT] > fn.lit(micros(view.ttl)), EXPIRED)
    status = status.otherwise(PRESENT)
    values = {
        joined.column(column.name): fn.when(status == PRESENT, newest[column.name]) for column in view.columns
    }
    return {joined.status: status, **values}
