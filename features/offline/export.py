"""Training sets: a spine with what was known of its entities at its times, and how that came about."""

import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from glob import glob
from pathlib import Path
from typing import Any

import duckdb

from falaj._core import __version__
from falaj.features.binding import as_on_missing
from falaj.features.errors import DataError, DefinitionError
from falaj.features.file_seen import FileSeen
from falaj.features.identity import content_hash, meaning, micros_of, view_of
from falaj.features.offline.history import EVENT, KNOWN, left_out
from falaj.features.offline.manifest import (
    Manifest,
    ViewJoined,
    applied,
    read_manifest,
    see,
    see_all,
    see_source,
)
from falaj.features.offline.point_in_time import (
    EXPIRED,
    LATE,
    MISSING,
    PRESENT,
    SPINE_ROW,
    SPINE_TIME,
    STATUS,
    Joined,
    PointInTime,
    row_of,
    status_sql,
)
from falaj.features.offline.progress import Tell, told_how_far
from falaj.features.offline.pushed import pinned_logs, pushed_rows
from falaj.features.offline.resources import MOST, Resources, connect
from falaj.features.offline.scratch import Scratch, kept_scratch
from falaj.features.offline.spine import Spine, create_spine, spine_types
from falaj.features.offline.sql import blaming, literal, quoted
from falaj.features.offline.staging import Staged
from falaj.features.offline.transformed import NONE, Computation, Transforms, write_computed
from falaj.features.source import PushedRows, SqlQuery
from falaj.features.view import View, keys_of

_GIVEN, _SPINE = "__given", "__spine"  # the spine as it is read, and as it was
_OUT, _COMPUTED = "out.parquet", "computed.parquet"  # in the scratch folder
# Of Parquet; fixed, so that the same rows are the same bytes.
_ROW_GROUP = 122_880
_SCRATCH_FORMAT = 1  # of what is kept in the scratch folder


def export(
    spine: Spine,
    views: Sequence[View],
    out: Path,
    *,
    as_of_known: datetime | None = None,
    transforms: Transforms = NONE,
    resources: Resources = MOST,
    tell: Tell | None = None,
) -> Manifest:
    """Write a spine with its features as Parquet, and its manifest beside it as `<out>.manifest.json`.

    The spine's columns come first, its rows and their order as they are. Each view adds `<view>__status`,
    which is `present`, `missing` or `expired`, and `<view>__<column>` for each of its columns, null where the
    status is another than `present`. What transforms compute comes last. Nothing is there under the name
    `out` before it is complete.

    Args:
        as_of_known: Use only what had arrived by then, with its time zone; None: all that is there.
        transforms: Are run on the features, with what serves where there is no value, and on columns of the
            spine that stand for what requests bring.
        tell: Is told how far the join has come, see progress.py.

    Raises:
        DataError: The spine or a source cannot be read, or does not fit.
        DefinitionError: Two views have one name, a view's definition does not fit its source, or a
            transform takes what is not there.
    """
    asked = Asked(spine, tuple(views), known_until(as_of_known), transforms)
    return _export(asked, out, resources, tell)


def export_again(
    manifest: Path, out: Path, *, resources: Resources = MOST, tell: Tell | None = None
) -> Manifest:
    """Make an export again of the same files, as its manifest tells.

    Raises:
        DataError: A source has changed since, and nothing was made; or what was made now has other bytes.
    """
    told = read_manifest(manifest)
    if told.spark is not None:
        raise DataError(f"{manifest}: tells what Spark made, whose bytes differ from run to run")
    for seen in (*told.spine_files, *(file for view in told.views for file in view.files)):
        if not Path(seen.path).exists() or see(seen.path) != seen:
            raise DataError(f"{seen.path}: is not what it was when {manifest} was written")
    views = tuple(view_of(view.meaning) for view in told.views)
    staged = [view.staged for view in told.views]
    transforms = Transforms(
        tuple(each.transform() for each in told.transforms), as_on_missing(told.on_missing)
    )
    asked = Asked(Spine(told.spine, told.spine_time), views, told.as_of_known_us, transforms)
    made = _export(asked, out, resources, tell, staged)
    if made.out.sha256 != told.out.sha256:
        by = f"DuckDB {made.duckdb}, was {told.duckdb}"
        raise DataError(f"{out}: sha256 {made.out.sha256}, {manifest} tells {told.out.sha256} ({by})")
    return made


@dataclass(frozen=True)
class Asked:
    """What to export; `until` in UTC µs."""

    spine: Spine
    views: tuple[View, ...]
    until: int | None
    transforms: Transforms


