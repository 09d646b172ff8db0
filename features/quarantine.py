"""Bad rows, kept apart in Parquet: `source`, `number`, `reason`, and `raw`, the row as JSON of text."""

from pathlib import Path

import duckdb

from falaj.features.checks import NUMBER, RAW, SOURCE, Checked
from falaj.features.durable import put
from falaj.features.errors import DataError
from falaj.features.offline.history import REASON
from falaj.features.offline.manifest import see
from falaj.features.offline.sql import blaming, literal
from falaj.features.view import View

_UNFINISHED = ".unfinished"
_PLAIN = f"SELECT {SOURCE} AS source, {NUMBER} AS number, {REASON} AS reason, {RAW} AS raw"


def write_by_hash(
    connection: duckdb.DuckDBPyConnection, view: View, checked: Checked, folder: Path
) -> Path | None:
    """Write bad rows to `<folder>/<view>@<version>/<hash>.parquet`; the same rows are the same file.

    Returns:
        The file; None where no row is bad.

    Raises:
        DataError: It cannot be written.
    """
    if not checked.reasons:
        return None
    place = folder / f"{view.name}@{view.version}"
    try:
        made = _write(connection, view, f"{_PLAIN} FROM {checked.bad}", place)
        out = place / f"{see(made).sha256[:32]}.parquet"
        put(made, out)
    except OSError as error:
        raise DataError(f"{view}, quarantine: {error}") from error
    return out


def write_run(
    connection: duckdb.DuckDBPyConnection, view: View, checked: Checked, folder: Path, run: int
) -> tuple[Path | None, dict[str, int]]:
    """Write the bad rows of a run that are in no file of the runs before it.

    Files of this run and of later ones are replaced: they are of runs that never ended, or of a store that
    was emptied since. So a row is written once, however often it is read.

    Args:
        folder: Of one online store.
        run: Number of the run, from 1.

    Returns:
        `<folder>/<view>@<version>/<run>.parquet` and how many rows it has by reason; None without any.

    Raises:
        DataError: It cannot be written, or files there cannot be read.
    """
    place = folder / f"{view.name}@{view.version}"
    out = place / f"{run:08d}.parquet"
    try:
        before = _others(place, run)
        if not checked.reasons:
            return None, {}
        made = _write(connection, view, _not_before(checked, before), place)
        with blaming(f"{view}, quarantine"):
            counts = f"SELECT reason, count(*) FROM read_parquet({literal(str(made))}) GROUP BY 1 ORDER BY 1"
            reasons = dict(connection.execute(counts).fetchall())
        if not reasons:
            made.unlink()
            return None, {}
        put(made, out)
    except OSError as error:
        raise DataError(f"{view}, quarantine: {error}") from error
    return out, reasons


def _others(place: Path, run: int) -> list[Path]:
    """The files of runs before; the others are removed."""
    before = []
    for file in sorted(place.glob("[0-9]*.parquet")):
        if file.stem.isdecimal() and int(file.stem) < run:
            before.append(file)
        elif file.stem.isdecimal():
            file.unlink()
    return before


def _not_before(checked: Checked, before: list[Path]) -> str:
    rows = f"{_PLAIN} FROM {checked.bad}"
    if not before:
        return rows
    # Rows that are the same come as often as there are more of them now; their numbers may have moved.
    same = "source, reason, raw"
    nth = f"row_number() OVER (PARTITION BY {same} ORDER BY number) AS nth"
    files = ", ".join(literal(str(file)) for file in before)
    seen = f"SELECT {same}, count(*) AS seen FROM read_parquet([{files}]) GROUP BY ALL"
    return (
        f"SELECT source, number, reason, raw FROM (SELECT *, {nth} FROM ({rows})) "
        f"LEFT JOIN ({seen}) USING ({same}) WHERE nth > coalesce(seen, 0)"
    )


def _write(connection: duckdb.DuckDBPyConnection, view: View, rows: str, place: Path) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    made = place / _UNFINISHED
    ordered = f"SELECT * FROM ({rows}) ORDER BY ALL"
    with blaming(f"{view}, quarantine"):
        connection.execute(f"COPY ({ordered}) TO {literal(str(made))} (FORMAT parquet, COMPRESSION zstd)")
    return made
