"""Pipelines asked through the Python API, beside their models alone and beside the merged graph."""

import asyncio

import numpy as np

from benchmarks.engine.mlp import INFLIGHT
from benchmarks.engine.python_api import async_closed_loop
from benchmarks.engine.report import Section, Spread, Target, column, ratios
from benchmarks.pipelines.setup import GRAPHS
from falaj import Engine
from tests.zoo.model import ZooModel

MOST = 1.3  # times the CPU of the models alone


def measure(engine: Engine, models: dict[str, ZooModel], seconds: float, rounds: int) -> Section:
    """Ask all of them in turn, one row a request, `rounds` times."""
    names = list(dict.fromkeys(name for graph in GRAPHS for name in (graph.name, *graph.parts, graph.merged)))
    figures: list[dict[str, dict[str, float]]] = []
    for _ in range(rounds):
        one = {}
        for name in names:
            row = models[name].sample(np.random.default_rng(1), 1)
            calls = asyncio.run(async_closed_loop(engine, name, row, INFLIGHT, seconds))
            one[name] = {"cpu_us": calls.cpu_us, "rate": calls.per_second}
        figures.append(one)
    title = f"in process (infer_async, {INFLIGHT} in flight), one row a request: CPU µs per request"
    return section_of(title, figures)


def section_of(title: str, figures: list[dict[str, dict[str, float]]]) -> Section:
    """Make the table: each graph beside the sum of its models and beside the merged model."""
    section = Section(
        title,
        ("graph", "CPU µs", "its models alone", "times the sum", "merged", "requests/s", "merged's"),
        data={"rounds": figures},
    )
    for graph in GRAPHS:
        cpu = column(figures, graph.name, "cpu_us")
        parts = [sum(one[part]["cpu_us"] for part in graph.parts) for one in figures]
        times = ratios(cpu, parts)
        section.rows.append(
            (
                graph.name,
                Spread.of(cpu).text(),
                Spread.of(parts).text(),
                times.text(),
                Spread.of(column(figures, graph.merged, "cpu_us")).text(),
                Spread.of(column(figures, graph.name, "rate")).text(0),
                Spread.of(column(figures, graph.merged, "rate")).text(0),
            )
        )
        if graph.name == "chain":
            section.targets.append(
                Target("CPU of the chain, times its models alone", times.median, "<=", MOST)
            )
    return section
