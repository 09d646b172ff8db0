"""Measures the server over the network against bare servers of the same libraries, in rounds that take turns.
See docs/benchmarks.md.

The exit code is 1 where a target is missed or something could not be measured.
"""

import argparse
import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.engine import machine
from benchmarks.engine.report import Section
from benchmarks.wire import conv, keyed, latency, million, small, traced
from benchmarks.wire.servers import Server, falaj_command, running, started, started_by
from benchmarks.wire.setup import Wire, write_models

ROOT = Path(__file__).resolve().parents[2]
SECTIONS = {
    "http": small.measure_http,
    "grpc": small.measure_grpc,
    "conv": conv.measure,
    "million": million.measure,
    "latency": latency.measure,
    "keyed": keyed.measure,
    "traced": traced.measure,
}
_QUICK = (0.3, 1)


def main() -> int:
    """Measure, print, and return the exit code."""
    arguments = _arguments()
    cores = sorted(os.sched_getaffinity(0))[: arguments.cores]
    os.sched_setaffinity(0, cores)  # and so of everything that is started here
    seconds, rounds = _QUICK if arguments.quick else (arguments.seconds, arguments.rounds)
    stamp = machine.stamp()
    for key, value in stamp.items():
        print(f"{key}: {value}")
    print(f"server and load on the same {len(cores)} cores; {rounds} rounds of {seconds:g} s")
    print("figures are median (least..most) over the rounds, ratios are formed inside a round\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="falaj-wire-") as name:
        folder = Path(name)
        repository = arguments.write_repository or folder / "models"
        repository.mkdir(exist_ok=True)
        models = write_models(arguments.programs, repository, seconds, rounds, arguments.quick)
        if arguments.write_repository:
            return 0
        io_threads = max(1, len(cores) // 2)  # what Falaj chooses by itself
        with _server(arguments, repository, io_threads) as server:
            wire = Wire(arguments.programs, folder, server, models.engine, models.conv_settings, io_threads)
            sections, failed = _measure(wire, arguments.only)
    if arguments.json is not None:
        report = {"machine": stamp, "cores": len(cores), "seconds": seconds, "rounds": rounds}
        written = {**report, "sections": {name: section.as_json() for name, section in sections.items()}}
        arguments.json.write_text(json.dumps(written, indent=1) + "\n")
    if arguments.quick:
        return 1 if failed else 0
    targets = [target for section in sections.values() for target in section.targets]
    print(f"{sum(target.met for target in targets)} of {len(targets)} targets met")
    return 0 if not failed and all(target.met for target in targets) else 1


def _measure(wire: Wire, names: list[str]) -> tuple[dict[str, Section], bool]:
    sections: dict[str, Section] = {}
    failed = False
    for name in names:
        begin = time.monotonic()
        try:
            section = SECTIONS[name](wire)
        except Exception:
            failed = True
            print(f"== {name} could not be measured\n{traceback.format_exc()}", flush=True)
            continue
        if wire.engine.smoke:
            section.targets.clear()  # so short a run tells nothing of them
        sections[name] = section
        print(section.text(), flush=True)
        print(f"{name}: {time.monotonic() - begin:.0f} s", file=sys.stderr)
    return sections, failed


@contextmanager
def _server(arguments: argparse.Namespace, repository: Path, io_threads: int) -> Iterator[Server]:
    if arguments.target:
        yield running(arguments.target, arguments.target_grpc, arguments.target_pid)
    elif arguments.server_command:
        with started_by("server", arguments.server_command, repository) as server:
            yield server
    else:
        with started("falaj", falaj_command(repository, io_threads)) as server:
            yield server


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="of one measurement (2)")
    parser.add_argument("--rounds", type=int, default=5, help="of every section (5)")
    every = ",".join(SECTIONS)
    parser.add_argument("--only", default=every, help=f"these sections, of {every}")
    parser.add_argument("--quick", action="store_true", help="one short round without targets, for CI")
    parser.add_argument("--json", type=Path, metavar="OUT", help="also write every round's figures there")
    parser.add_argument("--cores", type=int, default=2, help="cores that all processes share (2)")
    programs = ROOT / "build" / "release"
    parser.add_argument("--programs", type=Path, default=programs, help="folder of wire_load (build/release)")
    other = "measure another server; {repository}, {http_port} and {grpc_port} are filled in"
    parser.add_argument("--server-command", metavar="COMMAND", help=other)
    parser.add_argument("--target", metavar="URL", help="measure a server that runs; see --write-repository")
    parser.add_argument("--target-grpc", metavar="HOST:PORT", help="its gRPC address")
    parser.add_argument("--target-pid", type=int, metavar="PID", help="its process, for its CPU")
    wanted = "write the models that it has to serve, and end"
    parser.add_argument("--write-repository", type=Path, metavar="FOLDER", help=wanted)
    arguments = parser.parse_args()
    arguments.only = arguments.only.split(",")
    unknown = set(arguments.only) - set(SECTIONS)
    if unknown:
        parser.error(f"--only: expected some of {every}, got {', '.join(sorted(unknown))}")
    if arguments.rounds < 1 or arguments.seconds <= 0 or arguments.cores < 1:
        parser.error("--rounds, --seconds and --cores: expected more than 0")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
