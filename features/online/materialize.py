"""Brings an online store up to what a view's source tells, in chunks that are each in whole or not at all.

A run reads what it has not read before: all of the files that are new, and of the others what has arrived
since. The store merges rows in any order and any number of times to the same state, so a run that was killed
is run again; it goes on behind the last chunk that is in.
"""

import fcntl
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from falaj._core import OnlineStore, OnlineView
from falaj.features.errors import DataError
from falaj.features.offline.history import DELETED, EVENT, KNOWN, SEQUENCE, create_history
from falaj.features.offline.resources import MOST, Resources, connect
from falaj.features.offline.sql import blaming, literal, quoted
from falaj.features.online.cursor import Cursor, Going, Read, check_order, cursor_of, files_now
from falaj.features.online.store import open_view
from falaj.features.source import CsvFiles, ParquetFiles
from falaj.features.view import View

Tell = Callable[[float], None]  # of the share of chunks that are in, 0 to 1
_CHUNK_BYTES = 64 << 20  # of the arrays of one, about
_ROW_BYTES = 40  # of a row's times, sequence, flags and keys, about
_VALUE_BYTES = {"FP32": 4, "BYTES": 64}  # about; others 8
_CHUNK = "__chunk"
_FILE_SHIFT = 40  # rows of a file are numbered below 2**40, as sql.parquet_sql does


@dataclass(frozen=True)
class Materialized:
    """What a run did.

    Attributes:
        rows: That were read and handed to the store.
        entities: Whose rows changed by it.
        without_key: Rows with a null in their key, which are nobody's.
        until_us: What had arrived by then is in the store now.
        resumed: Whether it went on where another had been ended.
    """

    view: str
    version: int
    rows: int
    entities: int
    without_key: int
    until_us: int
    resumed: bool


def materialize_views(
    views: Sequence[View],
    store: OnlineStore,
    folder: Path,
    *,
    until_us: int | None = None,
    rebuild: bool = False,
    resources: Resources = MOST,
    tell: Tell | None = None,
) -> list[Materialized]:
    """Materialise views one after the other.

    Args:
        folder: Where chunks lie meanwhile.
        rebuild: Empty the views first; until they are full again their entities are missing.

    Raises:
        DataError, DefinitionError: See `materialize`; the views before are in. Or another run is in `folder`.
    """
    with _alone(folder) as scratch:
        done = []
        for place, view in enumerate(views):
            if rebuild and (view.name, view.version) in store.views():
                store.drop_view(view.name, view.version)

            def told(share: float, place: int = place) -> None:
                if tell is not None:
                    tell((place + share) / len(views))

            own = scratch / str(place)
            own.mkdir()
            with connect(resources, str(own)) as connection:
                online = open_view(store, view)
                done.append(materialize(view, online, connection, own, until_us=until_us, tell=told))
        return done


