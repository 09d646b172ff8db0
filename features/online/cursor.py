"""How far a view's source has been read into an online store; kept in the store, with the rows themselves."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from falaj.features.errors import DataError
from falaj.features.source import PushedRows, SqlQuery
from falaj.features.view import View

_FORMAT = 1


@dataclass(frozen=True)
class FileRead:
    """A file of a source as it was when it was read; another size or time of change makes it another file.

    Of a query: its URL, how many rows had arrived, and a hash of them.
    """

    path: str
    bytes: int
    changed_ns: int


@dataclass(frozen=True)
class Read:
    """Everything in these files that had arrived by a time (UTC µs, inclusive).

    Attributes:
        runs: How many it took.
        newest_us: When the newest row of all became known.
    """

    files: tuple[FileRead, ...] = ()
    until_us: int | None = None  # None: nothing yet
    runs: int = 0
    newest_us: int | None = None


@dataclass(frozen=True)
class Going:
    """A run that has begun: what will have been read when it is done, and how many of its chunks are in.

    Attributes:
        divided_by: What divides the rows into chunks; a run that divides them otherwise cannot go on here.
    """

    read: Read
    chunks: int
    done: int
    divided_by: str


@dataclass(frozen=True)
class Cursor:
    """What has been read, and what is being read on top of it."""

    read: Read = field(default_factory=Read)
    going: Going | None = None

    def to_bytes(self) -> bytes:
        """Return it as `cursor_of` reads it."""
        return json.dumps({"format": _FORMAT, **asdict(self)}, ensure_ascii=False).encode()


def cursor_of(told: bytes | None) -> Cursor:
    """Return the cursor of a store. Raises DataError where another version of Falaj wrote it."""
    if told is None:
        return Cursor()
    plain = json.loads(told)
    if plain["format"] != _FORMAT:
        raise DataError(f"online store: its cursor is of format {plain['format']}, this Falaj has {_FORMAT}")
    going = plain["going"]
    return Cursor(
        _read(plain["read"]),
        None if going is None else Going(**{**going, "read": _read(going["read"])}),
    )


def files_now(view: View) -> tuple[FileRead, ...]:
    """Return the files of a view's source, in the order of their paths; none of a query.

    Raises:
        DataError: It is of files, and there are none.
    """
    if isinstance(view.source, SqlQuery):
        return ()
    # With DuckDB, which those who only read cursors need not have.
    from falaj.features.raw_rows import files_of

    kept = view.source.kept_as if isinstance(view.source, PushedRows) else str
    stats = [(kept(path), Path(path).stat()) for path in files_of(view)]
    return tuple(FileRead(path, stat.st_size, stat.st_mtime_ns) for path, stat in stats)


def check_order(view: View, before: Sequence[FileRead], now: Sequence[FileRead]) -> None:
    """Check that files which came since stand behind those that were read.

    Where a view has no `sequence`, the order of its files decides between rows of the same two times, and the
    rows in the store have been numbered by it.

    Raises:
        DataError: One stands before.
    """
    if view.ordered_by is not None or not before:
        return
    paths = [file.path for file in before]
    moved = [file.path for place, file in enumerate(now) if place < len(paths) and file.path != paths[place]]
    if moved:
        raise DataError(
            f"{view}, source: {moved[0]} does not stand where it did in the order of the files, which "
            "decides between rows of the same times. Declare a `sequence`, name new files behind the old "
            "ones, or use --rebuild"
        )


def counts_each_write(view: View) -> bool:
    """Whether a row that is written twice counts twice: an event without an id."""
    return bool(view.aggregates) and view.event_id is None


def check_once(view: View, cursor: Cursor, now: Sequence[FileRead], divided_by: str) -> None:
    """Check that a run writes no event again that counts each time.

    Raises:
        DataError: It would, because a file has changed since it was read, or chunks would be others.
    """
    if not counts_each_write(view):
        return
    remedy = "so events would count twice. Declare an `event_id`, or use --rebuild"
    going = cursor.going
    begun = () if going is None else going.read.files
    read = {file.path: file for file in (*cursor.read.files, *begun)}
    for file in now:
        if read.get(file.path, file) != file:
            raise DataError(f"{view}, source: {file.path} has changed since it was read, {remedy}")
    if going is not None and (not set(begun) <= set(now) or going.divided_by != divided_by):
        raise DataError(f"{view}: a run was ended midway, and its files or DuckDB are others now, {remedy}")
    if view.sql is not None and any(files and files != tuple(now) for files in (cursor.read.files, begun)):
        raise DataError(f"{view}, source: `sql` may make rows of old files again with the new ones, {remedy}")


def _read(plain: dict[str, Any]) -> Read:
    files = tuple(FileRead(**file) for file in plain["files"])
    # Stores from before there were checks have neither of the last two.
    return Read(files, plain["until_us"], plain.get("runs", 0), plain.get("newest_us"))
