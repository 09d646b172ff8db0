"""Pipelines asked over HTTP and gRPC, by the native load generator."""

import json
import subprocess
from pathlib import Path

import numpy as np

from benchmarks.engine.report import Section
from benchmarks.pipelines.in_process import section_of
from benchmarks.pipelines.setup import GRAPHS
from benchmarks.wire.bodies import Body, grpc_raw, http_binary
from benchmarks.wire.servers import Server
from tests.zoo.model import ZooModel

_CONNECTIONS = 16


def measure(
    program: Path, folder: Path, server: Server, models: dict[str, ZooModel], seconds: float, rounds: int
) -> list[Section]:
    """Ask all of them in turn over either transport, one row a request, `rounds` times.

    `program` is build/release/wire_load, `folder` is for the bodies of requests.
    """
    names = list(dict.fromkeys(name for graph in GRAPHS for name in (graph.name, *graph.parts, graph.merged)))
    sections = []
    for protocol, make in (("http", http_binary), ("grpc", grpc_raw)):
        bodies = {
            name: make(models[name], models[name].sample(np.random.default_rng(1), 1)) for name in names
        }
        figures = [
            {name: _load(program, folder, server, body, seconds) for name, body in bodies.items()}
            for _ in range(rounds)
        ]
        title = (
            f"{protocol}, binary tensors, {_CONNECTIONS} connections, one row a request: the server's CPU µs"
        )
        sections.append(section_of(title, figures))
    return sections


def _load(program: Path, folder: Path, server: Server, body: Body, seconds: float) -> dict[str, float]:
    path = folder / f"{hash(body) & (1 << 64) - 1:016x}.body"
    path.write_bytes(body.content)
    command = [str(program), "--protocol", body.protocol, "--path", body.path, "--host", server.host]
    command += ["--port", str(server.ports[body.protocol]), "--body-file", str(path)]
    command += ["--length-slack", str(body.length_slack), "--connections", str(_CONNECTIONS)]
    command += ["--seconds", str(seconds), "--pid", str(server.pid or 0)]
    for header in body.headers:
        command += ["--header", header]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}: {done.stdout}{done.stderr}")
    told = json.loads(done.stdout)
    return {"cpu_us": told["server_cpu_us"], "rate": told["requests_per_second"]}
