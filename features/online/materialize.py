"""Brings an online store up to what a view's source tells, in chunks that are each in whole or not at all.

A run reads what it has not read before: all of the files that are new, and of the others what has arrived
since. Bad rows are kept apart. The store merges rows in any order and any number of times to the same
state, so a run that was killed is run again; it goes on behind the last chunk that is in.

Events of windows that have no ids are the exception: they count as often as they are written. So a run that
was killed is done to its end before another is begun, and a file that has changed since is refused.
"""

import fcntl
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from falaj._core import OnlineStore, OnlineView
from falaj.features.check_report import is_stale
from falaj.features.checks import Checked, check
from falaj.features.errors import DataError
from falaj.features.offline.history import DELETED, EVENT, EVENT_ID, KNOWN, SEQUENCE
from falaj.features.offline.resources import MOST, Resources, connect
from falaj.features.online.arrivals import Source
from falaj.features.online.chunks import column_of, create_answering, divided_by, pieces, read_chunks
from falaj.features.online.cursor import (
    Cursor,
    Going,
    Read,
    check_once,
    counts_each_write,
    cursor_of,
    files_now,
)
from falaj.features.online.store import open_view
from falaj.features.quarantine import write_run
from falaj.features.source import PushedRows
from falaj.features.view import View

if TYPE_CHECKING:
    import pyarrow as pa

Tell = Callable[[float], None]  # of the share of chunks that are in, 0 to 1
_CHUNK_BYTES = 64 << 20  # of the arrays of one, about
_ROW_BYTES = 40  # of a row's times, sequence, flags and keys, about
_VALUE_BYTES = {"FP32": 4, "BYTES": 64}  # about; others 8


@dataclass(frozen=True)
class Materialized:
    """What a run did.

    Attributes:
        rows: Good ones, that were handed to the store.
        entities: Whose rows changed by it.
        bad: Rows that were not, because of what they are, and that no run told before.
        reasons: Of these, how many for each reason.
        quarantined: The file that has them; the last of two where a run was done to its end first.
        until_us: What had arrived by then is in the store now.
        newest_us: When the newest row that was ever read became known; None where there was none.
        stale: Whether that is longer ago than the view's freshness allows; None where it demands none.
        resumed: Whether it went on where another had been ended.
    """

    view: str
    version: int
    rows: int
    entities: int
    bad: int
    reasons: dict[str, int]
    quarantined: str | None
    until_us: int
    newest_us: int | None
    stale: bool | None
    resumed: bool


