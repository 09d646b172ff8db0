"""Ten thousand sequences at a time through every transport and strategy, with a reload in the middle.

Two stateful models, a sum (which is exact) and an LSTM, are served by a process of its own and by
falaj.Engine. All sequences are begun before any goes on; then they go on in random order, to random lengths;
one in ten vanishes without an end. Half-way the model is loaded anew. Every answer is checked; what vanished
must be gone after its idle timeout. Exit code is 1 where an answer is wrong or lost.
"""

import argparse
import asyncio
import http.client
import random
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import onnx

import falaj
from benchmarks.engine.machine import stamp
from benchmarks.sequences.transports import Floats, Grpc, Http, InProcess, Step, Stream, Transport
from tests.engine.sequence_models import add_lstm, add_sum, lstm_model
from tests.server.serving_process import Serving

_IDLE_MS = 20_000
_VANISH = 0.1
_WIDTHS = {"sum": 1, "lstm": 4}


@dataclass(frozen=True)
class Sequence:
    """What one client asks: [length, width], and whether it ends or vanishes."""

    id: int
    steps: Floats
    vanishes: bool


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sequences", type=int, default=10_000)
    parser.add_argument("--transports", nargs="+", default=["engine", "http", "grpc", "stream"])
    parser.add_argument("--strategies", nargs="+", default=["oldest", "direct"])
    arguments = parser.parse_args()
    print(stamp())
    print(f"{'model':6}{'strategy':10}{'transport':11}{'requests':>10}{'req/s':>9}{'wrong':>7}{'vanished':>10}"
          f"{'MiB more':>10}")  # fmt: skip
    wrong = 0
    for strategy in arguments.strategies:
        for transport in arguments.transports:
            with tempfile.TemporaryDirectory() as folder:
                root = Path(folder) / "models"
                _write(root, strategy, arguments.sequences)
                wrong += _engine(root, strategy, arguments) if transport == "engine" else (
                    _served(Path(folder), strategy, transport, arguments)
                )  # fmt: skip
    return 1 if wrong else 0


def _write(root: Path, strategy: str, sequences: int) -> None:
    table = f'strategy = "{strategy}"\nmax_sequences = {2 * sequences}\nidle_timeout_ms = {_IDLE_MS}\n'
    rows = sequences if strategy == "direct" else 256
    head = f"max_batch_size = {rows}\nmax_queue_rows = {4 * sequences}"
    add_sum(root, head=head, sequence=table)
    add_lstm(root, head=head, sequence=table)


def _engine(root: Path, strategy: str, arguments: argparse.Namespace) -> int:
    wrong = 0
    with falaj.Engine(root, strict=True) as engine:
        for model in _WIDTHS:
            sequences = _make(model, arguments.sequences)

            def reload(model: str = model) -> None:
                engine.reload(model)

            def live(model: str = model) -> int:
                return int(engine.stats(model)[0]["sequences_live"])

            wrong += _run(
                lambda: InProcess(engine), model, sequences, reload, live, (strategy, "engine"), None
            )
    return wrong


def _served(folder: Path, strategy: str, transport: str, arguments: argparse.Namespace) -> int:
    wrong = 0
    with Serving(folder) as serving:
        make: Callable[[], Transport] = {
            "http": lambda: Http(serving.ready["http"]),
            "grpc": lambda: Grpc(serving.ready["grpc"]),
            "stream": lambda: Stream(serving.ready["grpc"]),
        }[transport]
        for model in _WIDTHS:
            sequences = _make(model, arguments.sequences)

            def reload(model: str = model) -> None:
                connection = http.client.HTTPConnection("127.0.0.1", serving.ready["http"])
                connection.request("POST", f"/v2/repository/models/{model}/load")
                answer = connection.getresponse()
                if answer.status != 200:
                    raise RuntimeError(answer.read().decode())

            def live(model: str = model) -> int:
                connection = http.client.HTTPConnection("127.0.0.1", serving.ready["metrics"])
                connection.request("GET", "/metrics")
                lines = connection.getresponse().read().decode().splitlines()
                name = f'falaj_sequences{{model="{model}",version="1"}} '
                return next(int(float(line[len(name) :])) for line in lines if line.startswith(name))

            where = (strategy, transport)
            wrong += _run(make, model, sequences, reload, live, where, serving.pid)
    return wrong


