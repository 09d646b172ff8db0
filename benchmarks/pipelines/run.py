"""Measures pipelines against the sum of their models and against the same graph merged, in one run.

It reports and does not judge: the exit code is 0 unless something could not be measured.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.engine import machine
from benchmarks.engine.report import Section
from benchmarks.pipelines import in_process, wire
from benchmarks.pipelines.setup import write_repository
from benchmarks.wire.servers import falaj_command, started
from falaj import Engine

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Measure, print, and return the exit code."""
    arguments = _arguments()
    seconds, rounds = (0.2, 1) if arguments.smoke else (arguments.seconds, arguments.rounds)
    stamp = machine.stamp()
    for key, text in stamp.items():
        print(f"{key}: {text}")
    print(f"{rounds} rounds of {seconds:g} s; figures are median (least..most) over the rounds\n", flush=True)
    sections: list[Section] = []
    with tempfile.TemporaryDirectory(prefix="falaj-bench-") as name:
        folder = Path(name)
        repository = folder / "models"
        models = write_repository(repository)
        with Engine(repository, strict=True) as engine:
            sections.append(in_process.measure(engine, models, seconds, rounds))
        print(sections[0].text(), flush=True)
        if arguments.load.is_file():
            with started("falaj", falaj_command(repository, 1)) as server:
                sections += wire.measure(arguments.load, folder, server, models, seconds, rounds)
            print("\n".join(section.text() for section in sections[1:]), flush=True)
        elif not arguments.smoke:
            print(f"{arguments.load}: no such file; `cmake --build --preset release` makes it")
            return 1
    targets = [target for section in sections for target in section.targets]
    print(f"{sum(target.met for target in targets)} of {len(targets)} targets met")
    if arguments.json is not None:
        written = {"machine": stamp, "sections": [section.as_json() for section in sections]}
        arguments.json.write_text(json.dumps(written, indent=1, default=float) + "\n")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="of one measurement (3)")
    parser.add_argument("--rounds", type=int, default=5, help="of everything (5)")
    load = ROOT / "build" / "release" / "wire_load"
    parser.add_argument("--load", type=Path, default=load, help="build/release/wire_load")
    parser.add_argument("--json", type=Path, metavar="OUT", help="also write every round's figures there")
    parser.add_argument(
        "--smoke", action="store_true", help="one short round; without wire_load in process only"
    )
    arguments = parser.parse_args()
    if arguments.rounds < 1 or arguments.seconds <= 0:
        parser.error("--rounds and --seconds: expected more than 0")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