def _export(
    asked: Asked,
    out: Path,
    resources: Resources,
    tell: Tell | None,
    expected: Sequence[Staged | None] | None = None,
) -> Manifest:
    if not out.parent.is_dir():
        raise DataError(f"{out.parent}: no such folder")
    pushed = pushed_rows(asked.views, expected)
    decides = {**_deciding(asked, resources), "pushed": pushed}
    with (
        kept_scratch(out, decides) as scratch,
        connect(resources, str(scratch.spill)) as connection,
        told_how_far(connection, tell) as progress,
    ):
        views, logs = pinned_logs(asked.views, pushed, scratch.folder)
        joined = [Joined(view, f"__history_{i}") for i, view in enumerate(views)]
        columns = create_spine(connection, asked.spine, keys_of(views), _GIVEN)
        columns += added_columns(columns, joined)
        with blaming("spine"):
            connection.execute(f"CREATE TEMP TABLE {_SPINE} AS FROM {_GIVEN}")
        computation = Computation(asked.transforms, joined, spine_types(connection, _SPINE))
        columns += asked.transforms.outputs
        join = PointInTime(connection, _SPINE, scratch, resources, asked.until)
        parts = []
        for i, each in enumerate(joined):
            with progress.part(i / (len(joined) + 1), (i + 1) / (len(joined) + 1)) as step:
                parts.append(join.join(each, f"view-{i}.parquet", step))
        staged = [join.staged.get(each.history) or log for each, log in zip(joined, logs, strict=True)]
        if expected is not None:
            _check_staged(asked.views, expected, staged)
        with progress.part(len(joined) / (len(joined) + 1), 1.0):
            made = _write(connection, scratch, joined, parts, computation)
        told = zip(joined, parts, staged, strict=True)
        views_joined = [replace(_view_joined(connection, each, part), staged=of) for each, part, of in told]
        rows = _row(connection, f"SELECT count(*) FROM read_parquet({literal(str(made))})")[0]
        if _deciding(asked, resources)["files"] != decides["files"]:
            raise DataError("export: a file of the spine or of a view's source has changed while it was read")
        manifest = manifest_of(asked, see(made), out, views_joined, rows, columns)
        beside = scratch.path("manifest.json")
        manifest.write(beside)
        os.replace(beside, f"{out}.manifest.json")
        os.replace(made, out)
    return manifest


def manifest_of(
    asked: Asked, written: FileSeen, out: Path, views: list[ViewJoined], rows: int, columns: list[str]
) -> Manifest:
    """Return what is told of an export that was written, and will be `out`."""
    spine, of = asked.spine, asked.transforms
    return Manifest(
        spine=spine.given,
        spine_time=spine.time,
        spine_files=() if spine.file is None else see_all(spine.file),
        as_of_known_us=asked.until,
        views=tuple(views),
        rows=rows,
        columns=tuple(columns),
        out=FileSeen(str(out), written.bytes, written.sha256),
        duckdb=duckdb.__version__,
        transforms=tuple(map(applied, of.transforms)),
        on_missing=of.on_missing,
    )


def _check_staged(
    views: Sequence[View], before: Sequence[Staged | None], now: Sequence[Staged | None]
) -> None:
    for view, then, found in zip(views, before, now, strict=True):
        if then != found and then is not None and found is not None:
            what = "query" if isinstance(view.source, SqlQuery) else "log"
            same = "as many, of other values or in another order" if then.rows == found.rows else "other rows"
            raise DataError(
                f"{view}, source: its {what} gives {same} than when the manifest was written: "
                f"{found.rows} rows, sha256 {found.sha256}; it tells {then.rows}, {then.sha256}"
            )


def known_until(as_of_known: datetime | None) -> int | None:
    """Return a time in UTC microseconds. Raises DataError where it is naive."""
    if as_of_known is None:
        return None
    if as_of_known.tzinfo is None:
        raise DataError(f"as_of_known: expected a time with its time zone, got {as_of_known}")
    return micros_of(as_of_known)


def _deciding(asked: Asked, resources: Resources) -> dict[str, Any]:
    """All that decides what an export computes on its way. What SELECTs find is another thing each time."""
    spine, views = asked.spine, asked.views
    globs = [view.source.glob for view in views if not isinstance(view.source, SqlQuery | PushedRows)]
    globs += [] if spine.file is None else [spine.file]
    asks_again = any(isinstance(view.source, SqlQuery) for view in views)
    paths = [path for pattern in globs for path in sorted(glob(pattern, recursive=True))]
    stats = [(path, os.stat(path)) for path in paths]
    return {
        "format": _SCRATCH_FORMAT,
        "versions": [__version__, duckdb.__version__],
        "spine": [spine.given, spine.time, None if spine.file else uuid.uuid4().hex],
        "views": [meaning(view) for view in views],
        "queries": uuid.uuid4().hex if asks_again else None,
        "until": asked.until,
        "transforms": [asked.transforms.on_missing, *(each.identity for each in asked.transforms.transforms)],
        "memory": resources.memory,
        "files": [(path, stat.st_size, stat.st_mtime_ns) for path, stat in stats],
    }


