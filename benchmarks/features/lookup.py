"""Measures look-ups in the online stores from C++: the embedded one, and Redis beside hiredis alone.

The exit code is 1 where a target is missed.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.engine.machine import stamp
from benchmarks.engine.report import Section, Spread, Target, column
from tests.features.online.redis_server import redis_server

PROGRAM = Path(__file__).resolve().parents[2] / "build" / "release" / "falaj_lookup_bench"
MOST_US = {("1", "p50"): 20.0, ("1", "p99"): 100.0, ("100", "p99"): 300.0}  # by entities of a look-up
MOST_REDIS_US = 2000.0  # p99 of 100 entities


def _measure_one(arguments: argparse.Namespace, where: str, entities: int) -> dict[str, dict[str, float]]:
    sizes = (entities, arguments.columns, arguments.lookups)
    command = [str(arguments.program), where, *map(str, sizes)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{arguments.program}: {done.stderr.strip()}")
    figures: dict[str, dict[str, float]] = json.loads(done.stdout)
    return figures


def measure(arguments: argparse.Namespace) -> Section:
    """In each round a fresh store."""
    rounds = []
    for _ in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as folder:
            rounds.append(_measure_one(arguments, folder, arguments.entities))
    section = Section(
        f"{arguments.columns} FP32 columns, {arguments.entities:,} entities, random keys",
        ("entities of a look-up", "p50 µs", "p99 µs"),
        notes=[
            "one thread; the store's pages are in memory as far as it goes",
            "bare: LMDB alone finds and copies others of the same store, in turn; nothing is decoded",
        ],
        data={"rounds": rounds},
    )
    for size in rounds[0]:
        spreads = {key: Spread.of(column([of[size] for of in rounds], key)) for key in ("p50", "p99")}
        section.rows.append((size, spreads["p50"].text(), spreads["p99"].text()))
        for key, spread in spreads.items():
            if (size, key) in MOST_US:
                name = f"{key} µs of {size}"
                section.targets.append(Target(name, spread.median, "<=", MOST_US[size, key]))
    return section


def measure_redis(arguments: argparse.Namespace) -> Section:
    """In each round a fresh server."""
    rounds = []
    for _ in range(arguments.rounds):
        with redis_server() as server:
            rounds.append(_measure_one(arguments, f"redis:{server.port}", arguments.redis_entities))
    section = Section(
        f"Redis on this machine, {arguments.columns} FP32 columns, {arguments.redis_entities:,} entities",
        ("", "p50 µs", "p99 µs", "most µs"),
        notes=[
            "bare: hiredis alone asks the same of the same server in the same run, in turn with the store"
        ],
        data={"rounds": rounds},
    )
    for name in rounds[0]:
        figures = (column([of[name] for of in rounds], key) for key in ("p50", "p99", "max"))
        section.rows.append((name, *(Spread.of(each).text(0) for each in figures)))
    p99 = Spread.of(column([of["100"] for of in rounds], "p99"))
    section.targets.append(Target("p99 µs of 100", p99.median, "<=", MOST_REDIS_US))
    return section


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entities", type=int, default=1_000_000, help="(1,000,000)")
    parser.add_argument("--redis-entities", type=int, default=100_000, help="(100,000)")
    parser.add_argument("--columns", type=int, default=250, help="FP32 (250)")
    parser.add_argument(
        "--lookups", type=int, default=100_000, help="of one entity; of 100 a tenth (100,000)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="(3)")
    parser.add_argument(
        "--program", type=Path, default=PROGRAM, help="falaj_lookup_bench of the release build"
    )
    arguments = parser.parse_args()
    for key, value in stamp().items():
        print(f"{key}: {value}")
    met = True
    for section in (measure(arguments), measure_redis(arguments)):
        print(section.text())
        met = met and all(target.met for target in section.targets)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
