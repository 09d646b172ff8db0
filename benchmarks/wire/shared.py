"""Measures requests whose tensors lie in shared memory against those that carry them: CPU and latency of
1 MiB and 16 MiB in and out, by HTTP and by gRPC. See docs/shared-memory.md.

The exit code is 1 where something could not be measured, or an answer was wrong.
"""

import argparse
import json
import os
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from onnx import helper

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.engine import machine
from benchmarks.engine.report import Section, Spread, column
from benchmarks.engine.setup import Setup
from benchmarks.wire.bodies import Body, grpc_raw, http_binary, shared_grpc, shared_http
from benchmarks.wire.servers import Server, falaj_command, started
from benchmarks.wire.setup import Wire
from tests import zoo
from tests.zoo.model import ZooModel, build, sampler, value

ROOT = Path(__file__).resolve().parents[2]
_MIB = 1 << 20
_SIZES = (1, 16)  # MiB of the input, and of the output
_CONNECTIONS = (1, 4)
_PREFIX = "falaj_bench_"


def main() -> int:
    """Measure, print, and return the exit code."""
    arguments = _arguments()
    cores = sorted(os.sched_getaffinity(0))[: arguments.cores]
    os.sched_setaffinity(0, cores)  # and so of everything that is started here
    for key, text in machine.stamp().items():
        print(f"{key}: {text}")
    print(f"server and load on the same {len(cores)} cores; {arguments.rounds} rounds", flush=True)
    with tempfile.TemporaryDirectory(prefix="falaj-shared-") as name:
        folder = Path(name)
        models = {size: _negative(size) for size in _SIZES}
        for model in models.values():
            zoo.save(model, folder / "models")
            settings = "tune_ms = 0\nmax_batch_size = 1\n"  # what two requests share is measured elsewhere
            (folder / "models" / model.name / "model.toml").write_text(settings)
        io_threads = max(1, len(cores) // 2)
        command = falaj_command(folder / "models", io_threads)
        command += ["--allow-shared-memory", "--set", f"shared_memory.prefix={_PREFIX}"]
        with started("falaj", command) as server:
            setup = Setup(Path(), folder / "models", arguments.seconds, arguments.rounds, False, {})
            wire = Wire(arguments.programs, folder, server, setup, {}, io_threads)
            section = _measure(wire, models)
    print(section.text())
    if arguments.json is not None:
        arguments.json.write_text(
            json.dumps({"machine": machine.stamp(), **section.as_json()}, indent=1) + "\n"
        )
    return 0


def _measure(wire: Wire, models: dict[int, ZooModel]) -> Section:
    section = Section(
        "y = -x of floats, in and out: the server's CPU per request, and latency",
        ("tensors", "way", "connections", "CPU µs", "p50 µs", "p99 µs", "requests/s"),
    )
    for size, model in models.items():
        x = model.sample(np.random.default_rng(1), 1)
        with _region(wire.server, f"r{size}", x["x"].tobytes()) as region:
            ways = {
                "HTTP, binary body": http_binary(model, x),
                "HTTP, shared memory": shared_http(model, x, region, "y"),
                "gRPC, raw contents": grpc_raw(model, x),
                "gRPC, shared memory": shared_grpc(model, x, region, "y"),
            }
            for connections in _CONNECTIONS:
                rounds = [_round(wire, ways, connections) for _ in range(wire.rounds)]
                section.data[f"{size} MiB, {connections}"] = rounds
                for way in ways:
                    cells = [
                        Spread.of(column(rounds, way, key)).text(1)
                        for key in ("server_cpu_us", "p50_us", "p99_us", "requests_per_second")
                    ]
                    section.rows.append((f"{size} MiB", way, str(connections), *cells))
    return section


def _round(wire: Wire, ways: dict[str, Body], connections: int) -> dict[str, dict[str, Any]]:
    return {way: wire.load(wire.server, body, connections=connections) for way, body in ways.items()}


@contextmanager
def _region(server: Server, name: str, x: bytes) -> Iterator[str]:
    """Register a file that begins with `x` and has as much room behind it; when it is over, check that the
    answer lies there. Raises RuntimeError."""
    path = Path("/dev/shm") / f"{_PREFIX}{os.getpid()}_{name}"
    base = f"http://{server.host}:{server.ports['http']}/v2/systemsharedmemory/region/{name}"
    path.write_bytes(x + bytes(len(x)))
    try:
        _post(f"{base}/register", {"key": f"/{path.name}", "byte_size": 2 * len(x)})
        yield name
        y = np.frombuffer(path.read_bytes()[len(x) :], np.float32)
        if not np.array_equal(y, -np.frombuffer(x, np.float32)):
            raise RuntimeError("what lies in shared memory is not the answer")
        _post(f"{base}/unregister", {})
    finally:
        path.unlink()


def _post(url: str, body: dict[str, Any]) -> None:
    with urllib.request.urlopen(url, json.dumps(body).encode(), timeout=30) as answer:
        answer.read()


def _negative(mib: int) -> ZooModel:
    """Build `x` FP32 [batch, n] -> `y`, its negative; a row has `mib` MiB."""
    columns = mib * _MIB // 4
    node = helper.make_node("Neg", ["x"], ["y"])
    inputs, outputs = [value("x", "FP32", ["batch", columns])], [value("y", "FP32", ["batch", columns])]
    name = f"negative_{mib}"
    proto = build(name, [node], inputs, outputs)
    return ZooModel(name, proto, sampler({"x": ("FP32", (columns,))}), batchable=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="of one measurement (2)")
    parser.add_argument("--rounds", type=int, default=5, help="in which the ways take turns (5)")
    parser.add_argument("--cores", type=int, default=2, help="cores that all processes share (2)")
    programs = ROOT / "build" / "release"
    parser.add_argument("--programs", type=Path, default=programs, help="folder of wire_load (build/release)")
    parser.add_argument("--json", type=Path, metavar="OUT", help="also write every round's figures there")
    arguments = parser.parse_args()
    if not (arguments.programs / "wire_load").is_file():
        parser.error(f"{arguments.programs / 'wire_load'}: no such file; `make test` builds it")
    if arguments.rounds < 1 or arguments.seconds <= 0 or arguments.cores < 1:
        parser.error("--rounds, --seconds and --cores: expected more than 0")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