def _write(
    connection: duckdb.DuckDBPyConnection,
    scratch: Scratch,
    joined: Sequence[Joined],
    parts: Sequence[Path],
    computation: Computation,
) -> Path:
    """Write the spine with what was joined and what is computed of that."""
    if scratch.has(_OUT):
        return scratch.path(_OUT)
    columns = {}
    for i, each in enumerate(joined):
        columns[each.status] = f"{status_sql(f'v{i}.{STATUS}')}"
        for column in each.view.features:
            columns[each.column(column.name)] = f"v{i}.{quoted(column.name)}"
    tables = [f"read_parquet({literal(str(part))}) AS v{i}" for i, part in enumerate(parts)]
    if computation.outputs:
        if not scratch.has(_COMPUTED):
            taken = {
                name: columns.get(name) or computation.value_sql(f"s.{quoted(name)}", name)
                for name in computation.taken
            }
            rows = _side_by_side(f"s.{SPINE_ROW}", taken, tables)
            with blaming("export"), scratch.making(_COMPUTED) as path:
                write_computed(connection, rows, computation, path)
        tables.append(f"read_parquet({literal(str(scratch.path(_COMPUTED)))}) AS c")
        columns.update({name: f"c.{quoted(name)}" for name in computation.outputs})
    rows = _side_by_side(f"s.* EXCLUDE ({SPINE_TIME}, {SPINE_ROW})", columns, tables)
    options = f"FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {_ROW_GROUP}"
    with blaming("export"), scratch.making(_OUT) as path:
        connection.execute(f"COPY ({rows}) TO {literal(str(path))} ({options})")
    return scratch.path(_OUT)


def _side_by_side(first: str, columns: Mapping[str, str], tables: Sequence[str]) -> str:
    """SQL for the spine beside tables that have the same rows in the same order."""
    select = ", ".join([first, *(f"{sql} AS {quoted(name)}" for name, sql in columns.items())])
    aliases = [table.rpartition(" ")[2] for table in tables]
    same = [f"s.{SPINE_ROW} IS NOT DISTINCT FROM {alias}.{SPINE_ROW}" for alias in aliases]
    wrong = literal("a row of the spine is not where it was: a bug")
    return (
        f"SELECT {select} FROM {' POSITIONAL JOIN '.join([f'{_SPINE} AS s', *tables])} "
        f"WHERE CASE WHEN {' AND '.join(same) or 'true'} THEN true ELSE error({wrong})::BOOLEAN END"
    )


def added_columns(columns: list[str], joined: Sequence[Joined]) -> list[str]:
    """Return the columns that views add to a spine's. Raises an error where a name would be there twice."""
    names = [each.view.name for each in joined]
    for name in names:
        if names.count(name) > 1:
            raise DefinitionError(f"view {name}: is there more than once; its columns would have one name")
    added = [
        name
        for each in joined
        for name in (each.status, *(each.column(column.name) for column in each.view.features))
    ]
    taken = {column.lower() for column in columns}  # DuckDB does not tell them apart by case
    for name in added:
        if name in taken:
            raise DataError(f"spine: has a column {name!r}, which is a feature's name")
    return added


def _view_joined(connection: duckdb.DuckDBPyConnection, joined: Joined, part: Path) -> ViewJoined:
    view = joined.view
    counts = [f"count(*) FILTER ({status_sql(STATUS)} = '{each}')" for each in (PRESENT, MISSING, EXPIRED)]
    counts.append(f"count(*) FILTER ({LATE})")
    for column in view.features:
        is_null = f"{status_sql(STATUS)} = '{PRESENT}' AND {quoted(column.name)} IS NULL"
        counts.append(f"count(*) FILTER ({is_null})")
    found = _row(connection, f"SELECT {', '.join(counts)} FROM read_parquet({literal(str(part))})")
    history = f"SELECT count(*), count(*) FILTER ({EVENT} > {KNOWN}) FROM {joined.history}"
    rows, ahead = _row(connection, history)
    told = meaning(view)
    return ViewJoined(
        content_hash=content_hash(told),
        meaning=told,
        files=see_source(view.source),
        history_rows=rows,
        ahead=ahead,
        present=found[0],
        missing=found[1],
        expired=found[2],
        late=found[3],
        bad=left_out(connection, view, joined.history),
        null={column.name: count for column, count in zip(view.features, found[4:], strict=True)},
    )


def _row(connection: duckdb.DuckDBPyConnection, sql: str) -> tuple[int, ...]:
    with blaming("export"):
        return row_of(connection, sql)
