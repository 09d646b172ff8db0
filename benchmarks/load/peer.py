"""Falaj and MLServer in one report of `falaj bench`: the sum of 32 numbers a row, asked in turns. See
docs/benchmarks.md.

MLServer runs the sum as a runtime of its own in its process, without workers, as its fastest; Falaj runs it
as an ONNX model. MLServer is that of --mlserver, or is installed into a virtual environment under build/.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
from onnx import helper

from benchmarks.wire.servers import falaj_command, started, started_by
from falaj.server.bench.csv_report import csv_text
from falaj.server.bench.html_report import html_text
from falaj.server.bench.machine import machine
from falaj.server.bench.options import loads_of
from falaj.server.bench.report import Report
from falaj.server.bench.run import Windows, run
from falaj.server.bench.table import print_report
from falaj.server.bench.target import Target
from tests import zoo
from tests.zoo.model import ZooModel, build, sampler, value

ROOT = Path(__file__).resolve().parents[2]
MODEL, COLUMNS = "sum", 32
_RUNTIME = """
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse


class Sum(MLModel):
    async def predict(self, payload):
        x = NumpyCodec.decode_input(payload.inputs[0])
        y = NumpyCodec.encode_output("y", x.sum(axis=1, keepdims=True))
        return InferenceResponse(model_name=self.name, outputs=[y])
"""
_QUICK = Windows(warm_up_s=0.2, window_s=0.3, max_windows=3)


def main() -> int:
    """Measure, print, and return the exit code: 0 where every request was answered."""
    arguments = _arguments()
    python = arguments.mlserver or _installed()
    with tempfile.TemporaryDirectory(prefix="falaj-peer-") as name:
        folder = Path(name)
        zoo.save(_sum_model(), folder / "models")
        command = _mlserver(folder / "mlserver", python)
        io_threads = max(1, len(os.sched_getaffinity(0)) // 2)
        with (
            started("falaj", falaj_command(folder / "models", io_threads)) as falaj,
            started_by("mlserver", command, folder / "mlserver") as mlserver,
        ):
            url = f"{arguments.protocol}://127.0.0.1:"
            targets = [
                Target(
                    f"{url}{server.ports[arguments.protocol]}", MODEL, name=server.name, form=arguments.form
                )
                for server in (falaj, mlserver)
            ]
            windows = _QUICK if arguments.quick else Windows()
            loads = loads_of(
                None if arguments.rate else arguments.concurrency,
                arguments.rate,
                arrivals="poisson",
                connections=64,
                streams=1,
                threads=1,
            )
            ran = run(targets, loads, windows)
    settings = {
        "model": f"the sum of {COLUMNS} FP32",
        "window_s": windows.window_s,
        "stability": windows.stability,
    }
    report = Report(ran.points, settings, machine(), ran.problem)
    print_report(report)
    for path, text in (
        (arguments.html, html_text(report)),
        (arguments.csv, csv_text(report)),
        (arguments.json, json.dumps(report.plain(), indent=1) + "\n"),
    ):
        if path is not None:
            path.write_text(text, encoding="utf-8")
    return 1 if report.failed or report.problem else 0


def _sum_model() -> ZooModel:
    axes = {"axes": np.array([1], dtype=np.int64)}
    node = helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=1)
    inputs, outputs = [value("x", "FP32", ["batch", COLUMNS])], [value("y", "FP32", ["batch", 1])]
    return ZooModel(
        name=MODEL,
        proto=build(MODEL, [node], inputs, outputs, axes),
        sample=sampler({"x": ("FP32", (COLUMNS,))}),
        batchable=True,
    )


def _mlserver(folder: Path, python: Path) -> str:
    """Write its repository; return the command that serves it, for `started_by`."""
    folder.mkdir(parents=True)
    (folder / "sum_runtime.py").write_text(textwrap.dedent(_RUNTIME))
    tensor = {"name": "x", "datatype": "FP32", "shape": [-1, COLUMNS]}
    model = {"name": MODEL, "implementation": "sum_runtime.Sum", "inputs": [tensor]}
    (folder / "model-settings.json").write_text(json.dumps(model))
    settings = {"host": "127.0.0.1", "parallel_workers": 0, "metrics_endpoint": None, "debug": False}
    (folder / "settings.json").write_text(json.dumps(settings))
    ports = "MLSERVER_HTTP_PORT={http_port} MLSERVER_GRPC_PORT={grpc_port}"
    begin = shlex.quote("from mlserver.cli import main; main()")
    return f"env {ports} {shlex.quote(str(python))} -c {begin} start {{repository}}"


def _installed() -> Path:
    """Return the Python of an environment with MLServer, which is made where there is none."""
    folder = ROOT / "build" / "mlserver"
    python = folder / "bin" / "python"
    if not (folder / "installed").exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", "mlserver"], check=True)
        (folder / "installed").touch()
    return python


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--mlserver", type=Path, metavar="PYTHON", help="of an environment that has MLServer")
    parser.add_argument("--protocol", choices=("http", "grpc"), default="http", help="of both servers (http)")
    parser.add_argument(
        "--form", choices=("json", "binary"), default="json", help="of tensors by HTTP (json)"
    )
    parser.add_argument("--concurrency", default="1:64:4x", help="a sweep, as of falaj bench (1:64:4x)")
    parser.add_argument("--rate", help="a sweep of rates, open loop, instead")
    parser.add_argument("--quick", action="store_true", help="short windows, for CI")
    for name in ("html", "csv", "json"):
        parser.add_argument(f"--{name}", type=Path, metavar="OUT", help="also write the report there")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
