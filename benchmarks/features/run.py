"""Measures the point-in-time export beside the ASOF joins of DuckDB and Polars. See docs/benchmarks.md.

The exit code is 1 where a target is missed.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import duckdb

from benchmarks.engine.machine import stamp
from benchmarks.engine.report import Section, Spread, Target, column, ratios
from falaj.features import Column, Entity, ParquetFiles, View
from falaj.features.offline.export import export
from falaj.features.offline.resources import Resources
from falaj.features.offline.spine import Spine

MOST_SECONDS = 5.0  # for 10 M rows of history and 1 M of the spine
MOST_GIB = 4.0
_LARGE_MEMORY, _LARGE_GIB = "2GB", 2e9 / (1 << 30)
_MONTH_US = 30 * 86_400_000_000
_HOUR_US = 3_600_000_000
_OURS, _DUCKDB, _POLARS = "falaj export", "DuckDB ASOF", "Polars join_asof"


def write_data(folder: Path, history: int, spine: int, entities: int) -> None:
    """Write both files: events over a month in no order, known up to an hour later; two features."""
    rows = (
        f"SELECT (hash(i) % {entities})::BIGINT AS customer_id, event_us, "
        f"event_us + (hash(i * 13) % {_HOUR_US})::BIGINT AS known_us, (i % 1000)::DOUBLE AS amount, "
        "(i % 7)::INTEGER AS kind "
        f"FROM (SELECT i, (hash(i * 7) % {_MONTH_US})::BIGINT AS event_us FROM range({history}) AS t(i))"
    )
    asked = (
        f"SELECT (hash(i * 3) % {entities})::BIGINT AS customer_id, (hash(i * 11) % {_MONTH_US})::BIGINT "
        f"AS spine_ts, i AS label FROM range({spine}) AS t(i)"
    )
    with duckdb.connect() as connection:
        connection.execute(f"COPY ({rows}) TO '{folder / 'history.parquet'}'")
        connection.execute(f"COPY ({asked}) TO '{folder / 'spine.parquet'}'")


def by_falaj(folder: Path, out: Path, memory: str, threads: int) -> None:
    """Both conditions, a TTL, ties, and the manifest with all files' hashes."""
    from datetime import timedelta

    view = View(
        name="orders",
        version=1,
        entity=Entity("customer", {"customer_id": "INT64"}),
        source=ParquetFiles(str(folder / "history.parquet")),
        columns=(Column("amount", "FP64"), Column("kind", "INT32")),
        event_time="event_us",
        known_time="known_us",
        source_delay=timedelta(minutes=1),
        ttl=timedelta(days=20),
    )
    export(Spine(str(folder / "spine.parquet")), [view], out, resources=Resources(memory, threads))


def by_duckdb(folder: Path, out: Path, memory: str, threads: int) -> None:
    """The event time alone: what was not known yet leaks, and ties are taken as they come."""
    with duckdb.connect(config={"memory_limit": memory, "threads": threads}) as connection:
        on = "s.customer_id = h.customer_id AND s.spine_ts >= h.event_us"
        connection.execute(
            f"COPY (SELECT s.*, h.amount, h.kind FROM '{folder / 'spine.parquet'}' AS s ASOF LEFT JOIN "
            f"'{folder / 'history.parquet'}' AS h ON {on} ORDER BY s.label) TO '{out}' (COMPRESSION zstd)"
        )


def by_polars(folder: Path, out: Path, memory: str, threads: int) -> None:
    """The same as DuckDB's; it has no bound of memory, and its threads are set by the environment."""
    import polars

    history = polars.read_parquet(folder / "history.parquet").sort("event_us")
    spine = polars.read_parquet(folder / "spine.parquet").sort("spine_ts")
    joined = spine.join_asof(history, left_on="spine_ts", right_on="event_us", by="customer_id")
    joined.sort("label").write_parquet(out, compression="zstd")


_WAYS: dict[str, Callable[[Path, Path, str, int], None]] = {
    _OURS: by_falaj,
    _DUCKDB: by_duckdb,
    _POLARS: by_polars,
}


