"""The log of what models were served with: Parquet files, each of one model version and its definitions.

A row is a row of a request. Its columns: REQUEST, the request's id; ROW, its number there; AT, the time of
the look-up; IS_STALE, whether the request was answered so; the model's keys; of each view `<view>__status`,
which is `present`, `missing`, `expired` or `stale` (the store did not answer), and what the store had been
given by then (see given.py); of each feature `<view>__<column>`, null where nothing was found, and whether
the request brought it itself. The definitions are in the file's metadata.
"""

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from falaj.features.binding import Binding
from falaj.features.datatypes import DUCKDB_TYPES
from falaj.features.durable import put
from falaj.features.errors import DataError
from falaj.features.identity import content_hash, meaning, view_of
from falaj.features.offline.sql import blaming, literal, quoted
from falaj.features.served.given import UNKNOWN, Given
from falaj.features.view import View, keys_of

REQUEST, ROW, AT, IS_STALE = "__request", "__row", "__at", "__stale"
STALE = "stale"
_STATUSES = ["missing", "expired", "present", STALE]  # as the core numbers them
_NULL, _BROUGHT = 1, 2  # how the core tells of a feature
_AT_FIELD = 2  # of the core's fields
_META = "falaj"  # the key of a file's metadata
_FORMAT = 1
# A file has so many rows at most, but for what comes at once, and waits so many seconds for them.
_FILE_ROWS = 65_536
_FILE_SECONDS = 60.0


@dataclass(frozen=True)
class Served:
    """A model version and what it looks up, as a file of the log tells.

    Attributes:
        hashes: Of the views, in their order.
        features: The view's name and the column of each.
    """

    model: str
    version: int
    views: tuple[View, ...]
    hashes: tuple[str, ...]
    features: tuple[tuple[str, str], ...]


def served_of(model: str, version: int, binding: Binding) -> Served:
    """Return what is told of a model version that looks its features up."""
    views = tuple(bound.view for bound in binding.views)
    hashes = tuple(content_hash(meaning(view)) for view in views)
    return Served(model, version, views, hashes, tuple((f.view, f.column) for f in binding.features))


def known_first(view: str) -> str:
    """Return the column of what a view's store had been given at least; null: that is not known."""
    return f"__known_first__{view}"


def known_last(view: str) -> str:
    """Return the column of what it had been given at most."""
    return f"__known_last__{view}"


def brought(view: str, column: str) -> str:
    """Return the column that tells whether requests brought a feature themselves."""
    return f"__brought__{view}__{column}"


class LogWriter:
    """Writes files of one model version. Used by one thread at a time."""

    def __init__(self, folder: Path, served: Served) -> None:
        """Write into a folder, which is made with its parents."""
        self._folder = folder
        self._served = served
        self._connection = duckdb.connect(config={"threads": 1})
        self._connection.execute("SET TimeZone = 'UTC'")
        self._columns = _columns(served)
        self._make_table()
        self.waiting = 0  # rows that are in no file yet
        self._since = 0.0
        self._files = 0

    def add(self, arrays: Sequence[Any], given: Sequence[Given]) -> None:
        """Take rows over.

        Args:
            arrays: Of the core's ServedLog.
            given: Of each view, read after all of the rows were looked up.
        """
        if not self.waiting:
            self._since = time.monotonic()
        taken = {f"f{i}": array for i, array in enumerate(arrays)}
        for i, each in enumerate(given):
            taken[f"first{i}"], taken[f"last{i}"] = each.at(arrays[_AT_FIELD])
        self._connection.register("__taken", taken)
        select = ", ".join(_select(self._served))
        self._connection.execute(f"INSERT INTO rows SELECT {select} FROM __taken")
        self._connection.unregister("__taken")
        self.waiting += len(arrays[0])

    @property
    def is_due(self) -> bool:
        """Whether it is time to write a file."""
        late = time.monotonic() - self._since >= _FILE_SECONDS
        return self.waiting > 0 and (late or self.waiting >= _FILE_ROWS)

    def write(self) -> int:
        """Write the rows that wait as a file, which is on the disk when it has its name; return how many.

        Raises:
            OSError, duckdb.Error: It cannot be written. The rows are gone.
        """
        rows, self.waiting = self.waiting, 0
        if not rows:
            return 0
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
            name = f"{self._served.version}-{now}-{os.getpid()}-{self._files}.parquet"
            self._files += 1
            self._write(self._folder / f".{name}.new", self._folder / name)
        finally:
            self._make_table()
        return rows

    def close(self) -> None:
        """Give its memory back. What waits is gone."""
        self._connection.close()

    def _make_table(self) -> None:
        columns = ", ".join(f"{quoted(name)} {of}" for name, of in self._columns.items())
        self._connection.execute(f"CREATE OR REPLACE TABLE rows ({columns})")

    def _write(self, made: Path, path: Path) -> None:
        meta = literal(json.dumps(_plain(self._served), ensure_ascii=False))
        options = f"FORMAT parquet, COMPRESSION zstd, KV_METADATA {{{_META}: {meta}}}"
        try:
            self._connection.execute(f"COPY rows TO {literal(str(made))} ({options})")
            put(made, path)
        finally:
            made.unlink(missing_ok=True)


