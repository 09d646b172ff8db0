"""The point-in-time join: what was known of an entity at a time.

A spine row takes, of each view, the newest history row that was true and usable at its time: `event_ts <=
spine_ts` and `known_ts + source_delay <= spine_ts`, the newest by `(event_ts, known_ts, sequence)`. With no
order of their own, rows of the same times are told apart by their values, a deletion last, so that every run
takes the same.

DuckDB reads the keys and times, numbers the entities that the spine asks about, and hands both to the native
join as arrays (csrc/join/point_in_time.h); that gives the place of the history row which answers, and DuckDB
fetches its features from there. So only times and places are held in memory; where these do not fit either,
the entities are divided, and one part after the other is joined.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from falaj._core import InvalidInput, point_in_time
from falaj.features.datatypes import DUCKDB_TYPES
from falaj.features.errors import DataError
from falaj.features.identity import micros
from falaj.features.offline.history import DELETED, EVENT, KNOWN, ROW, SEQUENCE, create_history
from falaj.features.offline.progress import Step
from falaj.features.offline.resources import Resources, leaving_half, memory_bytes
from falaj.features.offline.scratch import Scratch
from falaj.features.offline.sql import blaming, literal, parquet_sql, quoted
from falaj.features.offline.staging import Staged
from falaj.features.source import ParquetFiles, PushedRows
from falaj.features.view import View

SPINE_TIME = "__spine_ts"  # of the spine: UTC microseconds
SPINE_ROW = "__spine_row"  # its order
STATUS = "__status"
LATE = "__late"
# What a view has for a spine row. A feature that is null in a row that is present is a third thing.
PRESENT, MISSING, EXPIRED = "present", "missing", "expired"
_WORDS = [MISSING, EXPIRED, PRESENT]  # as the native join numbers them
_ENTITY = "__entity"  # a number from 0 on, in the order of the spine
_PART = "__part"
_ENTITIES, _ASKED = "__entities", "__asked"  # of the view that is being joined
# Of the arrays and of what the native join and DuckDB's reading add, measured and rounded up.
_HISTORY_ROW_BYTES, _SPINE_ROW_BYTES = 72, 80


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

    @property
    def has_places(self) -> bool:
        """Whether a row of the source can be found again where it was; else the history is copied first."""
        return isinstance(self.view.source, ParquetFiles | PushedRows) and self.view.sql is None

    @property
    def has_sequence(self) -> bool:
        """Whether SEQUENCE is another order than that of ROW."""
        return self.view.ordered_by is not None or self.view.sql is not None


class PointInTime:
    """Joins views to one spine, one after the other."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        spine: str,
        scratch: Scratch,
        resources: Resources,
        known_until: int | None,
    ) -> None:
        """Join to a relation that has the keys of all views, SPINE_TIME and SPINE_ROW.

        Args:
            known_until: Only what had arrived by then (UTC µs, inclusive), whatever came since; None:
                everything.
        """
        self._connection = connection
        self._spine = spine
        self._scratch = scratch
        self._threads = resources.cores
        self._until = known_until
        self._memory = memory_bytes(connection)
        self._numbered: dict[str, str] | None = None
        self.staged: dict[str, Staged] = {}  # what was read of queries, by their histories

    def join(self, joined: Joined, name: str, step: Step) -> Path:
        """Write what a view has for the spine's rows, in their order, as the Parquet file `name`.

        Its columns are SPINE_ROW; STATUS, a number (see `status_sql`); LATE, whether a newer row was true and
        not usable yet; and the view's features, null where it is not present. A null key has none. What is
        there already from another run is taken.
        """
        made = self._scratch.path(name)
        with blaming("export"):
            self._create_history(joined, f"{name}.history")
            if self._scratch.has(name):
                return made
            passes = self._passes(joined)
            step(0, passes + 2)
            entities = self._number_entities(joined)
            if joined.view.aggregates:
                self._write_windows(joined, name)
                return made
            divided = f"{name}.divided-{passes}"
            if passes > 1:
                self._divide(joined, divided, passes)
            answers = []
            for part in range(passes):
                step(part + 1, passes + 2)
                answers.append(f"{name}.answers-{part}-of-{passes}")
                if not self._scratch.has(answers[-1]):
                    with leaving_half(self._connection, self._memory):
                        rows = self._narrow_sql(joined) if passes == 1 else self._part_sql(divided, part)
                        self._answer(joined, rows, -(-entities // passes), (part, passes), answers[-1])
            step(passes + 1, passes + 2)
            self._fetch(joined, answers, name)
        self._scratch.drop(divided, *answers)
        return made

    def _create_history(self, joined: Joined, name: str) -> None:
        folder = self._scratch.folder
        staged = create_history(
            self._connection, joined.view, joined.history, folder, numbered=joined.has_places
        )
        if staged is not None:
            self.staged[joined.history] = staged
        if joined.has_places:
            return
        if not self._scratch.has(name):
            with self._scratch.making(name) as path:
                sql = f"SELECT * FROM {joined.history}"
                self._connection.execute(f"COPY ({sql}) TO {literal(str(path))} (FORMAT parquet)")
        copied = parquet_sql(str(self._scratch.path(name)), ROW)
        self._connection.execute(f"CREATE OR REPLACE TEMP VIEW {joined.history} AS {copied}")

    def _passes(self, joined: Joined) -> int:
        """Return in how many parts the arrays take half of the memory at most."""
        counts = f"SELECT (SELECT count(*) FROM {joined.history}), (SELECT count(*) FROM {self._spine})"
        history, spine = row_of(self._connection, counts)
        need = history * _HISTORY_ROW_BYTES + spine * _SPINE_ROW_BYTES
        return max(1, -(-need // (self._memory // 2)))

    def _number_entities(self, joined: Joined) -> int:
        """Create tables of the spine's entities and of its rows, with the number of each; return how many."""
        keys = dict(joined.view.entity.keys)
        if keys != self._numbered:  # by the view before
            self._create_entities(keys)
            self._numbered = keys
        return row_of(self._connection, f"SELECT count(*) FROM {_ENTITIES}")[0]

    def _create_entities(self, keys: Mapping[str, str]) -> None:
        names = ", ".join(quoted(key) for key in keys)
        typed = ", ".join(f"{quoted(key)}::{DUCKDB_TYPES[of]} AS {quoted(key)}" for key, of in keys.items())
        whole = " AND ".join(f"{quoted(key)} IS NOT NULL" for key in keys)
        rows = f"SELECT {typed}, {SPINE_ROW}, {SPINE_TIME} FROM {quoted(self._spine)}"
        number = f"(row_number() OVER (ORDER BY min({SPINE_ROW})) - 1)::INTEGER AS {_ENTITY}"
        self._connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {_ENTITIES} AS "
            f"SELECT {names}, {number} FROM ({rows}) WHERE {whole} GROUP BY {names}"
        )
        asked = f"SELECT {SPINE_ROW}, coalesce({_ENTITY}, -1)::INTEGER AS {_ENTITY}, {SPINE_TIME}"
        self._connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {_ASKED} AS {asked} "
            f"FROM ({rows}) LEFT JOIN {_ENTITIES} USING ({names})"
        )

    def _write_windows(self, joined: Joined, name: str) -> None:
        from falaj.features.offline.windows_join import Asked, write_windows

        asked = Asked(_ENTITIES, _ASKED, self._until)
        with self._scratch.making(name) as path, leaving_half(self._connection, self._memory):
            write_windows(self._connection, joined, asked, path, self._memory // 2)

    def _narrow_sql(self, joined: Joined) -> str:
        """Return SQL for what the native join has to know of the history's rows that are asked about."""
        view = joined.view
        columns = [_ENTITY, EVENT, ROW]
        columns += [KNOWN] if view.known_time is not None else []
        columns += [SEQUENCE] if joined.has_sequence else []
        columns += [DELETED] if view.deleted is not None else []
        keys = ", ".join(quoted(key) for key in view.entity.keys)
        until = "" if self._until is None else f" WHERE {KNOWN} <= {self._until}"
        return f"SELECT {', '.join(columns)} FROM {joined.history} JOIN {_ENTITIES} USING ({keys}){until}"

    def _divide(self, joined: Joined, name: str, passes: int) -> None:
        """Write these rows in parts by their entity, numbered within its part."""
        if self._scratch.has(name):
            return
        with self._scratch.making(name) as path:
            path.mkdir()
            within = (
                f"* REPLACE (({_ENTITY} // {passes})::INTEGER AS {_ENTITY}), {_ENTITY} % {passes} AS {_PART}"
            )
            self._connection.execute(
                "SET preserve_insertion_order = false"
            )  # ROW tells it; bounds the memory
            try:
                self._connection.execute(
                    f"COPY (SELECT {within} FROM ({self._narrow_sql(joined)})) TO {literal(str(path))} "
                    f"(FORMAT parquet, PARTITION_BY ({_PART}))"
                )
            finally:
                self._connection.execute("SET preserve_insertion_order = true")

    def _part_sql(self, divided: str, part: int) -> str | None:
        """Return SQL for the rows of one part, None where there are none."""
        folder = self._scratch.path(divided) / f"{_PART}={part}"
        if not folder.is_dir():
            return None
        return f"FROM read_parquet({literal(str(folder / '*.parquet'))}, hive_partitioning = false)"

    def _answer(
        self, joined: Joined, rows: str | None, entities: int, part: tuple[int, int], name: str
    ) -> None:
        """Join the entities of one part, and write which row of the history answers each row of theirs."""
        number, passes = part
        within = f"if({_ENTITY} < 0, -1, {_ENTITY} // {passes})::INTEGER AS {_ENTITY}"
        mine = f"greatest({_ENTITY}, 0) % {passes} = {number}"
        spine = self._arrays(f"SELECT * REPLACE ({within}) FROM {_ASKED} WHERE {mine}")
        if rows is None:
            rows = f"SELECT * FROM ({self._narrow_sql(joined)}) WHERE false"
        history = self._arrays(rows)
        row, status, late = self._join_arrays(joined, history, spine, entities)
        present = row >= 0
        row[present] = history[ROW][row[present]]
        with self._scratch.making(name) as path:
            told = {SPINE_ROW: spine[SPINE_ROW], ROW: row, STATUS: status, LATE: late}
            self._connection.register("__answers", told)
            self._connection.execute(f"COPY __answers TO {literal(str(path))} (FORMAT parquet)")
            self._connection.unregister("__answers")

    def _join_arrays(
        self, joined: Joined, history: Mapping[str, Any], spine: Mapping[str, Any], entities: int
    ) -> tuple[Any, Any, Any]:
        """Return for each row of a spine the index of what is present, or -1; its status; if it is late."""
        view = joined.view
        sequence = history[SEQUENCE if joined.has_sequence else ROW]

        def ask(place: Any | None) -> tuple[Any, Any, Any, Any]:
            return point_in_time(
                history[_ENTITY],
                history[EVENT],
                history[EVENT if view.known_time is None else KNOWN],
                sequence,
                place,
                None if view.deleted is None else history[DELETED],
                spine[_ENTITY],
                spine[SPINE_TIME],
                entities,
                micros(view.source_delay),
                None if view.ttl is None else micros(view.ttl),
                self._threads,
            )

        try:
            row, status, late, tied = ask(None)
            if len(tied):
                place = np.zeros(len(sequence), np.int64)
                place[tied[self._by_values(joined, history[ROW][tied])]] = np.arange(len(tied))
                row, status, late, _ = ask(place)
        except InvalidInput as error:
            raise DataError(f"{view}: {error}") from error
        return row, status, late

    def _by_values(self, joined: Joined, rows: Any) -> Any:
        """Return the order of some rows of the history by their values, a deletion last."""
        values = ", ".join(f"h.{quoted(column.name)}" for column in joined.view.columns)
        self._connection.register("__tied", {"__number": np.arange(len(rows)), ROW: rows})
        sql = f"SELECT t.__number FROM __tied AS t JOIN {joined.history} AS h ON t.{ROW} = h.{ROW} "
        ordered = self._arrays(f"{sql} ORDER BY h.{DELETED}, {values}, t.{ROW}")["__number"]
        self._connection.unregister("__tied")
        return ordered

    def _fetch(self, joined: Joined, answers: Sequence[str], name: str) -> None:
        """Write the features of the rows that answer, in the order of the spine."""
        files = ", ".join(literal(str(self._scratch.path(each))) for each in answers)
        columns = ", ".join(quoted(column.name) for column in joined.view.columns)
        sql = (
            f"SELECT a.* EXCLUDE ({ROW}), h.* EXCLUDE ({ROW}) FROM read_parquet([{files}]) AS a "
            f"LEFT JOIN (SELECT {ROW}, {columns} FROM {joined.history}) AS h ON a.{ROW} = h.{ROW} "
            f"ORDER BY {SPINE_ROW}"
        )
        with self._scratch.making(name) as path:
            self._connection.execute(f"COPY ({sql}) TO {literal(str(path))} (FORMAT parquet)")

    def _arrays(self, sql: str) -> dict[str, Any]:
        return self._connection.execute(sql).fetchnumpy()


def status_sql(status: str) -> str:
    """Return SQL for the word of a STATUS."""
    return f"{_WORDS}[{status} + 1]"


def row_of(connection: duckdb.DuckDBPyConnection, sql: str) -> tuple[int, ...]:
    """Return the one row of a SELECT of counts."""
    found = connection.execute(sql).fetchone()
    assert found is not None
    return tuple(found)
