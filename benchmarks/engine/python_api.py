"""What the Python API adds, beside the native client and beside InferenceSession.run."""

import asyncio
import time
from collections.abc import Callable

from benchmarks.engine.bare import Calls, repeat_in_threads, session
from benchmarks.engine.mlp import INFLIGHT, mlp_settings, one_client
from benchmarks.engine.report import Section, Spread, column
from benchmarks.engine.setup import Setup
from falaj import Engine
from tests.zoo.model import Arrays

_MANY = 64
_NATIVE = "native event-loop"
_BARE = "InferenceSession.run, 1 row"


def measure(setup: Setup) -> Section:
    """Ask in every way, in turn, `rounds` times."""
    settings = mlp_settings(setup)
    row = setup.row("mlp")
    bare = session(str(setup.model_file("mlp")), 1, False)
    rounds = []
    with Engine(setup.repository) as engine:
        ways: dict[str, Callable[[], Calls]] = {
            _BARE: lambda: repeat_in_threads(lambda: bare.run(None, row), 1, setup.seconds),
            "infer, 1 thread": lambda: _infer(engine, row, 1, setup.seconds),
            "infer, 8 threads": lambda: _infer(engine, row, 8, setup.seconds),
            f"infer_async, {INFLIGHT} in flight": lambda: asyncio.run(
                async_closed_loop(engine, "mlp", row, INFLIGHT, setup.seconds)
            ),
            f"infer_many({_MANY})": lambda: _many(engine, row, setup.seconds),
        }
        for _ in range(setup.rounds):
            native = one_client(setup, "event-loop", settings)
            one = {_NATIVE: {"cpu_us": native["cpu_us_per_request"], "rate": native["requests_per_second"]}}
            for name, way in ways.items():
                calls = way()
                one[name] = {"cpu_us": calls.cpu_us, "rate": calls.per_second}
            rounds.append(one)
    section = Section(
        "mlp through the Python API, one row a request: CPU µs per request",
        ("way", "CPU µs", "over native", "over InferenceSession.run", "requests/s"),
        data={"settings": settings, "rounds": rounds},
    )
    for name in (_NATIVE, *ways):
        cpu = column(rounds, name, "cpu_us")
        section.rows.append(
            (
                name,
                Spread.of(cpu).text(),
                _over(cpu, column(rounds, _NATIVE, "cpu_us")),
                _over(cpu, column(rounds, _BARE, "cpu_us")),
                Spread.of(column(rounds, name, "rate")).text(0),
            )
        )
    return section


async def async_closed_loop(engine: Engine, model: str, row: Arrays, inflight: int, seconds: float) -> Calls:
    """Keep `inflight` requests open on one event loop."""
    count = 0
    end = 0.0

    async def ask() -> None:
        nonlocal count
        while time.perf_counter() < end:
            await engine.infer_async(model, row)
            count += 1

    end = time.perf_counter() + seconds / 5
    await asyncio.gather(*(ask() for _ in range(inflight)))  # warm-up
    count = 0
    cpu, begin = time.process_time(), time.perf_counter()
    end = begin + seconds
    await asyncio.gather(*(ask() for _ in range(inflight)))
    return Calls(count, time.perf_counter() - begin, time.process_time() - cpu)


def _infer(engine: Engine, row: Arrays, threads: int, seconds: float) -> Calls:
    return repeat_in_threads(lambda: engine.infer("mlp", row), threads, seconds)


def _many(engine: Engine, row: Arrays, seconds: float) -> Calls:
    requests = [row] * _MANY
    calls = repeat_in_threads(lambda: engine.infer_many("mlp", requests), 1, seconds)
    return Calls(calls.count * _MANY, calls.wall, calls.cpu)


def _over(cpu: list[float], base: list[float]) -> str:
    return Spread.of(a - b for a, b in zip(cpu, base, strict=True)).text()
