"""Measures look-ups in the embedded online store from C++.

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

PROGRAM = Path(__file__).resolve().parents[2] / "build" / "release" / "falaj_lookup_bench"
MOST_US = {("1", "p50"): 20.0, ("1", "p99"): 100.0, ("100", "p99"): 300.0}  # by entities of a look-up


def _measure_one(arguments: argparse.Namespace) -> dict[str, dict[str, float]]:
    with tempfile.TemporaryDirectory() as folder:
        sizes = (arguments.entities, arguments.columns, arguments.lookups)
        command = [str(arguments.program), folder, *map(str, sizes)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{arguments.program}: {done.stderr.strip()}")
    figures: dict[str, dict[str, float]] = json.loads(done.stdout)
    return figures


def measure(arguments: argparse.Namespace) -> Section:
    """In each round a fresh store."""
    rounds = [_measure_one(arguments) for _ in range(arguments.rounds)]
    section = Section(
        f"{arguments.columns} FP32 columns, {arguments.entities:,} entities, random keys",
        ("entities of a look-up", "p50 µs", "p99 µs"),
        notes=["one thread; the store's pages are in memory as far as it goes"],
        data={"rounds": rounds},
    )
    for size in ("1", "100"):
        spreads = {key: Spread.of(column([of[size] for of in rounds], key)) for key in ("p50", "p99")}
        section.rows.append((size, spreads["p50"].text(), spreads["p99"].text()))
        for key, spread in spreads.items():
            if (size, key) in MOST_US:
                name = f"{key} µs of {size}"
                section.targets.append(Target(name, spread.median, "<=", MOST_US[size, key]))
    return section


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entities", type=int, default=1_000_000, help="(1,000,000)")
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
    section = measure(arguments)
    print(section.text())
    return 0 if all(target.met for target in section.targets) else 1


if __name__ == "__main__":
    sys.exit(main())
