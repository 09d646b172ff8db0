"""Throughput of a model that dwarfs its requests, against ONNX Runtime at its best."""

import asyncio
from typing import Any

from benchmarks.engine.bare import BareRunner, search
from benchmarks.engine.python_api import async_closed_loop
from benchmarks.engine.report import Section, Spread, Target, column, ratios
from benchmarks.engine.setup import Setup, falaj_settings
from falaj import Engine, _core

INFLIGHT = 16
SHARE = 0.98
_BARE = "InferenceSession.run at its best"
_NATIVE_BARE = "ONNX Runtime alone, native, Falaj's settings"


def measure(setup: Setup) -> Section:
    """Search the baseline's best way, then run Falaj and the baselines in turn."""
    cores = _core.usable_cores()
    how, tried = search(setup, "conv_net", cores)
    runner = BareRunner(setup, "conv_net", how)
    with Engine(setup.repository) as engine:
        described = engine.describe("conv_net")
        settings = falaj_settings(described)
        rounds = [_round(setup, engine, runner, settings) for _ in range(setup.rounds)]
    section = Section(
        f"conv net, {setup.models['conv_net'].notes}, {INFLIGHT} in flight: rows per second",
        ("way", "rows/s", "of InferenceSession.run", "rows/batch"),
        notes=[f"InferenceSession.run at its best: {how.text()}", _chosen(described)],
        data={"settings": settings, "bare": how.text(), "bare_tried": tried, "rounds": rounds},
    )
    base = column(rounds, _BARE, "rate")
    for name in rounds[0]:
        rate = column(rounds, name, "rate")
        rows = Spread.of(column(rounds, name, "rows_per_batch")).text(1)
        section.rows.append((name, Spread.of(rate).text(0), ratios(rate, base).text(3), rows))
    for client in ("callback", "event-loop"):
        share = ratios(column(rounds, f"Falaj, {client}", "rate"), base).median
        section.targets.append(Target(f"Falaj ({client}) of InferenceSession.run", share, ">=", SHARE))
    return section


def _round(
    setup: Setup, engine: Engine, runner: BareRunner, settings: dict[str, float]
) -> dict[str, dict[str, float]]:
    one: dict[str, dict[str, float]] = {}
    for client in ("callback", "event-loop"):
        got = setup.native("closed", "conv_net", client=client, inflight=INFLIGHT, threads=2, **settings)
        rows = got["rows_per_batch"]
        one[f"Falaj, {client}"] = {"rate": got["requests_per_second"], "rows_per_batch": rows}
        if client == "callback":  # between the two, so that both have it beside them
            batch = float(runner.how.batch)
            one[_BARE] = {"rate": runner.rows_per_second(setup.seconds), "rows_per_batch": batch}
    row = setup.row("conv_net")
    calls = asyncio.run(async_closed_loop(engine, "conv_net", row, INFLIGHT, setup.seconds))
    stats = engine.stats("conv_net")[0]
    rows = stats["inference_count"] / stats["execution_count"]
    one["Falaj, Python infer_async"] = {"rate": calls.per_second, "rows_per_batch": rows}
    rows = max(1, round(one["Falaj, callback"]["rows_per_batch"]))
    bare = setup.native(
        "bare", "conv_net", rows=rows, threads=int(settings["instances"]), intra_op=settings["intra_op"]
    )
    one[_NATIVE_BARE] = {"rate": bare["rows_per_second"], "rows_per_batch": rows}
    return one


def _chosen(described: dict[str, Any]) -> str:
    instances, threads = described["instances"], described["threads"]
    batch = described["max_batch_size"]
    return f"Falaj chose {instances} instances x {threads} threads, at most {batch} rows a batch"
