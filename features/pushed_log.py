"""The log of pushed rows: a folder where rows are kept for good, in the order in which they came.

The folder has numbered segments. The last is `N.log`: frames, each with its size and checksum, each the rows
of one push. Those before are `N.parquet`, for good. `N.parquet` of the last segment is made anew where it is
to be read and rows have come since. One process at a time appends, or makes files: who has the file `lock`.

A frame that was not written whole can only be the last, and nobody was told that it is there: it is cut off.
"""

import fcntl
import hashlib
import os
import shutil
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
from pyarrow import parquet

from falaj._core import InvalidInput, Unavailable
from falaj.features.durable import put, sync
from falaj.features.errors import DataError
from falaj.features.offline.staging import Staged
from falaj.features.online.plain_rows import Arrays
from falaj.features.source import PUSHED_SEQUENCE, PushedRows
from falaj.features.view import View

SEGMENT_BYTES = 32 << 20  # of a log; the push after ends it, so it may be longer by one
_FRAME = struct.Struct("<4sIQI")  # _MAGIC, checksum of what follows, bytes behind the head, rows
_MAGIC = b"FJP1"
# Of zeros at a time behind the last frame: a write into them leaves the file system's own alone.
_ROOM = 1 << 20
_END = struct.Struct("<QQQ")  # in the lock's file: segment, and bytes and rows of it that are durable
_FIRST = 1


@dataclass(frozen=True)
class _Live:
    """The last segment. `end`: of its last whole frame, behind which are zeros or nothing."""

    path: Path
    number: int
    end: int
    rows: int


@contextmanager
def logged(view: View, arrays: Arrays) -> Iterator[None]:
    """Keep rows; they are durable where the context begins. It is for the write to the store.

    Where the store refuses them (InvalidInput) they are taken out again; where it fails otherwise they stay.

    Raises:
        DataError: The rows cannot be kept as they are, or the folder has rows of other columns.
        Unavailable: There is no such folder, or it cannot be written; the rows are not there.
    """
    source = view.source
    assert isinstance(source, PushedRows)
    folder, schema = Path(source.folder), schema_of(view)
    frame = _framed(_batch(view, schema, arrays).serialize().to_pybytes(), len(arrays.event))
    if not folder.is_dir():
        raise Unavailable(f"{view}: {_absent(folder)}")
    with _unavailable(folder), _locked(folder) as lock:
        live = _live(folder, lock, schema)
        if live.end >= SEGMENT_BYTES:
            live = _next(folder, live, schema)
        descriptor = os.open(live.path, os.O_WRONLY)
        try:
            _append(descriptor, live.end, frame)
            try:
                _note(lock, replace(live, end=live.end + len(frame), rows=live.rows + len(arrays.event)))
                yield
            except InvalidInput:
                _note(lock, live)
                os.fsync(lock)  # what is cut off must not be missed
                _cut(descriptor, live.end)
                raise
        finally:
            os.close(descriptor)


def pinned(view: View, at: Path, rows: int | None = None) -> View:
    """Return the view of pushed rows as they are now; another view as it is.

    Args:
        at: A folder of the caller's alone, where their files are to be found; emptied first.
        rows: Only so many, the first; None: all.

    Raises:
        DataError: The log cannot be read, or has fewer.
    """
    source = view.source
    if not isinstance(source, PushedRows):
        return view
    folder, left = Path(source.folder), rows
    shutil.rmtree(at, ignore_errors=True)
    at.mkdir(parents=True)
    with _shown(view):
        files = _files(view)
        for place, file in enumerate(files):
            found = parquet.read_metadata(file).num_rows
            wanted = found if left is None else min(found, left)
            left = None if left is None else left - wanted
            if place and not wanted:
                continue
            if wanted == found:
                _link(file, at / file.name, stays=place + 1 < len(files))
            else:
                _write(parquet.read_table(file).slice(0, wanted), at / file.name)
    if left:
        raise DataError(f"{view}, source: {folder}: has fewer rows than the {rows} that were there")
    return replace(view, source=replace(source, at=str(at)))


def rows_now(view: View) -> int | None:
    """Return how many rows a view's log has now; None where it has none. Raises DataError."""
    if not isinstance(view.source, PushedRows):
        return None
    with _shown(view):
        return sum(int(parquet.read_metadata(file).num_rows) for file in _files(view))


def staged(view: View) -> Staged | None:
    """Return what a pinned view reads; None of another."""
    source = view.source
    if not isinstance(source, PushedRows):
        return None
    digest, rows = hashlib.sha256(), 0
    for file in sorted(Path(source.at).glob("*.parquet")):
        rows += parquet.read_metadata(file).num_rows
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return Staged(rows, digest.hexdigest())