@contextmanager
def _alone(folder: Path) -> Iterator[Path]:
    """A folder for chunks, which is not left behind for good by a run that is killed."""
    scratch = folder / ".materialize"
    with (folder / ".materialize.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataError(f"{folder}: another run of materialize is under way there") from error
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def materialize(
    view: View,
    online: OnlineView,
    connection: duckdb.DuckDBPyConnection,
    scratch: Path,
    *,
    until_us: int | None = None,
    chunk_rows: int | None = None,
    tell: Tell | None = None,
) -> Materialized:
    """Write to a store what a view's source has and the store has not.

    Args:
        scratch: A folder for chunks meanwhile, that nothing else uses.
        until_us: Only what had arrived by then, UTC µs, inclusive; None: by now.
        chunk_rows: In memory at a time; None: as many as take about 64 MiB.

    Raises:
        DataError: The source cannot be read, or its files are in another order than when they were read.
        DefinitionError: The definition does not fit the source.
    """
    cursor = cursor_of(online.cursor())
    files = files_now(view)
    check_order(view, cursor.read.files, files)
    plan, resumed = _plan(cursor, Read(files, until_us), duckdb.__version__)
    relation = _new_rows(connection, view, cursor.read, plan.read)
    rows, without_key = _count(connection, view, relation)
    if not resumed:
        plan = replace(plan, chunks=max(1, -(-rows // (chunk_rows or _chunk_rows(view)))))
    chunks = _divide(connection, view, relation, plan.chunks, scratch)
    entities = 0
    for number in range(plan.done, plan.chunks):
        last = number + 1 == plan.chunks
        told = Cursor(plan.read) if last else Cursor(cursor.read, replace(plan, done=number + 1))
        with blaming(f"{view}, chunk {number}"):
            arrays = connection.execute(f"SELECT * FROM {chunks(number)}").fetchnumpy()
        entities += _write(view, online, arrays, told.to_bytes())
        if tell is not None:
            tell((number + 1) / plan.chunks)
    assert plan.read.until_us is not None
    return Materialized(view.name, view.version, rows, entities, without_key, plan.read.until_us, resumed)


def _plan(cursor: Cursor, wanted: Read, divided_by: str) -> tuple[Going, bool]:
    """The run to make, its chunks not yet counted; or the one that was ended, where it was the same."""
    going = cursor.going
    if (
        going is not None
        and going.divided_by == divided_by
        and going.read.files == wanted.files
        and wanted.until_us in (None, going.read.until_us)
    ):
        return going, True
    until = time.time_ns() // 1000 if wanted.until_us is None else wanted.until_us
    # A store is never taken back: what has been read stays, and later runs go on from there.
    read = Read(wanted.files, max(until, cursor.read.until_us or until))
    return Going(read, chunks=1, done=0, divided_by=divided_by), False


def _new_rows(connection: duckdb.DuckDBPyConnection, view: View, before: Read, now: Read) -> str:
    """Return SQL for the rows of `now` that `before` does not have."""
    since = "" if before.until_us is None else f" AND {KNOWN} > {before.until_us}"
    until = f"{KNOWN} <= {now.until_us}"
    if view.sql is not None:
        # A transformation may make new rows of old files.
        create_history(connection, view, "__new")
        return f"(SELECT * FROM __new WHERE {until}{since if before.files == now.files else ''})"
    parts = []
    for place, file in enumerate(now.files):
        name = f"__new_{place}"
        kind = CsvFiles if isinstance(view.source, CsvFiles) else ParquetFiles
        create_history(connection, replace(view, source=kind(file.path)), name)
        number = f" REPLACE (({SEQUENCE} + {place << _FILE_SHIFT})::BIGINT AS {SEQUENCE})"
        columns = "*" + (number if view.sequence is None else "")
        is_new = file not in before.files
        parts.append(f"SELECT {columns} FROM {name} WHERE {until}{'' if is_new else since}")
    return f"({' UNION ALL '.join(parts)})"


def _count(connection: duckdb.DuckDBPyConnection, view: View, relation: str) -> tuple[int, int]:
    whole = _whole_key(view)
    with blaming(f"{view}, source"):
        sql = f"SELECT count(*) FILTER ({whole}), count(*) FILTER (NOT ({whole})) FROM {relation}"
        counted = connection.execute(sql).fetchone()
    assert counted is not None
    return counted[0], counted[1]


def _whole_key(view: View) -> str:
    return " AND ".join(f"{quoted(key)} IS NOT NULL" for key in view.entity.keys)


def _chunk_rows(view: View) -> int:
    values = sum(_VALUE_BYTES.get(column.datatype, 8) + 1 for column in view.columns)
    return max(1, _CHUNK_BYTES // (_ROW_BYTES + values))


def _divide(
    connection: duckdb.DuckDBPyConnection, view: View, relation: str, chunks: int, scratch: Path
) -> Callable[[int], str]:
    """Divide the rows by their entity, so that each is written in one chunk; return SQL for each chunk."""
    rows = f"(SELECT * FROM {relation} WHERE {_whole_key(view)})"
    if chunks == 1:
        return lambda number: rows
    keys = ", ".join(quoted(key) for key in view.entity.keys)
    sql = f"SELECT *, (hash({keys}) >> 16) % {chunks} AS {_CHUNK} FROM {rows}"
    folder = scratch / "chunks"
    connection.execute(
        "SET preserve_insertion_order = false"
    )  # the store does not care, and memory is bounded
    with blaming(f"{view}, source"):
        connection.execute(
            f"COPY ({sql}) TO {literal(str(folder))} "
            f"(FORMAT parquet, COMPRESSION uncompressed, PARTITION_BY ({_CHUNK}))"
        )

    def chunk(number: int) -> str:
        found = folder / f"{_CHUNK}={number}"
        if not found.is_dir():
            return f"{rows} WHERE false"
        return f"read_parquet({literal(str(found / '*.parquet'))}, hive_partitioning = false)"

    return chunk


def _write(view: View, online: OnlineView, arrays: Mapping[str, Any], cursor: bytes) -> int:
    masks = {name: np.ma.getmaskarray(array) for name, array in arrays.items()}

    def plain(name: str) -> Any:
        array = arrays[name]
        return array.data if isinstance(array, np.ma.MaskedArray) else array

    columns = [column.name for column in view.columns]
    return online.write(
        [plain(key) for key in view.entity.keys],
        plain(EVENT),
        plain(KNOWN),
        plain(SEQUENCE),
        plain(DELETED),
        [plain(name) for name in columns],
        [masks[name] if masks[name].any() else None for name in columns],
        time.time_ns() // 1000,
        cursor,
    )