def _measure_one(way: str, folder: Path, memory: str, threads: int) -> dict[str, float]:
    """Run one way in a process of its own, whose memory nothing else has touched."""
    command = [sys.executable, __file__, "--one", way, "--folder", str(folder)]
    command += ["--memory", memory, "--cores", str(threads)]
    env = {**os.environ, "POLARS_MAX_THREADS": str(threads)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    if done.returncode != 0:
        raise RuntimeError(f"{way}: {done.stderr.strip()}")
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def _one(way: str, folder: Path, memory: str, threads: int) -> None:
    begin = time.perf_counter()
    _WAYS[way](folder, folder / "out.parquet", memory, threads)
    seconds = time.perf_counter() - begin
    used = resource.getrusage(resource.RUSAGE_SELF)
    figures = {"seconds": seconds, "cpu": used.ru_utime + used.ru_stime, "gib": used.ru_maxrss / (1 << 20)}
    print(json.dumps(figures))


def measure(arguments: argparse.Namespace) -> Section:
    """In each round every way once, in turns."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_data(folder, arguments.history, arguments.spine, arguments.entities)
        rounds = [
            {way: _measure_one(way, folder, arguments.memory, arguments.cores) for way in _WAYS}
            for _ in range(arguments.rounds)
        ]
    section = Section(
        f"{arguments.history:,} rows of history x {arguments.spine:,} of the spine, "
        f"{arguments.entities:,} entities, --memory {arguments.memory}",
        ("way", "seconds", "CPU seconds", "times DuckDB's", "peak GiB"),
        notes=["the joins of DuckDB and Polars look at the event time alone: what was not known yet leaks"],
        data={"rounds": rounds},
    )
    base = column(rounds, _DUCKDB, "seconds")
    for way in _WAYS:
        wall, cpu, gib = (column(rounds, way, key) for key in ("seconds", "cpu", "gib"))
        times = "" if way == _DUCKDB else ratios(wall, base).text()
        section.rows.append(
            (way, Spread.of(wall).text(), Spread.of(cpu).text(), times, Spread.of(gib).text())
        )
    ours = Spread.of(column(rounds, _OURS, "seconds")).median
    section.targets.append(Target("seconds of the export", ours, "<=", MOST_SECONDS))
    most = Spread.of(column(rounds, _OURS, "gib")).high
    section.targets.append(Target("peak GiB of the export", most, "<=", MOST_GIB))
    return section


def measure_large(arguments: argparse.Namespace) -> Section:
    """The export alone, once, of a history that does not fit the memory it may take."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_data(folder, arguments.large, arguments.spine, arguments.entities)
        figures = _measure_one(_OURS, folder, _LARGE_MEMORY, arguments.cores)
    section = Section(
        f"{arguments.large:,} rows of history x {arguments.spine:,} of the spine, --memory {_LARGE_MEMORY}",
        ("way", "seconds", "CPU seconds", "peak GiB"),
        data={"rounds": [figures]},
    )
    section.rows.append((_OURS, *(f"{figures[key]:.2f}" for key in ("seconds", "cpu", "gib"))))
    section.targets.append(Target("peak GiB of the export", figures["gib"], "<=", _LARGE_GIB))
    return section


def main() -> int:
    """Measure and report, or run one way where told to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--history", type=int, default=10_000_000, help="rows (10,000,000)")
    parser.add_argument("--spine", type=int, default=1_000_000, help="rows (1,000,000)")
    parser.add_argument("--entities", type=int, default=1_000_000, help="of both (1,000,000)")
    parser.add_argument("--rounds", type=int, default=3, help="(3)")
    parser.add_argument("--memory", default="3GB", help="bound of DuckDB's memory (3GB)")
    parser.add_argument("--cores", type=int, default=2, help="threads (2)")
    parser.add_argument(
        "--large",
        type=int,
        nargs="?",
        const=100_000_000,
        metavar="ROWS",
        help=f"instead: the export alone, of so many rows (100,000,000) with --memory {_LARGE_MEMORY}",
    )
    parser.add_argument("--one", choices=list(_WAYS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one is not None:
        _one(arguments.one, arguments.folder, arguments.memory, arguments.cores)
        return 0
    for key, value in stamp().items():
        print(f"{key}: {value}")
    section = measure(arguments) if arguments.large is None else measure_large(arguments)
    print(section.text())
    return 0 if all(target.met for target in section.targets) else 1


if __name__ == "__main__":
    sys.exit(main())
