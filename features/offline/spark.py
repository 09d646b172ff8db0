"""The same export on Spark: for histories that one machine does not hold."""

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from functools import reduce
from pathlib import Path

import duckdb
from pyspark import SparkContext
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as fn

from falaj.features.errors import DataError
from falaj.features.identity import content_hash, meaning
from falaj.features.offline.export import Asked, added_columns, known_until, manifest_of
from falaj.features.offline.history import EVENT, KNOWN, REASON
from falaj.features.offline.manifest import Manifest, ViewJoined, see_folder, see_source
from falaj.features.offline.point_in_time import EXPIRED, MISSING, PRESENT, SPINE_ROW, Joined
from falaj.features.offline.pushed import pinned_logs, pushed_rows
from falaj.features.offline.resources import MOST, Resources
from falaj.features.offline.spark_history import (
    History,
    blaming_spark,
    check_view,
    column_of,
    late_of,
    path_of,
    read_history,
    read_spine,
)
from falaj.features.offline.spark_join import join
from falaj.features.offline.spark_transformed import with_computed
from falaj.features.offline.spine import Spine
from falaj.features.offline.transformed import NONE, Computation, Transforms
from falaj.features.view import View, keys_of

_PARTS = "part-*.parquet"
# Of the export's own session, whatever those of the one that was given.
_SETTINGS = {
    "spark.sql.ansi.enabled": "true",  # what does not fit is an error, not a null
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.parquet.datetimeRebaseModeInRead": "CORRECTED",
    "spark.sql.parquet.datetimeRebaseModeInWrite": "CORRECTED",
}


def export(
    spine: Spine,
    views: Sequence[View],
    out: Path,
    *,
    as_of_known: datetime | None = None,
    transforms: Transforms = NONE,
    session: SparkSession | None = None,
) -> Manifest:
    """Write a spine with its features as a folder of Parquet files, and its manifest beside it.

    The rows, their order, the columns and the counts are those of the export by DuckDB. Unsigned integers
    come in the next wider type, UINT64 as DECIMAL(20, 0). The files `part-*.parquet`, in the order of their
    names, have the rows in theirs.

    Args:
        out: The folder. It and the sources are where this machine and all of Spark's find them by the same
            paths. An earlier export there is replaced.
        as_of_known: Use only what had arrived by then, with its time zone; None: all that is there.
        transforms: As in the export by DuckDB.
        session: Where it runs; its runtime settings are not used or changed. None: the one that this
            process has, or else a local one, made for it.

    Raises:
        DataError: The spine or a source cannot be read, or does not fit.
        DefinitionError: Two views have one name, a view's definition does not fit its source, or is not for
            Spark: its SQL cannot be translated, its kind of source is unknown there.
    """
    if session is None:
        with local_session() as made:
            return export(spine, views, out, as_of_known=as_of_known, transforms=transforms, session=made)
    for view in views:
        check_view(view)
    until = known_until(as_of_known)
    if not out.parent.is_dir():
        raise DataError(f"{out.parent}: no such folder")
    if out.is_dir() and not Path(f"{out}.manifest.json").exists():
        raise DataError(f"{out}: is a folder that no export made")
    session = session.newSession()
    for name, value in _SETTINGS.items():
        session.conf.set(name, value)
    with tempfile.TemporaryDirectory(prefix=".falaj-export-", dir=out.parent) as scratch:
        fixed, logs = pinned_logs(views, pushed_rows(views), Path(scratch))
        manifest = _export(session, Asked(spine, fixed, until, transforms), out, Path(scratch))
        told = zip(manifest.views, logs, strict=True)
        manifest = replace(manifest, views=tuple(replace(v, staged=v.staged or log) for v, log in told))
        manifest.write(Path(scratch) / "manifest.json")
        if out.exists():
            os.replace(out, Path(scratch) / "before")
        os.replace(Path(scratch) / "manifest.json", f"{out}.manifest.json")
        os.replace(Path(scratch) / "out", out)
    return manifest


@contextmanager
def local_session(resources: Resources = MOST) -> Iterator[SparkSession]:
    """A session on this machine alone, not heard by others; stopped when the context is left.

    A process has one Spark at most: where it runs one already, the session is of that, as it is, and goes on.

    Raises:
        DataError: Spark cannot be started.
    """
    if SparkContext._active_spark_context is not None:
        yield SparkSession.Builder().getOrCreate()
        return
    session = _start(resources)
    try:
        yield session
    finally:
        session.stop()