def read_served(files: Sequence[Path]) -> list[tuple[Served, list[Path]]]:
    """Return what the files of a log are of.

    Raises:
        DataError: One is none of the log, or another version of Falaj wrote it.
    """
    found: dict[str, list[Path]] = {}
    with duckdb.connect() as connection:
        for file in files:
            rows = f"parquet_kv_metadata({literal(str(file))})"
            with blaming(str(file)):
                sql = f"SELECT decode(value) FROM {rows} WHERE decode(key) = '{_META}'"
                told = connection.execute(sql).fetchone()
            if told is None:
                raise DataError(f"{file}: is no file of the log of served features")
            found.setdefault(told[0], []).append(file)
    return [(_served(json.loads(told), paths[0]), paths) for told, paths in found.items()]


def _plain(served: Served) -> dict[str, Any]:
    views = [
        {"definition": meaning(view), "hash": digest}
        for view, digest in zip(served.views, served.hashes, strict=True)
    ]
    return {
        "format": _FORMAT,
        "model": served.model,
        "version": served.version,
        "views": views,
        "features": served.features,
    }


def _served(plain: Mapping[str, Any], file: Path) -> Served:
    if plain["format"] != _FORMAT:
        raise DataError(f"{file}: is of format {plain['format']}, this Falaj has {_FORMAT}")
    return Served(
        plain["model"],
        plain["version"],
        tuple(view_of(view["definition"]) for view in plain["views"]),
        tuple(view["hash"] for view in plain["views"]),
        tuple((view, column) for view, column in plain["features"]),
    )


def _columns(served: Served) -> dict[str, str]:
    """The columns of a file, and DuckDB's types for them."""
    columns = {REQUEST: "VARCHAR", ROW: "INTEGER", AT: "TIMESTAMP WITH TIME ZONE", IS_STALE: "BOOLEAN"}
    columns.update({key: DUCKDB_TYPES[of] for key, of in keys_of(served.views).items()})
    for view in served.views:
        columns[f"{view.name}__status"] = "VARCHAR"
        columns[known_first(view.name)] = columns[known_last(view.name)] = "BIGINT"
    types = {(view.name, c.name): DUCKDB_TYPES[c.datatype] for view in served.views for c in view.features}
    for name, column in served.features:
        columns[f"{name}__{column}"] = types[name, column]
        columns[brought(name, column)] = "BOOLEAN"
    return columns


def _select(served: Served) -> list[str]:
    """SQL for the columns of a file, from the core's fields f0, f1 and so on in their order."""
    fields = iter(f"f{i}" for i in range(1 << 16))

    def take() -> str:
        return next(fields)

    select = [take(), take(), f"make_timestamptz({take()}::BIGINT)", f"{take()} <> 0"]
    select += [take() for _ in keys_of(served.views)]
    for i in range(len(served.views)):
        select.append(f"{_STATUSES}[{take()} + 1]")
        select += [f"nullif(first{i}, {UNKNOWN})", f"nullif(last{i}, {UNKNOWN})"]
    columns = _columns(served)
    for name, column in served.features:
        how, value = take(), take()
        of = columns[f"{name}__{column}"]
        if of in ("FLOAT", "DOUBLE"):
            value = f"coalesce({value}, 'nan'::{of})"  # of NumPy's arrays DuckDB takes NaN for null
        select += [f"CASE WHEN {how} = {_NULL} THEN NULL ELSE {value} END", f"{how} = {_BROUGHT}"]
    return select