def schema_of(view: View) -> pa.Schema:
    """Return the columns of a view's pushed rows: times are UTC µs, event ids texts."""

    def of(datatype: str) -> pa.DataType:
        other = {"FP32": pa.float32(), "FP64": pa.float64(), "BYTES": pa.string(), "BOOL": pa.bool_()}
        return other.get(datatype) or pa.type_for_alias(datatype.lower())

    fields = [pa.field(key, of(datatype)) for key, datatype in view.entity.keys.items()]
    fields.append(pa.field(view.event_time, pa.int64()))
    fields += [] if view.known_time is None else [pa.field(view.known_time, pa.int64())]
    fields.append(pa.field(view.ordered_by or PUSHED_SEQUENCE, pa.int64()))
    fields += [] if view.deleted is None else [pa.field(view.deleted, pa.bool_())]
    return pa.schema([*fields, *(pa.field(each.name, of(each.datatype)) for each in view.written)])


def _batch(view: View, schema: pa.Schema, arrays: Arrays) -> pa.RecordBatch:
    known = [] if view.known_time is None else [arrays.known]
    deleted = [] if view.deleted is None else [arrays.deleted]
    whole = [*arrays.keys, arrays.event, *known, arrays.sequence, *deleted]
    values = [*((each, None) for each in whole), *zip(arrays.columns, arrays.nulls, strict=True)]
    try:
        columns = [
            pa.array(each, type=field.type, mask=null)
            for (each, null), field in zip(values, schema, strict=True)
        ]
    except ValueError as error:  # text that is not UTF-8
        raise DataError(f"{view}: a row cannot be kept: {error}") from error
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _framed(body: bytes, rows: int) -> bytes:
    told = struct.pack("<QI", len(body), rows)
    return _FRAME.pack(_MAGIC, zlib.crc32(body, zlib.crc32(told)), len(body), rows) + body


def _frames(data: bytes) -> Iterator[tuple[int, int, memoryview]]:
    """Give the end, the rows and the body of each whole frame, up to the first that is not."""
    at, view = 0, memoryview(data)
    while at + _FRAME.size <= len(data):
        magic, checksum, size, rows = _FRAME.unpack_from(data, at)
        body = view[at + _FRAME.size : at + _FRAME.size + size]
        told = struct.pack("<QI", size, rows)
        if magic != _MAGIC or len(body) != size or zlib.crc32(body, zlib.crc32(told)) != checksum:
            return
        at += _FRAME.size + size
        yield at, rows, body


