"""Measures `falaj features materialize` into the embedded online store, and kills it. See docs/benchmarks.md.

The exit code is 1 where a target is missed, or a store differs from that of a run that nothing disturbed.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import duckdb
import lmdb

from benchmarks.engine.machine import stamp
from benchmarks.engine.report import Section, Spread, Target, column, ratios
from benchmarks.features.kills import kill_runs
from benchmarks.features.runs import Place
from benchmarks.features.views import profile, spending, write_events, write_profile
from falaj.features import View
from tests.features.online.lmdb_state import entries

MOST_GIB = 2.0  # of its own memory, with DuckDB held to 1 GB
_OURS, _READ, _PUT = "falaj features materialize", "DuckDB reads, newest row of each", "lmdb puts, in order"


def _view(arguments: argparse.Namespace, folder: Path, rows: int, entities: int) -> View:
    """Write the history, and return the view of it."""
    file = folder / "history.parquet"
    if arguments.windows is None:
        write_profile(file, rows, entities)
        return profile(file)
    write_events(file, rows, entities)
    return spending(file, identified=arguments.windows == "ids")


def by_duckdb(source: Path, folder: Path, memory: str, threads: int) -> None:
    """Read the same rows and keep the newest of each entity, by the event time alone; nothing is checked."""
    config: dict[str, str | bool | int | float | list[str]] = {"memory_limit": memory, "threads": threads}
    with duckdb.connect(config={**config, "temp_directory": str(folder / "spill")}) as connection:
        connection.execute(
            f"COPY (SELECT max_by(h, event_us) FROM '{source}' AS h GROUP BY customer_id) "
            f"TO '{folder / 'newest.parquet'}'"
        )


def by_lmdb(source: Path, folder: Path, _memory: str, _threads: int) -> None:
    """Put what a store has of entities, packed already, into another in one transaction; in order."""
    pairs = [(key, value) for name, key, value in entries(source) if name != b"meta"]
    begin = _Begin()
    with lmdb.open(str(folder / "put"), map_size=1 << 40) as env, env.begin(write=True) as txn:
        txn.cursor().putmulti(pairs, append=True)
    begin.tell()


class _Begin:
    """Times and CPU of this process from now on."""

    def __init__(self) -> None:
        self._seconds, self._cpu = time.perf_counter(), time.process_time()

    def tell(self) -> None:
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        figures = {
            "seconds": time.perf_counter() - self._seconds,
            "cpu": time.process_time() - self._cpu,
            "rss_mib": used,
        }
        print(json.dumps(figures))


def _one(way: str, source: Path, folder: Path, memory: str, threads: int) -> None:
    """In this process, whose memory nothing else has touched."""
    if way == _PUT:
        by_lmdb(source, folder, memory, threads)
        return
    begin = _Begin()
    by_duckdb(source, folder, memory, threads)
    begin.tell()


def _measure_one(way: str, source: Path, folder: Path, arguments: argparse.Namespace) -> dict[str, float]:
    folder.mkdir()
    command = [sys.executable, __file__, "--one", way, "--source", str(source), "--folder", str(folder)]
    command += ["--memory", arguments.memory, "--cores", str(arguments.cores)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{way}: {done.stderr.strip()}")
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def measure(arguments: argparse.Namespace) -> Section:
    """In each round a fresh store, then DuckDB and LMDB alone for their shares of the work."""
    rounds, rows = [], 0
    with tempfile.TemporaryDirectory(prefix="falaj-materialize-") as name:
        folder = Path(name)
        view = _view(arguments, folder, arguments.rows, arguments.entities)
        for number in range(arguments.rounds):
            place = Place(folder / str(number), view)
            told, ours = place.run(arguments.memory, arguments.cores)
            rows = told["rows"]
            history, scratch = folder / "history.parquet", folder / f"alone{number}"
            rounds.append({_OURS: asdict(ours), _READ: _measure_one(_READ, history, scratch, arguments)})
            scratch = folder / f"put{number}"
            rounds[-1][_PUT] = _measure_one(_PUT, place.store, scratch, arguments)
    kind = "columns" if arguments.windows is None else "events of windows"
    section = Section(
        f"{arguments.rows:,} rows of {kind}, {arguments.entities:,} entities, --memory {arguments.memory}",
        ("way", "seconds", "CPU seconds", "rows/s", "rows/s of CPU", "peak MiB"),
        notes=[
            f"anonymous memory of {_OURS}: "
            f"{Spread.of(column(rounds, _OURS, 'anon_mib')).text(0)} MiB; the rest are pages of the store",
            f"written: {Spread.of(column(rounds, _OURS, 'written_mib')).text(0)} MiB",
        ],
        data={"rounds": rounds},
    )
    for way in (_OURS, _READ, _PUT):
        wall, cpu, rss = (column(rounds, way, key) for key in ("seconds", "cpu", "rss_mib"))
        rates = (Spread.of(rows / each for each in of).text(0) for of in (wall, cpu))
        section.rows.append(
            (way, Spread.of(wall).text(), Spread.of(cpu).text(), *rates, Spread.of(rss).text(0))
        )
    alone = [a + b for a, b in zip(column(rounds, _READ, "cpu"), column(rounds, _PUT, "cpu"), strict=True)]
    times = ratios(column(rounds, _OURS, "cpu"), alone)
    section.notes.append(f"CPU, times that of the two others: {times.text()}")
    most = Spread.of(column(rounds, _OURS, "anon_mib")).high / 1024
    section.targets.append(Target("GiB of its own memory", most, "<=", MOST_GIB))
    return section


def measure_kills(arguments: argparse.Namespace) -> Section:
    """Kill it again and again."""
    with tempfile.TemporaryDirectory(prefix="falaj-kills-") as name:
        folder = Path(name)
        entities = arguments.kill_entities or arguments.kill_rows
        view = _view(arguments, folder, arguments.kill_rows, entities)

        def start(place: Place) -> "subprocess.Popen[bytes]":
            return place.start(arguments.memory, arguments.cores)

        killed = kill_runs(folder, view, arguments.kills, arguments.seed, start)
    section = Section(
        f"{arguments.kills} kills of runs over {arguments.kill_rows:,} rows, seed {arguments.seed}",
        ("when it was killed", "times"),
        notes=[
            f"{killed.finished} runs came to their end; of the chunks were in, at kills between them: "
            + ", ".join(f"{share:.0%}" for share in killed.shares if 0 < share < 1),
            "the stores' keys and values but the number of runs, and the bad rows' files: "
            + (killed.different or "identical"),
        ],
    )
    section.rows += [(phase, str(times)) for phase, times in killed.phases.items()]
    section.targets.append(Target("stores that differ", float(killed.different is not None), "=", 0.0))
    return section


def main() -> int:
    """Measure and report, or run one way where told to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000, help="(10,000,000)")
    parser.add_argument("--entities", type=int, default=1_000_000, help="(1,000,000)")
    parser.add_argument(
        "--windows",
        nargs="?",
        const="ids",
        choices=("ids", "none"),
        help="events of a view with aggregates, with ids (or none) instead of rows of columns",
    )
    parser.add_argument("--rounds", type=int, default=3, help="(3)")
    parser.add_argument("--memory", default="1GB", help="bound of DuckDB's memory (1GB)")
    parser.add_argument("--cores", type=int, default=2, help="threads (2)")
    parser.add_argument("--kills", type=int, default=0, help="instead: kill runs so often, at random times")
    parser.add_argument("--kill-rows", type=int, default=4_000_000, help="of the runs to kill (4,000,000)")
    parser.add_argument("--kill-entities", type=int, help="of them (as many)")
    parser.add_argument("--seed", type=int, default=1, help="of when they are killed (1)")
    for name in ("one", "source", "folder"):
        parser.add_argument(f"--{name}", type=str if name == "one" else Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one is not None:
        _one(arguments.one, arguments.source, arguments.folder, arguments.memory, arguments.cores)
        return 0
    for key, value in stamp().items():
        print(f"{key}: {value}")
    ways: Callable[[argparse.Namespace], Section] = measure_kills if arguments.kills else measure
    section = ways(arguments)
    print(section.text())
    return 0 if all(target.met for target in section.targets) else 1


if __name__ == "__main__":
    sys.exit(main())
