"""What a reload does to the requests that come in meanwhile."""

import random
import threading
import time
from bisect import bisect
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import falaj
from benchmarks.engine.bare import repeat_in_threads
from benchmarks.engine.report import Section, Spread, Target, column
from benchmarks.engine.setup import Setup
from falaj import Engine
from tests.zoo.model import Arrays

RELOADS = 20
PAUSE = 0.2  # s between them: faster than any deployment, slow enough to be one
# Shares of capacity. The senders are Python threads, which the GIL bounds long before the small model does.
LOADS = {"mlp": 0.05, "conv_net": 0.3}
P99_RATIO = 1.5
_WINDOWS = ("before", "during", "after")
_INSIDE = "inside"  # those of "during" that met a reload; the others met a pause
_SENDERS = {"mlp": 4, "conv_net": 16}


@dataclass
class _Window:
    """What was scheduled between two moments. Each sender has its own; merged when they have ended."""

    latencies_ms: list[float] = field(default_factory=list)
    scheduled: list[float] = field(default_factory=list)  # of each latency, s of time.perf_counter
    failed: dict[str, int] = field(default_factory=dict)

    def merge(self, other: "_Window") -> None:
        self.latencies_ms += other.latencies_ms
        self.scheduled += other.scheduled
        for name, count in other.failed.items():
            self.failed[name] = self.failed.get(name, 0) + count


class _Load:
    """Poisson arrivals from several threads. Latency counts from the scheduled time of each request, so that
    one that had to wait for its sender is not let off."""

    def __init__(self, ask: Callable[[], object], rate: float, senders: int) -> None:
        self._ask = ask
        self._stop = False
        self._window = _WINDOWS[0]
        self._seen = [{name: _Window() for name in _WINDOWS} for _ in range(senders)]
        each = rate / senders
        self._threads = [threading.Thread(target=self._send, args=(i, each)) for i in range(senders)]
        for thread in self._threads:
            thread.start()

    def enter(self, window: str) -> None:
        """Count what is scheduled from now on to `window`."""
        self._window = window

    def finish(self) -> dict[str, _Window]:
        """Stop and return the windows."""
        self._stop = True
        for thread in self._threads:
            thread.join()
        merged = {name: _Window() for name in _WINDOWS}
        for seen in self._seen:
            for name, window in seen.items():
                merged[name].merge(window)
        return merged

    def _send(self, index: int, rate: float) -> None:
        rng = random.Random(index)
        scheduled = time.perf_counter()
        while not self._stop:
            scheduled += rng.expovariate(rate)
            wait = scheduled - time.perf_counter()
            if wait > 0:
                time.sleep(wait)
            window = self._seen[index][self._window]
            try:
                self._ask()
            except falaj.Error as error:
                kind = type(error).__name__
                window.failed[kind] = window.failed.get(kind, 0) + 1
            else:
                window.scheduled.append(scheduled)
                window.latencies_ms.append((time.perf_counter() - scheduled) * 1e3)


def measure(setup: Setup) -> Section:
    """For each model in each round: load before, during at least RELOADS reloads, PAUSE apart, and after."""
    rounds: list[dict[str, dict[str, Any]]] = []
    with Engine(setup.repository) as engine:
        for _ in range(setup.rounds):
            rounds.append({name: _round(setup, engine, name) for name in _SENDERS})
    section = Section(
        "reload under 5 % (mlp), 30 % (conv) load, Poisson arrivals from Python threads: p99 latency in ms",
        (
            "model",
            *_WINDOWS,
            _INSIDE,
            "during/before",
            "failed",
            "requests",
            "reloads",
            "ms a reload",
            "requests/s",
        ),
        data={"loads": LOADS, "rounds": rounds},
    )
    for name in _SENDERS:
        ratio = Spread.of(column(rounds, name, "ratio"))
        failed = sum(column(rounds, name, "failed"))
        section.rows.append(
            (
                name,
                *(
                    Spread.of(column(rounds, name, "p99_ms", window)).text()
                    for window in (*_WINDOWS, _INSIDE)
                ),
                ratio.text(),
                f"{failed:.0f}",
                f"{sum(column(rounds, name, 'requests')):,.0f}",
                f"{sum(column(rounds, name, 'reloads')):.0f}",
                Spread.of(column(rounds, name, "reload_ms")).text(1),
                Spread.of(column(rounds, name, "rate")).text(0),
            )
        )
        section.targets.append(Target(f"{name}: requests failed", failed, "=", 0))
        section.targets.append(Target(f"{name}: p99 during/before", ratio.median, "<=", P99_RATIO))
    kinds = sorted({kind for one in rounds for model in one.values() for kind in model["failures"]})
    section.notes += [f"failures: {', '.join(kinds)}"] if kinds else []
    return section


def _round(setup: Setup, engine: Engine, name: str) -> dict[str, Any]:
    row: Arrays = setup.row(name)
    senders = _SENDERS[name]

    def ask() -> object:
        return engine.infer(name, row)

    capacity = repeat_in_threads(ask, senders, setup.seconds / 3).per_second
    load = _Load(ask, LOADS[name] * capacity, senders)
    try:
        time.sleep(setup.seconds)
        load.enter("during")
        begin = time.perf_counter()
        reloads: list[tuple[float, float]] = []
        while len(reloads) < (2 if setup.smoke else RELOADS) or time.perf_counter() - begin < setup.seconds:
            started = time.perf_counter()
            engine.reload(name)
            reloads.append((started, time.perf_counter()))
            time.sleep(PAUSE)
        load.enter("after")
        time.sleep(setup.seconds)
    finally:
        windows = load.finish()
    p99 = {window: _quantile(seen.latencies_ms, 0.99) for window, seen in windows.items()}
    p99[_INSIDE] = _quantile(_met(windows["during"], reloads), 0.99)
    failures: dict[str, int] = {}
    for seen in windows.values():
        failures.update(seen.failed)
    return {
        "p99_ms": p99,
        "p999_ms": {window: _quantile(seen.latencies_ms, 0.999) for window, seen in windows.items()},
        "max_ms": {window: max(seen.latencies_ms, default=0.0) for window, seen in windows.items()},
        "ratio": p99["during"] / p99["before"],
        "failed": sum(sum(seen.failed.values()) for seen in windows.values()),
        "failures": failures,
        "requests": sum(len(seen.latencies_ms) for seen in windows.values()),
        "reloads": len(reloads),
        "reload_ms": median(end - start for start, end in reloads) * 1e3,
        "rate": LOADS[name] * capacity,
    }


def _met(window: _Window, reloads: list[tuple[float, float]]) -> list[float]:
    """Latencies of the requests that were under way at some moment of a reload."""
    starts = [start for start, _ in reloads]
    met = []
    for latency, scheduled in zip(window.latencies_ms, window.scheduled, strict=True):
        ended = scheduled + latency / 1e3
        last = bisect(starts, ended) - 1  # the last reload that began before the request ended
        if last >= 0 and reloads[last][1] > scheduled:
            met.append(latency)
    return met


def _quantile(values: list[float], q: float) -> float:
    return sorted(values)[int(q * (len(values) - 1))] if values else 0.0
