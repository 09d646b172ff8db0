"""Training sets: a spine with what was known of its entities at its times, and how that came about."""

import os
import tempfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import duckdb

from falaj.features.errors import DataError, DefinitionError
from falaj.features.identity import content_hash, meaning, micros_of, view_of
from falaj.features.offline.history import EVENT, KNOWN, create_history
from falaj.features.offline.manifest import FileSeen, Manifest, ViewJoined, read_manifest, see, see_all
from falaj.features.offline.point_in_time import EXPIRED, MISSING, PRESENT, Joined, join_sql, late_sql
from falaj.features.offline.progress import Tell, told_how_far
from falaj.features.offline.resources import MOST, Resources, connect
from falaj.features.offline.spine import Spine, create_spine
from falaj.features.offline.sql import blaming, literal, quoted
from falaj.features.view import View

_SPINE = "__spine"
# Of Parquet; fixed, so that the same rows are the same bytes.
_ROW_GROUP = 122_880


def export(
    spine: Spine,
    views: Sequence[View],
    out: Path,
    *,
    as_of_known: datetime | None = None,
    resources: Resources = MOST,
    tell: Tell | None = None,
) -> Manifest:
    """Write a spine with its features as Parquet, and its manifest beside it as `<out>.manifest.json`.

    The spine's columns come first, its rows and their order as they are. Each view adds `<view>__status`,
    which is `present`, `missing` or `expired`, and `<view>__<column>` for each of its columns, null where the
    status is another than `present`. Nothing is there under the name `out` before it is complete.

    Args:
        as_of_known: Use only what had arrived by then, with its time zone; None: all that is there.
        tell: Is told how far the join has come, see progress.py.

    Raises:
        DataError: The spine or a source cannot be read, or does not fit.
        DefinitionError: Two views have one name, or a view's definition does not fit its source.
    """
    return _export(spine, views, out, known_until(as_of_known), resources, tell)


def export_again(
    manifest: Path, out: Path, *, resources: Resources = MOST, tell: Tell | None = None
) -> Manifest:
    """Make an export again of the same files, as its manifest tells.

    Raises:
        DataError: A source has changed since, or what was made now has other bytes.
    """
    told = read_manifest(manifest)
    if told.spark is not None:
        raise DataError(f"{manifest}: tells what Spark made, whose bytes differ from run to run")
    for seen in (*told.spine_files, *(file for view in told.views for file in view.files)):
        if not Path(seen.path).exists() or see(seen.path) != seen:
            raise DataError(f"{seen.path}: is not what it was when {manifest} was written")
    views = [view_of(view.meaning) for view in told.views]
    made = _export(Spine(told.spine, told.spine_time), views, out, told.as_of_known_us, resources, tell)
    if made.out.sha256 != told.out.sha256:
        by = f"DuckDB {made.duckdb}, was {told.duckdb}"
        raise DataError(f"{out}: sha256 {made.out.sha256}, {manifest} tells {told.out.sha256} ({by})")
    return made


def _export(
    spine: Spine,
    views: Sequence[View],
    out: Path,
    until: int | None,
    resources: Resources,
    tell: Tell | None,
) -> Manifest:
    joined = [Joined(view, f"__history_{i}") for i, view in enumerate(views)]
    if not out.parent.is_dir():
        raise DataError(f"{out.parent}: no such folder")
    with tempfile.TemporaryDirectory(prefix=".falaj-export-", dir=out.parent) as scratch:
        with connect(resources, scratch) as connection:
            columns = create_spine(connection, spine, keys_of(views), _SPINE)
            columns += added_columns(columns, joined)
            for each in joined:
                create_history(connection, each.view, each.history)
            made = Path(scratch) / "out.parquet"
            options = f"FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {_ROW_GROUP}"
            sql = join_sql(_SPINE, joined, until)
            with blaming("export"), told_how_far(connection, tell):
                connection.execute(f"COPY ({sql}) TO {literal(str(made))} ({options})")
            told = tuple(_view_joined(connection, each, made, until) for each in joined)
            (rows,) = _row(connection, f"SELECT count(*) FROM read_parquet({literal(str(made))})")
        written = see(made)
        manifest = Manifest(
            spine=spine.given,
            spine_time=spine.time,
            spine_files=() if spine.file is None else see_all(spine.file),
            as_of_known_us=until,
            views=told,
            rows=rows,
            columns=tuple(columns),
            out=FileSeen(str(out), written.bytes, written.sha256),
            duckdb=duckdb.__version__,
        )
        beside = Path(scratch) / "manifest.json"
        manifest.write(beside)
        os.replace(beside, f"{out}.manifest.json")
        os.replace(made, out)
    return manifest


def known_until(as_of_known: datetime | None) -> int | None:
    """Return a time in UTC microseconds. Raises DataError where it is naive."""
    if as_of_known is None:
        return None
    if as_of_known.tzinfo is None:
        raise DataError(f"as_of_known: expected a time with its time zone, got {as_of_known}")
    return micros_of(as_of_known)


def keys_of(views: Sequence[View]) -> dict[str, str]:
    """Return the keys of all views and their datatypes. Raises DefinitionError where two views differ."""
    keys: dict[str, str] = {}
    for view in views:
        for key, datatype in view.entity.keys.items():
            if keys.setdefault(key, datatype) != datatype:
                raise DefinitionError(f"{view}: key {key!r}: is {datatype}, and {keys[key]} in another view")
    return keys


def added_columns(columns: list[str], joined: Sequence[Joined]) -> list[str]:
    """Return the columns that views add to a spine's. Raises an error where a name would be there twice."""
    names = [each.view.name for each in joined]
    for name in names:
        if names.count(name) > 1:
            raise DefinitionError(f"view {name}: is there more than once; its columns would have one name")
    added = [
        name
        for each in joined
        for name in (each.status, *(each.column(column.name) for column in each.view.columns))
    ]
    taken = {column.lower() for column in columns}  # DuckDB does not tell them apart by case
    for name in added:
        if name in taken:
            raise DataError(f"spine: has a column {name!r}, which is a feature's name")
    return added


def _view_joined(
    connection: duckdb.DuckDBPyConnection, joined: Joined, made: Path, until: int | None
) -> ViewJoined:
    view = joined.view
    status = quoted(joined.status)
    counts = [f"count(*) FILTER ({status} = '{each}')" for each in (PRESENT, MISSING, EXPIRED)]
    for column in view.columns:
        name = quoted(joined.column(column.name))
        counts.append(f"count(*) FILTER ({status} = '{PRESENT}' AND {name} IS NULL)")
    found = _row(connection, f"SELECT {', '.join(counts)} FROM read_parquet({literal(str(made))})")
    history = f"SELECT count(*), count(*) FILTER ({EVENT} > {KNOWN}) FROM {joined.history}"
    rows, ahead = _row(connection, history)
    (late,) = _row(connection, late_sql(_SPINE, joined, until))
    told = meaning(view)
    return ViewJoined(
        content_hash=content_hash(told),
        meaning=told,
        files=see_all(view.source.glob),
        history_rows=rows,
        ahead=ahead,
        present=found[0],
        missing=found[1],
        expired=found[2],
        late=late,
        null={column.name: count for column, count in zip(view.columns, found[3:], strict=True)},
    )


def _row(connection: duckdb.DuckDBPyConnection, sql: str) -> tuple[int, ...]:
    with blaming("export"):
        found = connection.execute(sql).fetchone()
    assert found is not None
    return tuple(found)
