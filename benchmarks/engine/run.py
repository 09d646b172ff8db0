"""Measures the engine against its baselines, in rounds that take turns. See docs/benchmarks.md.

It reports and does not judge: the exit code is 0 unless something could not be measured.
"""

import argparse
import json
import sys
import tempfile
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.engine import conv, machine, mlp, overload, python_api, reload
from benchmarks.engine.report import Section
from benchmarks.engine.setup import prepare

ROOT = Path(__file__).resolve().parents[2]
SECTIONS = {
    "mlp": mlp.measure,
    "conv": conv.measure,
    "open": overload.measure,
    "reload": reload.measure,
    "python": python_api.measure,
}


def main() -> int:
    """Measure, print, and return the exit code."""
    arguments = _arguments()
    seconds, rounds = (0.3, 1) if arguments.smoke else (arguments.seconds, arguments.rounds)
    stamp = machine.stamp()
    for key, value in stamp.items():
        print(f"{key}: {value}")
    print(f"{rounds} rounds of {seconds:g} s; figures are median (least..most) over the rounds\n", flush=True)
    sections: dict[str, Section] = {}
    failed = False
    with tempfile.TemporaryDirectory(prefix="falaj-bench-") as folder:
        setup = prepare(arguments.driver, Path(folder), seconds, rounds, arguments.smoke)
        for name in arguments.only or SECTIONS:
            begin = time.monotonic()
            try:
                sections[name] = SECTIONS[name](setup)
            except Exception:
                failed = True
                print(f"== {name} could not be measured\n{traceback.format_exc()}", flush=True)
                continue
            print(sections[name].text(), flush=True)
            print(f"{name}: {time.monotonic() - begin:.0f} s", file=sys.stderr)
    targets = [target for section in sections.values() for target in section.targets]
    print(f"{sum(target.met for target in targets)} of {len(targets)} targets met")
    if arguments.json is not None:
        report = {"machine": stamp, "seconds": seconds, "rounds": rounds}
        written = {**report, "sections": {name: section.as_json() for name, section in sections.items()}}
        arguments.json.write_text(json.dumps(written, indent=1, default=float) + "\n")
    return 1 if failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="of one measurement (3)")
    parser.add_argument("--rounds", type=int, default=5, help="of every section (5)")
    parser.add_argument("--only", choices=SECTIONS, action="append", help="this section; may be repeated")
    driver = ROOT / "build" / "release" / "falaj_engine_bench"
    parser.add_argument("--driver", type=Path, default=driver, help="build/release/falaj_engine_bench")
    parser.add_argument("--json", type=Path, metavar="OUT", help="also write every round's figures there")
    parser.add_argument("--smoke", action="store_true", help="one short round of everything, for CI (20 s)")
    arguments = parser.parse_args()
    if arguments.rounds < 1 or arguments.seconds <= 0:
        parser.error("--rounds and --seconds: expected more than 0")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