def materialize_views(
    views: Sequence[View],
    store: OnlineStore,
    folder: Path,
    *,
    quarantine: Path | None = None,
    until_us: int | None = None,
    rebuild: bool = False,
    resources: Resources = MOST,
    tell: Tell | None = None,
) -> list[Materialized]:
    """Materialise views one after the other.

    Args:
        folder: Where chunks lie meanwhile.
        quarantine: Where bad rows are kept, of this store alone; None: in `folder`.
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
                kept = quarantine or folder / "quarantine"
                done.append(materialize(view, online, connection, own, kept, until_us=until_us, tell=told))
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
    quarantine: Path,
    *,
    until_us: int | None = None,
    chunk_rows: int | None = None,
    write_rows: int | None = None,
    tell: Tell | None = None,
) -> Materialized:
    """Write to a store what a view's source has and the store has not.

    Args:
        scratch: A folder for chunks meanwhile, that nothing else uses.
        quarantine: A folder for bad rows, of this store alone; see quarantine.py.
        until_us: Only what had arrived by then, UTC µs, inclusive; None: by now.
        chunk_rows: In memory at a time; None: as many as take about 64 MiB.
        write_rows: Handed to the store at a time, or those of one entity; None: as many as it likes best.

    Raises:
        DataError: The source cannot be read, or its files are in another order than when they were read.
        DefinitionError: The definition does not fit the source.
    """
    if isinstance(view.source, PushedRows):
        from falaj.features.pushed_log import pinned

        view = pinned(view, scratch / "pushed")
    cursor, files = cursor_of(online.cursor()), files_now(view)
    check_once(view, cursor, files, divided_by())
    going = cursor.going if counts_each_write(view) else None
    source = Source(connection, view, scratch, cursor.read, files if going is None else going.read.files)
    plan, resumed = _plan(view, cursor, source, until_us)
    checked = check(connection, view, source.parts, source.window(cursor.read, plan.read))
    file, reasons = write_run(connection, view, checked, quarantine, cursor.read.runs + 1)
    newest = max(
        (time for time in (cursor.read.newest_us, checked.newest_us) if time is not None), default=None
    )
    read = replace(plan.read, runs=cursor.read.runs + 1, newest_us=newest)
    at_once = write_rows or _rows_in(online.write_bytes, view)
    most_rows = chunk_rows or _rows_in(_CHUNK_BYTES, view)
    if counts_each_write(view):  # a chunk that was ended must not be written again: it is one write
        most_rows, at_once = min(most_rows, at_once), max(checked.good_rows, 1)
    if not resumed and checked.good_rows > most_rows:
        plan = _answering(view, plan)
    relation, rows = checked.good, checked.good_rows
    if plan.divided_by == divided_by(answering=True):
        assert read.until_us is not None
        relation, rows = create_answering(connection, view, relation, rows, read.until_us)
    if not resumed:
        plan = replace(plan, read=read, chunks=max(1, -(-rows // most_rows)))
    ordered, wanted = plan.chunks > 1 or rows > at_once, range(plan.done, plan.chunks)
    chunks = read_chunks(connection, view, relation, rows, wanted, plan.chunks, ordered=ordered)
    with closing(chunks):
        entities = _write_chunks(view, online, chunks, cursor.read, replace(plan, read=read), at_once, tell)
    done = _done(view, read, checked, file, reasons, entities, resumed)
    if going is None or (read.files == files and done.until_us >= (until_us or done.until_us)):
        return done
    # The one that was killed is done; this is what is new since.
    (scratch / "rest").mkdir()
    again = partial(materialize, until_us=until_us, chunk_rows=chunk_rows, write_rows=write_rows)
    return _both(done, again(view, online, connection, scratch / "rest", quarantine))


def _done(
    view: View,
    read: Read,
    checked: Checked,
    file: Path | None,
    reasons: dict[str, int],
    entities: int,
    resumed: bool,
) -> Materialized:
    assert read.until_us is not None
    return Materialized(
        view=view.name,
        version=view.version,
        rows=checked.good_rows,
        entities=entities,
        bad=sum(reasons.values()),
        reasons=reasons,
        quarantined=None if file is None else str(file),
        until_us=read.until_us,
        newest_us=read.newest_us,
        stale=is_stale(view, read.newest_us),
        resumed=resumed,
    )


def _both(first: Materialized, second: Materialized) -> Materialized:
    reasons = Counter(first.reasons) + Counter(second.reasons)
    return replace(
        second,
        rows=first.rows + second.rows,
        entities=first.entities + second.entities,
        bad=first.bad + second.bad,
        reasons=dict(sorted(reasons.items())),
        quarantined=second.quarantined or first.quarantined,
        resumed=True,
    )


def _plan(view: View, cursor: Cursor, source: Source, until_us: int | None) -> tuple[Going, bool]:
    """The run to make, its chunks not yet counted; or the one that was ended, if it is to be gone on with."""
    going = cursor.going
    if going is not None and going.divided_by in (divided_by(), divided_by(answering=True)):
        ended = going.read.until_us
        assert ended is not None
        same = until_us in (None, ended) and going.read.files == source.seen(ended)
        if same or counts_each_write(view):
            return going, True
    until = source.begun_us if until_us is None else until_us
    # A store is never taken back: what has been read stays, and later runs go on from there.
    until = max(until, cursor.read.until_us or until)
    return Going(Read(source.seen(until), until), chunks=1, done=0, divided_by=divided_by()), False


def _answering(view: View, plan: Going) -> Going:
    """A plan for those rows alone that can still answer, where nobody can ask of a time before its end."""
    assert plan.read.until_us is not None
    if view.aggregates or plan.read.until_us > time.time_ns() // 1000:
        return plan
    return replace(plan, divided_by=divided_by(answering=True))


def _write_chunks(
    view: View,
    online: OnlineView,
    chunks: Iterable["pa.Table"],
    before: Read,
    plan: Going,
    at_once: int,
    tell: Tell | None,
) -> int:
    """Write the chunks that are not in yet; return how many entities changed."""
    entities, until = 0, plan.read.until_us
    for number, chunk in enumerate(chunks, plan.done):
        last = number + 1 == plan.chunks
        told = Cursor(plan.read) if last else Cursor(before, replace(plan, done=number + 1))
        divided = pieces(view, chunk, at_once)
        # Only the last has the cursor: a chunk that was ended is written again.
        entities += sum(_write(view, online, piece, until, None) for piece in divided[:-1])
        entities += _write(view, online, divided[-1], until, told.to_bytes())
        if tell is not None:
            tell((number + 1) / plan.chunks)
    return entities


def _rows_in(size: int, view: View) -> int:
    values = sum(_VALUE_BYTES.get(column.datatype, 8) + 1 for column in view.written)
    return max(1, size // (_ROW_BYTES + values))


def _write(
    view: View, online: OnlineView, table: "pa.Table", until_us: int | None, cursor: bytes | None
) -> int:
    inputs = {column.name: column.datatype for column in view.inputs}
    if view.event_id is not None:
        inputs[EVENT_ID] = "BYTES"
    columns = [column_of(table, name, of) for name, of in inputs.items()]
    others = {**view.entity.keys, EVENT: "INT64", KNOWN: "INT64", SEQUENCE: "INT64", DELETED: "BOOL"}
    *keys, event, known, sequence, deleted = (column_of(table, *each)[0] for each in others.items())
    now = time.time_ns() // 1000
    return online.write(
        keys,
        event,
        known,
        sequence,
        deleted,
        [values for values, _ in columns],
        [nulls for _, nulls in columns],
        now if until_us is None else min(now, until_us),  # it may be read as of then, too
        cursor,
    )
