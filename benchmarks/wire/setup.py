"""What every section stands on: the models in a repository, the programs, the server, how to measure."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from onnx import helper

from benchmarks.engine.setup import Setup, falaj_settings, prepare
from benchmarks.wire.bodies import Body
from benchmarks.wire.keyed_model import KEYED, write_keyed
from benchmarks.wire.servers import Server, started
from falaj import Engine
from tests import zoo
from tests.zoo.model import ZooModel, build, sampler, value

MILLION = 1_000_000
_PROGRAMS = ("wire_load", "beast_echo", "nghttp2_echo")


@dataclass(frozen=True)
class Wire:
    """How to measure, and what."""

    programs: Path
    folder: Path  # of request bodies
    server: Server
    engine: Setup
    conv_settings: dict[str, float]  # what the engine chose, and the server was told
    io_threads: int

    @property
    def rounds(self) -> int:
        """How often each figure is measured."""
        return self.engine.rounds

    @contextmanager
    def echo(self, program: str, reply_bytes: int) -> Iterator[Server]:
        """Start a bare server that answers with so many bytes, on as many threads as the server has."""
        command = [str(self.programs / program), "--reply-bytes", str(reply_bytes)]
        if program != "grpcpp_echo":  # which takes as many as it likes
            command += ["--threads", str(self.io_threads)]
        with started(program, command, seconds=10) as server:
            yield server

    def load(
        self,
        server: Server,
        body: Body,
        *,
        connections: int = 1,
        streams: int = 1,
        rate: float = 0.0,
        seconds: float | None = None,
    ) -> dict[str, float]:
        """Ask a server and return the load generator's figures. Raises RuntimeError if any was wrong."""
        if body.protocol not in server.ports:
            raise RuntimeError(f"{server.name} does not listen for {body.protocol}")
        command = [str(self.programs / "wire_load"), "--protocol", body.protocol, "--path", body.path]
        command += ["--host", server.host, "--port", str(server.ports[body.protocol])]
        command += ["--body-file", str(self._file(body)), "--length-slack", str(body.length_slack)]
        command += ["--connections", str(connections), "--streams", str(streams), "--rate", str(rate)]
        command += ["--seconds", str(self.engine.seconds if seconds is None else seconds)]
        command += ["--pid", str(server.pid or 0)]
        if body.varied is not None:
            command += ["--vary-at", str(body.varied.at), "--vary-as", body.varied.form]
            command += ["--vary-from", str(body.varied.least), "--vary-count", str(body.varied.count)]
        for header in body.headers:
            command += ["--header", header]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            said = (done.stdout + done.stderr).strip()
            raise RuntimeError(f"{server.name}: {' '.join(command)}: exit code {done.returncode}: {said}")
        figures: dict[str, Any] = json.loads(done.stdout)
        del figures["first_error"]
        return figures

    def heard(self, bodies: dict[str, Body]) -> dict[str, Body]:
        """Return those that the server listens for; the section `grpc` fails where it does not for gRPC."""
        return {form: body for form, body in bodies.items() if body.protocol in self.server.ports}

    def answer_bytes(self, body: Body) -> int:
        """Return how long the server's answer to a request is."""
        return int(self.load(self.server, body, seconds=0.05)["answer_bytes"])

    def _file(self, body: Body) -> Path:
        path = self.folder / f"{hash(body) & (1 << 64) - 1:016x}.body"
        if not path.exists():
            path.write_bytes(body.content)
        return path


@dataclass(frozen=True)
class Models:
    """The models, and what the engine chose for the one that takes time."""

    engine: Setup
    conv_settings: dict[str, float]


def write_models(programs: Path, folder: Path, seconds: float, rounds: int, quick: bool) -> Models:
    """Write the models into a repository. Raises FileNotFoundError where a program was not built.

    The conv net's settings are found by trial once and written down, so that the server and the engine beside
    it run the same.
    """
    for program in _PROGRAMS:
        if not (programs / program).is_file():
            path = programs / program
            raise FileNotFoundError(f"{path}: no such file; `cmake --build --preset release` makes it")
    engine = prepare(programs / "falaj_engine_bench", folder, seconds, rounds, quick)
    with Engine(folder) as trial:
        chosen = falaj_settings(trial.describe("conv_net"))
    toml = f"tune_ms = 0\nmax_batch_size = {chosen['max_batch']}\n"
    toml += f"instances = {chosen['instances']}\nthreads = {chosen['intra_op']}\n"
    (folder / "conv_net" / "model.toml").write_text(toml)
    million = million_floats()
    zoo.save(million, folder)
    (folder / million.name / "model.toml").write_text("tune_ms = 0\nmax_batch_size = 2\n")
    engine.models[million.name] = million
    engine.models[KEYED] = write_keyed(folder, engine.models["mlp"], folder.parent / "data" / "online")
    return Models(engine, chosen)


def million_floats() -> ZooModel:
    """Build `x` FP32 [batch, 1000000] -> `y`, its first two columns: nothing but a large request."""
    constants = {key: np.array(at, dtype=np.int64) for key, at in (("from", [0]), ("to", [2]), ("axis", [1]))}
    node = helper.make_node("Slice", ["x", "from", "to", "axis"], ["y"])
    inputs, outputs = [value("x", "FP32", ["batch", MILLION])], [value("y", "FP32", ["batch", 2])]
    return ZooModel(
        name="million",
        proto=build("million", [node], inputs, outputs, constants),
        sample=sampler({"x": ("FP32", (MILLION,))}),
        batchable=True,
    )