@contextmanager
def _locked(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _live(folder: Path, lock: int, schema: pa.Schema) -> _Live:
    """Return the last segment, made where there is none. What a push that was killed left is cut off."""
    numbers = sorted(int(path.stem) for path in folder.glob("*.log"))
    for number in numbers[:-1]:  # it is in Parquet, or the next would not be there
        _path(folder, number, "log").unlink()
    if not numbers:
        if any(folder.glob("*.parquet")):
            raise DataError(f"{folder}: the log's last segment is gone")
        _begin(folder, _FIRST, schema)
        numbers = [_FIRST]
    path = _path(folder, numbers[-1], "log")
    told = _noted(lock, numbers[-1])
    with path.open("rb") as file:
        if told is None or not _is_end(file, told[0]):
            file.seek(0)
            found = [(end, rows) for end, rows, _ in _frames(file.read())]
            if not found or (told is not None and told[0] > found[-1][0]):
                raise DataError(f"{path}: is damaged behind byte {found[-1][0] if found else 0}")
            told = found[-1][0], sum(rows for _, rows in found)
            _truncate(path, told[0])
        file.seek(0)
        _, _, size, _ = _FRAME.unpack(file.read(_FRAME.size))
        there = pa.ipc.read_schema(pa.py_buffer(file.read(size)))
    if not there.equals(schema):
        if (numbers[-1], told[1]) == (_FIRST, 0):  # nothing was ever kept
            return _begun_anew(folder, lock, schema)
        raise DataError(f"{folder}: has rows of {_columns(there)}; expected {_columns(schema)}")
    return _Live(path, numbers[-1], *told)


def _begun_anew(folder: Path, lock: int, schema: pa.Schema) -> _Live:
    os.ftruncate(lock, 0)
    _path(folder, _FIRST, "parquet").unlink(missing_ok=True)
    end = _begin(folder, _FIRST, schema)
    return _Live(_path(folder, _FIRST, "log"), _FIRST, end, 0)


def _noted(lock: int, number: int) -> tuple[int, int] | None:
    """Return the bytes and rows of a segment that were durable; None where that was not told."""
    data = os.pread(lock, _END.size, 0)
    if len(data) < _END.size:
        return None
    of, end, rows = _END.unpack(data)
    return (end, rows) if of == number else None


def _is_end(file: BinaryIO, at: int) -> bool:
    """Whether no frame was begun there."""
    size = file.seek(0, os.SEEK_END)
    file.seek(at)
    return at <= size and not any(file.read(_FRAME.size))


def _note(lock: int, live: _Live) -> None:
    os.pwrite(lock, _END.pack(live.number, live.end, live.rows), 0)


def _append(descriptor: int, end: int, frame: bytes) -> None:
    """Write a frame durably, or nothing."""
    try:
        done = 0
        if end + len(frame) > os.fstat(descriptor).st_size:
            frame += bytes(_ROOM)
        while done < len(frame):
            done += os.pwrite(descriptor, memoryview(frame)[done:], end + done)
        os.fdatasync(descriptor)
    except OSError:
        with suppress(OSError):
            _cut(descriptor, end)
        raise


def _cut(descriptor: int, end: int) -> None:
    os.ftruncate(descriptor, end)
    os.fdatasync(descriptor)


def _truncate(path: Path, end: int) -> None:
    """Cut off what is behind; what is before is durable then, even of a push that was killed."""
    descriptor = os.open(path, os.O_WRONLY)
    try:
        _cut(descriptor, end)
    finally:
        os.close(descriptor)


def _next(folder: Path, live: _Live, schema: pa.Schema) -> _Live:
    """End a segment and begin another."""
    _show(folder, live, schema)
    end = _begin(folder, live.number + 1, schema)
    live.path.unlink()
    return _Live(_path(folder, live.number + 1, "log"), live.number + 1, end, 0)


def _begin(folder: Path, number: int, schema: pa.Schema) -> int:
    """Make a segment; return its end. What was renamed in the folder before is durable then, too."""
    frame, made = _framed(schema.serialize().to_pybytes(), 0), folder / "new"
    made.write_bytes(frame)
    sync(folder)
    put(made, _path(folder, number, "log"))
    return len(frame)


def _files(view: View) -> list[Path]:
    """Return the Parquet files that have all of a log's rows now, in order. The lock must be held."""
    assert isinstance(view.source, PushedRows)
    return sorted(Path(view.source.folder).glob("*.parquet"))


@contextmanager
def _shown(view: View) -> Iterator[None]:
    """All rows that are there are in Parquet while the context lasts, and none come. Raises DataError."""
    assert isinstance(view.source, PushedRows)
    folder, schema = Path(view.source.folder), schema_of(view)
    if not folder.is_dir():
        raise DataError(f"{view}, source: {_absent(folder)}")
    try:
        with _locked(folder) as lock:
            _show(folder, _live(folder, lock, schema), schema)
            yield
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{view}, source: {folder}: {error}") from error


def _show(folder: Path, live: _Live, schema: pa.Schema) -> None:
    """Have the last segment in Parquet as it is."""
    path = _path(folder, live.number, "parquet")
    if path.exists() and parquet.read_metadata(path).num_rows == live.rows:
        return
    data = live.path.read_bytes()[: live.end]
    frames = list(_frames(data))
    end = frames[-1][0] if frames else 0
    if end != live.end:
        raise DataError(f"{live.path}: is damaged behind byte {end}")
    bodies = [pa.py_buffer(body) for _, _, body in frames[1:]]
    table = pa.Table.from_batches([pa.ipc.read_record_batch(each, schema) for each in bodies], schema)
    made = folder / "new"
    _write(table, made)
    sync(made)
    made.rename(path)


def _write(table: pa.Table, path: Path) -> None:
    """Write rows so that the same are the same bytes. Of floats no bounds are told: NaN is in none."""
    bounded = [field.name for field in table.schema if not pa.types.is_floating(field.type)]
    parquet.write_table(
        table.combine_chunks(), path, compression="zstd", write_statistics=bounded, row_group_size=122_880
    )


def _link(file: Path, at: Path, *, stays: bool) -> None:
    """Have a file at another path too. `stays`: it is never replaced."""
    try:
        os.link(file, at)
    except OSError:  # another file system, or one without links
        if stays:
            at.symlink_to(file.resolve())
        else:
            shutil.copy2(file, at)


@contextmanager
def _unavailable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(f"{folder}: pushed rows cannot be kept: {error}") from error


def _path(folder: Path, number: int, kind: str) -> Path:
    return folder / f"{number:012}.{kind}"


def _absent(folder: Path) -> str:
    return f"no folder {folder}, where its rows are to be kept; `falaj features apply` makes it where it runs"


def _columns(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} {field.type}" for field in schema)