def _start(resources: Resources) -> SparkSession:
    needed = "it needs Java 17 or newer"
    if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        raise DataError(f"Spark: no `java` in PATH, and no JAVA_HOME; {needed}")
    threads = resources.threads or os.cpu_count() or 1
    builder = (
        SparkSession.Builder()
        .master(f"local[{threads}]")
        .appName("falaj")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.sql.shuffle.partitions", str(2 * threads))
    )
    if resources.memory is not None:
        builder = builder.config("spark.driver.memory", _memory(resources.memory))
    with blaming_spark(f"Spark cannot be started; {needed}"):
        session = builder.getOrCreate()
    if "PYSPARK_PYTHON" not in os.environ:
        session.sparkContext.pythonExec = sys.executable  # not just any that PATH has
    return session


def _memory(size: str) -> str:
    found = re.fullmatch(r"(\d+) ?([KMGT])i?B", size, re.IGNORECASE)
    if found is None:
        raise DataError(f"resources: expected memory such as 2GB, got {size!r}")
    return found[1] + found[2].lower()


def _export(session: SparkSession, asked: Asked, out: Path, scratch: Path) -> Manifest:
    views, of = asked.views, asked.transforms
    keys = keys_of(views)
    with duckdb.connect(config={"temp_directory": str(scratch)}) as connection, blaming_spark("export"):
        spine, types = read_spine(session, connection, asked.spine, keys, scratch)
        joined = [Joined(view, view.name) for view in views]
        columns = [*types, *added_columns(list(types), joined), *of.outputs]
        computation = Computation(of, joined, types)
        histories = [read_history(session, connection, view, scratch) for view in views]
        # Written first as it comes: counting and sorting would each join again.
        known = [(each, history.good) for each, history in zip(joined, histories, strict=True)]
        found = join(spine, known, asked.until)
        found.write.parquet(path_of(scratch / "found"))
        found = session.read.parquet(path_of(scratch / "found"))
        counted = _counted(found, joined)
        computed = with_computed(found, computation, joined, types)
        ordered = computed.orderBy(SPINE_ROW).select(*map(column_of, columns))
        ordered.write.option("compression", "zstd").parquet(path_of(scratch / "out"))
        told = _views_joined(joined, histories, counted)
    made = manifest_of(asked, see_folder(scratch / "out", _PARTS), out, told, counted["rows"], columns)
    return replace(made, spark=session.version)


def _counted(found: DataFrame, views: Sequence[Joined]) -> Row:
    counts = [fn.count("*").alias("rows")]
    for joined in views:
        status = column_of(joined.status)
        for each in (PRESENT, MISSING, EXPIRED):
            counts.append(fn.count_if(status == each).alias(f"{joined.status}:{each}"))
        counts.append(fn.count_if(column_of(late_of(joined))).alias(late_of(joined)))
        for column in joined.view.features:
            name = joined.column(column.name)
            counts.append(fn.count_if((status == PRESENT) & column_of(name).isNull()).alias(f"{name}:null"))
    return found.agg(*counts).collect()[0]


def _views_joined(views: Sequence[Joined], histories: Sequence[History], counted: Row) -> list[ViewJoined]:
    ahead = fn.count_if(fn.col(EVENT) > fn.col(KNOWN)).alias("ahead")
    counts = [
        history.rows.groupBy(REASON).agg(fn.lit(i).alias("view"), fn.count("*").alias("rows"), ahead)
        for i, history in enumerate(histories)
    ]
    rows = reduce(DataFrame.unionByName, counts).collect() if counts else []
    told = []
    for i, (joined, history) in enumerate(zip(views, histories, strict=True)):
        of_view = {row[REASON]: row for row in rows if row["view"] == i}
        made = _view_joined(joined, of_view.pop(None, None), counted)
        bad = {reason: of_view[reason]["rows"] for reason in sorted(of_view)}
        told.append(replace(made, staged=history.staged, bad=bad))
    return told


def _view_joined(joined: Joined, history: Row | None, counted: Row) -> ViewJoined:
    view = joined.view
    told = meaning(view)
    return ViewJoined(
        content_hash=content_hash(told),
        meaning=told,
        files=see_source(view.source),
        history_rows=0 if history is None else history["rows"],
        ahead=0 if history is None else history["ahead"],
        present=counted[f"{joined.status}:{PRESENT}"],
        missing=counted[f"{joined.status}:{MISSING}"],
        expired=counted[f"{joined.status}:{EXPIRED}"],
        late=counted[late_of(joined)],
        null={column.name: counted[f"{joined.column(column.name)}:null"] for column in view.features},
    )