def _make(model: str, count: int) -> list[Sequence]:
    dice = np.random.default_rng(7)
    lengths = dice.integers(2, 8, size=count)
    made = []
    for index, length in enumerate(lengths):
        steps = dice.normal(size=(length, _WIDTHS[model])).astype(np.float32)
        if model == "sum":
            steps = dice.integers(0, 1000, size=(length, 1)).astype(np.float32)
        made.append(Sequence(index + 1, steps, bool(dice.random() < _VANISH)))
    return made


def _run(
    make: Callable[[], Transport],
    model: str,
    sequences: list[Sequence],
    reload: Callable[[], None],
    live: Callable[[], int],
    where: tuple[str, str],
    pid: int | None,
) -> int:
    before = _resident(pid)
    begin = time.perf_counter()
    answers = asyncio.run(_drive(make, model, sequences, reload))
    seconds = time.perf_counter() - begin
    grown = _resident(pid) - before
    wrong = _check(model, sequences, answers)
    vanished = sum(sequence.vanishes for sequence in sequences)
    requests = sum(len(sequence.steps) for sequence in sequences)
    end = time.monotonic() + _IDLE_MS / 1000 + 30
    while live() > 0:
        if time.monotonic() > end:
            print("sequences that vanished are still live")
            wrong += 1
            break
        threading.Event().wait(0.2)
    strategy, transport = where
    print(f"{model:6}{strategy:10}{transport:11}{requests:10}{requests / seconds:9.0f}{wrong:7}{vanished:10}"
          f"{grown / 2**20:10.1f}", flush=True)  # fmt: skip
    return wrong


async def _drive(
    make: Callable[[], Transport], model: str, sequences: list[Sequence], reload: Callable[[], None]
) -> list[list[Floats]]:
    """Begin all, then go on with all at once; return the answers of each."""
    transport = make()

    async def one(sequence: Sequence, step: int) -> Floats:
        end = step == len(sequence.steps) - 1 and not sequence.vanishes
        return await transport.ask(Step(model, sequence.id, sequence.steps[step], step == 0, end))

    async def rest(sequence: Sequence, first: Floats) -> list[Floats]:
        return [first, *[await one(sequence, step) for step in range(1, len(sequence.steps))]]

    firsts = await asyncio.gather(*(one(sequence, 0) for sequence in sequences))
    pairs = list(zip(sequences, firsts, strict=True))
    order = list(range(len(pairs)))
    random.Random(3).shuffle(order)
    half = len(order) // 2
    going = [asyncio.ensure_future(rest(*pairs[i])) for i in order[:half]]
    reloading = asyncio.get_running_loop().run_in_executor(None, reload)
    going += [asyncio.ensure_future(rest(*pairs[i])) for i in order[half:]]
    done = await asyncio.gather(*going)
    await reloading
    await transport.close()
    answers: list[list[Floats]] = [[] for _ in sequences]
    for i, answer in zip(order, done, strict=True):
        answers[i] = answer
    return answers


def _check(model: str, sequences: list[Sequence], answers: list[list[Floats]]) -> int:
    wrong = 0
    step = _sum_step if model == "sum" else _lstm_step()
    for sequence, answered in zip(sequences, answers, strict=True):
        state = None
        for x, y in zip(sequence.steps, answered, strict=True):
            expected, state = step(x, state)
            wrong += not np.allclose(y, expected, rtol=1e-4, atol=1e-5)
    return wrong


def _sum_step(x: Floats, state: Floats | None) -> tuple[Floats, Floats]:
    total = x if state is None else state + x
    return total, total


def _lstm_step() -> Callable[[Floats, tuple[Floats, Floats] | None], tuple[Floats, tuple[Floats, Floats]]]:
    """One step by the formulas of ONNX's LSTM, gates in the order i, o, f, c, in float64."""
    weights = {t.name: onnx.numpy_helper.to_array(t) for t in lstm_model().graph.initializer}
    w, r, b = (np.asarray(weights[name][0], np.float64) for name in "wrb")
    bias = b[: len(b) // 2] + b[len(b) // 2 :]
    hidden = r.shape[1]

    def sigmoid(z: Floats) -> Floats:
        return 1 / (1 + np.exp(-z))

    def step(x: Floats, state: tuple[Floats, Floats] | None) -> tuple[Floats, tuple[Floats, Floats]]:
        h, c = state if state is not None else (np.zeros(hidden), np.zeros(hidden))
        i, o, f, g = np.split(w @ x + r @ h + bias, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        return h, (h, c)

    return step


def _resident(pid: int | None) -> int:
    """Bytes of memory of the server, or of this process."""
    pid_path = "self" if pid is None else str(pid)
    pages = int(Path(f"/proc/{pid_path}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


if __name__ == "__main__":
    sys.exit(main())
