"""A view's rows on their way to an online store, in chunks of whole entities.

The rows come in the order of the store's keys, so that a chunk changes only its own part of the store. No
more than a chunk, or the rows of one entity, is held; what DuckDB sorts is bounded by its own limit.
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import numpy.typing as npt

from falaj.features.errors import DataError
from falaj.features.identity import micros
from falaj.features.offline.arrow_columns import nulls_of, values_of
from falaj.features.offline.history import EVENT, EVENT_ID, KNOWN
from falaj.features.offline.sql import blaming, quoted
from falaj.features.view import View

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH_ROWS = 65_536
# The store does not care for the order within an entity, and DuckDB holds less.
_ANY_ORDER = "SET preserve_insertion_order = false"
_SEEN, _ANSWERING = "__seen", "__answering"
Column = tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]  # values, and which are null, if any is


def divided_by(*, answering: bool = False) -> str:
    """Return what decides, with the rows and their number, which are in a chunk.

    Args:
        answering: Whether `create_answering` chooses the rows.
    """
    rows = "rows that can answer" if answering else "rows"
    return f"{rows} in the order of keys, DuckDB {duckdb.__version__}"


def create_answering(
    connection: duckdb.DuckDBPyConnection, view: View, relation: str, rows: int, at_us: int
) -> tuple[str, int]:
    """Leave out rows of a history that answer at no time from `at_us` on: a newer one can be seen by then.

    Args:
        relation: Has the columns of a history; its view has no aggregates.
        rows: How many it has.

    Returns:
        A relation and how many rows it has; the one given where more than half of it would stay.

    Raises:
        DataError: The rows cannot be read.
    """
    keys = ", ".join(quoted(key) for key in view.entity.keys)
    seen = f"{EVENT} <= {at_us} AND {KNOWN} <= {at_us - micros(view.source_delay)}"
    with blaming(f"{view}, source"):
        connection.execute(_ANY_ORDER)
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {_SEEN} AS SELECT {keys}, max({EVENT}) AS {_SEEN} FROM {relation} "
            f"WHERE {seen} GROUP BY {keys}"
        )
        if 2 * _count(connection, _SEEN) > rows:
            return relation, rows
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {_ANSWERING} AS SELECT * EXCLUDE {_SEEN} FROM {relation} "
            f"LEFT JOIN {_SEEN} USING ({keys}) WHERE {EVENT} >= coalesce({_SEEN}, {EVENT})"
        )
        return _ANSWERING, _count(connection, _ANSWERING)


def _count(connection: duckdb.DuckDBPyConnection, relation: str) -> int:
    ((rows,),) = connection.execute(f"SELECT count(*) FROM {relation}").fetchall()
    return int(rows)


def read_chunks(
    connection: duckdb.DuckDBPyConnection,
    view: View,
    relation: str,
    rows: int,
    chunks: range,
    of: int,
    *,
    ordered: bool,
) -> Generator["pa.Table", None, None]:
    """Yield some of the chunks of a relation, which has the columns of a history.

    The rows of a relation that is the same are divided in the same way each time. The connection can do
    nothing else until the iterator is closed.

    Args:
        rows: How many it has.
        chunks: Which are wanted; all that are behind the first of them.
        of: How many there are; some may be empty, as the rows of an entity are not divided.
        ordered: Whether they come in the order of the keys; there is one chunk if not.

    Raises:
        DataError: The rows cannot be read.
    """
    connection.execute(_ANY_ORDER)
    order = f" ORDER BY {', '.join(_order(view))}" if ordered else ""
    with _blaming(view):
        reader = connection.sql(f"SELECT {_selected(view)} FROM {relation}{order}").to_arrow_reader(
            _BATCH_ROWS
        )
    try:
        stream, begun = _Stream(view, reader), 0
        for number in range(of):
            table = stream.take((number + 1) * rows // of - begun if number + 1 < of else None)
            begun += table.num_rows
            if number in chunks:
                yield table
    finally:
        reader.close()
        connection.execute("SET preserve_insertion_order = true")


def pieces(view: View, table: "pa.Table", rows: int) -> list["pa.Table"]:
    """Divide a chunk that is in the order of its keys, the rows of an entity in one piece; at least one."""
    if table.num_rows <= rows:
        return [table]
    columns = [table[key].to_numpy() for key in view.entity.keys]
    begins = np.flatnonzero(np.logical_or.reduce([of[1:] != of[:-1] for of in columns])) + 1
    found = np.searchsorted(begins, np.arange(rows, table.num_rows, rows))
    bounds = sorted({0, table.num_rows, *begins[found[found < len(begins)]].tolist()})
    return [table.slice(begin, end - begin) for begin, end in pairwise(bounds)]


def column_of(table: "pa.Table", name: str, datatype: str) -> Column:
    """Return a column as NumPy has it: texts as objects, and of what is null any value."""
    column = table[name]
    return values_of(column, datatype), nulls_of(column) if column.null_count else None


class _Stream:
    """Rows of a reader that are in the order of a view's keys, taken from the front."""

    def __init__(self, view: View, reader: "pa.RecordBatchReader") -> None:
        self._view, self._reader = view, reader
        self._held: pa.Table = reader.schema.empty_table()

    def take(self, wanted: int | None) -> "pa.Table":
        """Return so many rows and what there is of the last one's entity; None: all that are left."""
        while (wanted is None or self._held.num_rows < wanted) and self._more():
            pass
        end = self._held.num_rows
        if wanted is not None:
            end = max(0, min(end, wanted))
            end = self._end_of_entity(end) if end else 0
        taken, self._held = self._held.slice(0, end), self._held.slice(end)
        return taken

    def _end_of_entity(self, end: int) -> int:
        import pyarrow.compute as pc

        last = [(key, self._held[key][end - 1]) for key in self._view.entity.keys]
        while end < self._held.num_rows or self._more():
            behind = self._held.slice(end)
            others = [pc.index(pc.equal(behind[key], value), False).as_py() for key, value in last]
            found = [place for place in others if place >= 0]
            if found:
                return end + int(min(found))
            end = self._held.num_rows
        return end

    def _more(self) -> bool:
        import pyarrow as pa

        with _blaming(self._view):
            batch = next(self._reader, None)
        if batch is None:
            return False
        self._held = pa.concat_tables([self._held, pa.Table.from_batches([batch])])
        return True


def _order(view: View) -> Iterator[str]:
    """As the store's keys are ordered: a text by its length first."""
    for key, datatype in view.entity.keys.items():
        if datatype == "BYTES":
            yield f"strlen({quoted(key)})"
        yield quoted(key)


def _selected(view: View) -> str:
    return "*" if view.event_id is None else f"* REPLACE ({EVENT_ID}::VARCHAR AS {EVENT_ID})"


@contextmanager
def _blaming(view: View) -> Iterator[None]:
    with blaming(f"{view}, source"):
        try:
            yield
        except OSError as error:  # as which Arrow tells DuckDB's errors
            raise DataError(f"{view}, source: {error}") from error
