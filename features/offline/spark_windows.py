"""Windowed aggregates on Spark.

The events and the rows of the spine are put together by entity, and handed to Python some whole entities at a
time, where the export by DuckDB would compute them too (windows.py): so both have the same bits. What comes
back are numbers of rows and their features; the spine itself is not sent through Python.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from pyspark.sql import DataFrame
from pyspark.sql import functions as fn
from pyspark.sql import types as t

from falaj.features.identity import Plain, meaning, micros, view_of
from falaj.features.offline.arrow_columns import arrow_of, nulls_of, values_of
from falaj.features.offline.history import EVENT, EVENT_ID, KNOWN, SEQUENCE
from falaj.features.offline.point_in_time import LATE, MISSING, PRESENT, SPINE_ROW, SPINE_TIME, Joined
from falaj.features.offline.spark_demands import SPARK_TYPES
from falaj.features.offline.spark_history import key_of, late_of
from falaj.features.offline.windows import Events, Spine, Values, windowed
from falaj.features.view import View

_Array: TypeAlias = npt.NDArray[Any]
_ROWS = 1 << 18  # that are computed at once, and all of one entity


def with_windows(spine: DataFrame, asked: DataFrame, joined: Joined, events: DataFrame) -> DataFrame:
    """Return a spine with a view's status, features and `late_of`.

    An entity without events is present: it has windows of none. A row is missing where a key is null.

    Args:
        asked: The spine as it was before any view was joined.
        events: The view's history.
    """
    view = joined.view
    keys = [key_of(key) for key in view.entity.keys]
    event_id = [] if view.event_id is None else [EVENT_ID]
    inputs = [column.name for column in view.inputs]
    rows = asked.select(*keys, SPINE_ROW, SPINE_TIME)
    rows = rows.unionByName(
        events.select(*keys, EVENT, KNOWN, SEQUENCE, *event_id, *inputs), allowMissingColumns=True
    )
    rows = rows.dropna(subset=keys).repartition(*keys).sortWithinPartitions(*keys)
    answers = partial(_answers, told=meaning(view))
    found = rows.mapInArrow(answers, _schema(joined))
    status = fn.when(fn.col(LATE).isNull(), MISSING).otherwise(PRESENT)
    late = fn.coalesce(fn.col(LATE), fn.lit(False))
    return (
        spine.join(found, SPINE_ROW, "left")
        .withColumns({joined.status: status, late_of(joined): late})
        .drop(LATE)
    )


def _schema(joined: Joined) -> t.StructType:
    fields = [t.StructField(SPINE_ROW, t.LongType()), t.StructField(LATE, t.BooleanType())]
    for column in joined.view.features:
        fields.append(t.StructField(joined.column(column.name), SPARK_TYPES[column.datatype]))
    return t.StructType(fields)


def _answers(batches: Iterator[Any], told: Plain) -> Iterator[Any]:
    """Answer the rows of a partition; runs where Spark has its Python."""
    view = view_of(told)
    keys = [key_of(key) for key in view.entity.keys]
    for table in _whole_entities(batches, keys):
        yield from _answered(table, keys, view).to_batches()


def _whole_entities(batches: Iterator[Any], keys: Sequence[str]) -> Iterator[Any]:
    """Yield tables of whole entities, as their rows come one after the other."""
    import pyarrow as pa

    held: list[Any] = []
    rows, enough = 0, _ROWS
    for batch in batches:
        held.append(batch)
        rows += batch.num_rows
        if rows < enough:
            continue
        table = pa.Table.from_batches(held).combine_chunks()
        last = int(np.searchsorted(entities := _entities(table, keys), entities[-1]))
        if last:
            yield table.slice(0, last)
            table = table.slice(last)
        held, rows = table.to_batches(), table.num_rows
        enough = max(_ROWS, 2 * rows)
    if rows:
        yield pa.Table.from_batches(held).combine_chunks()


def _entities(table: Any, keys: Sequence[str]) -> _Array:
    """Number the entities, whose rows come one after the other."""
    import pyarrow.compute as pc

    is_other = np.zeros(table.num_rows, np.bool_)
    for key in keys:
        column = _column(table, key)
        differs = pc.not_equal(column[1:], column[:-1])
        is_other[1:] |= differs.to_numpy(zero_copy_only=False)
    return np.cumsum(is_other, dtype=np.int64)


def _answered(table: Any, keys: Sequence[str], view: View) -> Any:
    import pyarrow as pa

    entity = _entities(table, keys)
    is_event = nulls_of(_column(table, SPINE_ROW))
    asked = table.filter(pa.array(~is_event))
    spine = Spine(entity[~is_event], values_of(_column(asked, SPINE_TIME), "INT64"))
    # Of entities that nobody asks about nothing is computed.
    is_event &= np.isin(entity, spine.entity)
    events = _events(table.filter(pa.array(is_event)), entity[is_event], view)
    arrays = [_column(asked, SPINE_ROW), pa.array(_late(events, spine, micros(view.source_delay)))]
    for column, values in zip(view.features, windowed(events, spine, view).values(), strict=True):
        assert values.valid is not None
        arrays.append(arrow_of(values.values, values.valid, column.datatype, widened=True))
    names = [SPINE_ROW, LATE, *(Joined(view, "").column(column.name) for column in view.features)]
    return pa.Table.from_arrays(arrays, names)


def _events(table: Any, entity: _Array, view: View) -> Events:
    def whole(name: str) -> _Array:
        return values_of(_column(table, name), "INT64")

    def column(name: str, datatype: str) -> Values:
        found = _column(table, name)
        return Values(values_of(found, datatype), ~nulls_of(found))

    event_id = None
    if view.event_id is not None:
        of = "INT64" if str(_column(table, EVENT_ID).type) == "int64" else "BYTES"
        event_id = column(EVENT_ID, of)
    columns = {each.name: column(each.name, each.datatype) for each in view.inputs}
    return Events(entity, whole(EVENT), whole(KNOWN), whole(SEQUENCE), columns, event_id)


def _column(table: Any, name: str) -> Any:
    import pyarrow as pa

    column = table.column(name)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _late(events: Events, spine: Spine, delay: int) -> _Array:
    """Whether the newest event that was true could not be used yet; copies of one are not looked at."""
    kept = _originals(events)
    entity = np.concatenate([events.entity[kept], spine.entity])
    time = np.concatenate([events.event[kept], spine.time])
    known = np.concatenate([events.known[kept], np.zeros(len(spine.time), np.int64)])
    is_asked = np.arange(len(entity)) >= len(kept)
    order = np.lexsort((known, is_asked, time, entity))
    newest = np.maximum.accumulate(np.where(is_asked[order], -1, np.arange(len(order))))
    found = order[newest]
    late = np.zeros(len(order), np.bool_)
    late[order] = (newest >= 0) & (entity[found] == entity[order]) & (known[found] + delay > time[order])
    return late[len(kept) :]


def _originals(events: Events) -> _Array:
    """The places of the events; of those with one id, of the one that was known first."""
    if events.event_id is None:
        return np.arange(len(events.entity))
    entity, ids = events.entity, np.unique(events.event_id.values, return_inverse=True)[1]
    order = np.lexsort((events.sequence, events.event, events.known, ids, entity))
    is_first = np.ones(len(order), np.bool_)
    is_first[1:] = (np.diff(entity[order]) != 0) | (np.diff(ids[order]) != 0)
    return order[is_first]
