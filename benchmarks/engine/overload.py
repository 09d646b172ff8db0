"""Latency under arrivals that do not wait for answers, and what is left of capacity under too many."""

from benchmarks.engine.conv import INFLIGHT
from benchmarks.engine.report import Section, Spread, Target, column
from benchmarks.engine.setup import Setup, falaj_settings
from falaj import Engine

SLO_MS = 50.0
GOOD_SHARE = 0.90
REFUSAL_MS = 1.0
_LOADS = {"50 %": 0.5, "80 %": 0.8, "150 %, SLO": 1.5}
_SHOWN = (
    ("queue_p50_ms", 2),
    ("queue_p99_ms", 2),
    ("latency_p99_ms", 2),
    ("refused_share", 3),
    ("refusal_p99_ms", 3),
    ("refusal_max_ms", 3),
    ("rows_per_batch", 1),
    ("late_arrivals_p99_ms", 2),
)


def measure(setup: Setup) -> Section:
    """In each round: the closed-loop capacity, each share of it as Poisson arrivals, and capacity again."""
    with Engine(setup.repository) as engine:
        settings = falaj_settings(engine.describe("conv_net"))
    rounds = [_round(setup, settings) for _ in range(setup.rounds)]
    section = Section(
        f"conv net, Poisson arrivals; {SLO_MS:g} ms objective at 150 %: milliseconds",
        ("load", "good/capacity", *(name.removesuffix("_ms").replace("_", " ") for name, _ in _SHOWN)),
        notes=[f"capacity: {Spread.of(column(rounds, 'capacity', 'rate')).text(0)} rows/s"],
        data={"settings": settings, "slo_ms": SLO_MS, "rounds": rounds},
    )
    for name in _LOADS:
        shown = [Spread.of(column(rounds, name, key)).text(digits) for key, digits in _SHOWN]
        good = Spread.of(column(rounds, name, "good_of_capacity")).text(3)
        section.rows.append((name, good, *shown))
    over = list(_LOADS)[-1]
    good_share = Spread.of(column(rounds, over, "good_of_capacity")).median
    section.targets += [
        Target("good answers of capacity at 150 %", good_share, ">=", GOOD_SHARE),
        Target("refusal p99 ms", Spread.of(column(rounds, over, "refusal_p99_ms")).median, "<", REFUSAL_MS),
        Target("refusal max ms", Spread.of(column(rounds, over, "refusal_max_ms")).high, "<", REFUSAL_MS),
    ]
    return section


def _round(setup: Setup, settings: dict[str, float]) -> dict[str, dict[str, float]]:
    before = _capacity(setup, settings)
    one: dict[str, dict[str, float]] = {}
    for name, share in _LOADS.items():
        slo = SLO_MS if share > 1 else 0.0
        one[name] = setup.native("open", "conv_net", rate=before * share, slo_ms=slo, **settings)
    after = _capacity(setup, settings)
    capacity = (before + after) / 2  # the machine's speed may drift over a round
    for result in one.values():
        result["good_of_capacity"] = result["good_per_second"] / capacity
    return {"capacity": {"rate": capacity, "before": before, "after": after}, **one}


def _capacity(setup: Setup, settings: dict[str, float]) -> float:
    got = setup.native("closed", "conv_net", client="callback", inflight=INFLIGHT, threads=2, **settings)
    return got["requests_per_second"]
