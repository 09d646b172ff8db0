"""Compares what models were served with and what training sets would have for the same entities and times.

The rows of the log are made a spine, and exported by the definitions that served; then each value is compared
to the bit, but that any NaN is NaN. A null, a missing and an expired value are three different ones.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import numpy as np

from falaj.features.errors import DataError, DefinitionError
from falaj.features.identity import view_of
from falaj.features.offline.export import export
from falaj.features.offline.point_in_time import EXPIRED, MISSING
from falaj.features.offline.resources import MOST, Resources, connect
from falaj.features.offline.spine import Spine
from falaj.features.offline.sql import blaming, literal, quoted
from falaj.features.registry import Registry
from falaj.features.served.given import NOTHING
from falaj.features.served.log import (
    AT,
    STALE,
    Served,
    brought,
    known_first,
    known_last,
    read_served,
)
from falaj.features.served.summary import CAUSES, LATE, TRANSFORM, TTL, VALUE, VERSION, Audit, ColumnAudit
from falaj.features.view import View

_ROWS = "rows"  # the table of what is looked at, of one model version
_NUMBER = "__n"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class _Cells:
    """What rows have of a view: a status, and of each column the values and where they are null."""

    status: Any
    columns: dict[str, Any]  # masked arrays

    def same(self, column: str, other: "_Cells") -> Any:
        """Return where a column, status included, is the same."""
        one, two = self.columns[column], other.columns[column]
        nulls, others = np.ma.getmaskarray(one), np.ma.getmaskarray(two)
        equal = _equal_bits(np.ma.getdata(one), np.ma.getdata(two))
        return (self.status == other.status) & (nulls == others) & (nulls | equal)


@dataclass
class _Tally:
    compared: Counter[tuple[str, str]] = field(default_factory=Counter)
    mismatches: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    rows: int = 0

    def add(self, view: View, column: str, compared: Any, **causes: Any) -> None:
        """Count places in arrays of booleans."""
        name = f"{view.name}@{view.version}"
        self.compared[name, column] += int(np.count_nonzero(compared))
        for cause, places in causes.items():
            self.mismatches[name, column, cause] += int(np.count_nonzero(places))

    def audit(self, at_us: int) -> Audit:
        columns = [
            ColumnAudit(view, column, count, {c: self.mismatches[view, column, c] for c in CAUSES})
            for (view, column), count in sorted(self.compared.items())
        ]
        return Audit(at_us, self.rows, tuple(columns))


def audit(
    log: Path,
    registry: Registry,
    *,
    model: str | None = None,
    since_us: int | None = None,
    sample: int | None = None,
    resources: Resources = MOST,
) -> Audit:
    """Compare the rows of a log with what their sources tell now of then.

    Args:
        log: Its folder, which has one for each model.
        registry: Says which definition a view has by right.
        model: Only what this one was served with.
        since_us: Only what was looked up from then on, UTC µs.
        sample: So many rows at most, the same each time; None: all.

    Raises:
        DataError: Nothing is logged, or a file or a source cannot be read.
        DefinitionError: A definition does not fit its source any more.
    """
    begin = time.time_ns() // 1000
    files = sorted(log.glob("*/*.parquet") if model is None else (log / model).glob("*.parquet"))
    if not files:
        of = "" if model is None else f" of model {model!r}"
        raise DataError(f"{log}: nothing is logged there{of}; features.log_sample has a server log")
    tally = _Tally()
    with (
        TemporaryDirectory(prefix=".audit-", dir=log.parent) as folder,
        connect(resources, folder) as connection,
    ):
        connection.execute("SET TimeZone = 'UTC'")
        groups = [(served, _rows_sql(paths, since_us)) for served, paths in read_served(files)]
        where = _sample_sql(connection, [rows for _, rows in groups], sample)
        for served, rows in groups:
            with blaming("the log of served features"):
                number = f"row_number() OVER () - 1 AS {_NUMBER}"
                connection.execute(
                    f"CREATE OR REPLACE TABLE {_ROWS} AS SELECT *, {number} FROM ({rows}){where}"
                )
            work = _Work(connection, Path(folder), resources, tally)
            tally.rows += len(work.fetch([_NUMBER], "")[_NUMBER])
            for view, digest in zip(served.views, served.hashes, strict=True):
                work.compare(served, view, _registered(registry, view, digest))
    return tally.audit(begin)


def _rows_sql(files: Sequence[Path], since_us: int | None) -> str:
    names = ", ".join(literal(str(file)) for file in files)
    since = "" if since_us is None else f" WHERE epoch_us({AT}) >= {since_us}"
    place = "hash(parse_filename(filename), file_row_number) AS __place"
    rows = f"read_parquet([{names}], filename = true, file_row_number = true)"
    return f"SELECT * EXCLUDE (filename, file_row_number), {place} FROM {rows}{since}"


def _sample_sql(connection: duckdb.DuckDBPyConnection, groups: Sequence[str], sample: int | None) -> str:
    """Return a condition that leaves so many rows of all."""
    if sample is None:
        return ""
    places = " UNION ALL ".join(f"SELECT __place FROM ({rows})" for rows in groups)
    with blaming("the log of served features"):
        sql = f"SELECT max(__place) FROM (FROM ({places}) ORDER BY __place LIMIT {sample})"
        last = connection.execute(sql).fetchone()
    return "" if last is None or last[0] is None else f" WHERE __place <= {last[0]}"


def _registered(registry: Registry, view: View, digest: str) -> View | None:
    """The view that is registered under the same version, where that is another one."""
    try:
        found = registry.find(view.name, view.version)
    except DefinitionError:
        return None  # nobody says that it should be another
    return None if found.content_hash == digest else view_of(found.meaning)


@dataclass(frozen=True)
class _Work:
    """Compares the rows of one model version, which are in the table _ROWS."""

    connection: duckdb.DuckDBPyConnection
    folder: Path
    resources: Resources
    tally: _Tally

    def compare(self, served: Served, view: View, by_right: View | None) -> None:
        """Count what of a view was served, and what of it is not as it is `by_right`; None: by its own."""
        columns = [column for name, column in served.features if name == view.name]
        own = {column: f"{view.name}__{column}" for column in columns}
        status = f"{view.name}__status"
        flags = [brought(view.name, column) for column in columns]
        known = [known_first(view.name), known_last(view.name)]
        looked_up = f"WHERE {quoted(status)} <> '{STALE}'"
        found = self.fetch([_NUMBER, status, *own.values(), *flags, *known], looked_up)
        if not len(found[_NUMBER]):
            return
        logged = _cells(found, status, own)
        counted = {c: ~np.ma.getdata(found[brought(view.name, c)]) for c in columns}
        if by_right is not None:
            self._compare_versions(view, by_right, logged, counted, found[_NUMBER])
            return
        made = self._recomputed(view, columns, found[_NUMBER], None)
        bad = {c: counted[c] & ~logged.same(c, made) for c in columns}
        late = self._late(view, logged, bad, found)
        for c in columns:
            rest = bad[c] & ~late[c]
            ttl = rest & ((logged.status == EXPIRED) != (made.status == EXPIRED))
            transformed = view.sql is not None or bool(view.aggregates)
            other = {TRANSFORM if transformed else VALUE: rest & ~ttl}
            self.tally.add(view, c, counted[c], **{LATE: bad[c] & late[c], TTL: ttl, **other})

    def _compare_versions(
        self, view: View, by_right: View, logged: _Cells, counted: dict[str, Any], numbers: Any
    ) -> None:
        types = {column.name: column.datatype for column in view.features}
        right = {column.name: column.datatype for column in by_right.features}
        fit = [c for c in counted if right.get(c) == types[c]] if by_right.entity == view.entity else []
        made = self._recomputed(by_right, fit, numbers, None) if fit else None
        for c, places in counted.items():
            same = logged.same(c, made) if made is not None and c in fit else np.zeros(len(numbers), bool)
            self.tally.add(view, c, places, **{VERSION: places & ~same})

    def _late(self, view: View, logged: _Cells, bad: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
        """Return where values are right by what the store had been given, by column."""
        late = {c: np.zeros_like(places) for c, places in bad.items()}
        any_bad = np.logical_or.reduce([*bad.values()])
        for known in (found[known_first(view.name)], found[known_last(view.name)]):
            times, there = np.ma.getdata(known), ~np.ma.getmaskarray(known)
            for until in np.unique(times[any_bad & there]):
                (places,) = np.nonzero(any_bad & there & (times == until))
                made = self._recomputed(view, [*bad], found[_NUMBER][places], int(until))
                part = _Cells(logged.status[places], {c: logged.columns[c][places] for c in bad})
                for c in bad:
                    late[c][places] |= part.same(c, made)
        return late

    def _recomputed(self, view: View, columns: Sequence[str], numbers: Any, until: int | None) -> _Cells:
        """What a training set has of a view for some rows, of what had arrived by a time (UTC µs)."""
        if until == NOTHING:
            nothing = np.ma.array(np.zeros(len(numbers)), mask=True)
            return _Cells(np.full(len(numbers), MISSING, object), dict.fromkeys(columns, nothing))
        spine, out = self.folder / "spine.parquet", self.folder / "out.parquet"
        keys = ", ".join(quoted(key) for key in view.entity.keys)
        self.connection.register("__asked", {_NUMBER: np.ascontiguousarray(numbers)})
        with blaming("audit"):
            rows = f"SELECT {keys}, {AT} FROM {_ROWS} JOIN __asked USING ({_NUMBER}) ORDER BY {_NUMBER}"
            self.connection.execute(f"COPY ({rows}) TO {literal(str(spine))} (FORMAT parquet)")
        self.connection.unregister("__asked")
        known = None if until is None else _EPOCH + timedelta(microseconds=until)
        export(Spine(str(spine), AT), [view], out, as_of_known=known, resources=self.resources)
        own = {column: f"{view.name}__{column}" for column in columns}
        status = f"{view.name}__status"
        select = ", ".join(quoted(name) for name in (status, *own.values()))
        with blaming("audit"):
            found = self.connection.execute(f"SELECT {select} FROM read_parquet({literal(str(out))})")
            return _cells(found.fetchnumpy(), status, own)

    def fetch(self, columns: Sequence[str], where: str) -> dict[str, Any]:
        """Return columns of the rows, in their order."""
        select = ", ".join(quoted(column) for column in columns)
        with blaming("the log of served features"):
            sql = f"SELECT {select} FROM {_ROWS} {where} ORDER BY {_NUMBER}"
            return self.connection.execute(sql).fetchnumpy()


def _cells(found: dict[str, Any], status: str, columns: dict[str, str]) -> _Cells:
    return _Cells(
        np.asarray(np.ma.getdata(found[status]), object),
        {column: np.ma.asarray(found[name]) for column, name in columns.items()},
    )


def _equal_bits(one: Any, two: Any) -> Any:
    if one.dtype.kind == "f" and one.dtype == two.dtype:
        bits = np.dtype(f"u{one.dtype.itemsize}")
        one, two = np.ascontiguousarray(one), np.ascontiguousarray(two)
        return (one.view(bits) == two.view(bits)) | (np.isnan(one) & np.isnan(two))
    return np.asarray(one == two, bool)
