"""What it costs that the server looks the features up, beside requests that bring them."""

from benchmarks.engine.report import Section, Spread, Target, column
from benchmarks.wire.bodies import Body, grpc_raw, http_binary, http_json
from benchmarks.wire.keyed_model import COLUMNS, ENTITIES, KEYED
from benchmarks.wire.setup import Wire

_IN_FLIGHT = 64
_MOST_CPU_US, _MOST_P99_US = 5.0, 100.0  # more than a request that brings the features


def measure(wire: Wire) -> Section:
    """The same model with its features in the request and with a key, in turns."""
    raw, keyed = wire.engine.models["mlp"], wire.engine.models[KEYED]
    row, key = wire.engine.row("mlp"), wire.engine.row(KEYED)
    bodies = {
        "JSON": (http_json(raw, row, 2), http_json(keyed, key, 2)),
        "binary": (http_binary(raw, row), http_binary(keyed, key)),
        "gRPC": (grpc_raw(raw, row), grpc_raw(keyed, key)),
    }
    rounds = [{form: _one(wire, pair, turn) for form, pair in bodies.items()} for turn in range(wire.rounds)]
    section = Section(
        f"mlp by key: 1 view of {COLUMNS} FP32, LMDB of {ENTITIES:,} entities, {_IN_FLIGHT} in flight",
        ("form", "asked by", "CPU µs", "more", "p99 ms", "more µs"),
        notes=["all requests of one round ask for one entity"],
        data={"rounds": rounds},
    )
    for form in bodies:
        _add_rows(section, rounds, form)
    return section


def _one(wire: Wire, pair: tuple[Body, Body], turn: int) -> dict[str, dict[str, float]]:
    asked = list(zip(("features", "key"), pair, strict=True))
    if turn % 2 == 1:
        asked.reverse()
    return {by: wire.load(wire.server, body, connections=_IN_FLIGHT) for by, body in asked}


def _add_rows(section: Section, rounds: list[dict[str, dict[str, dict[str, float]]]], form: str) -> None:
    def figure(by: str, name: str) -> list[float]:
        return column(rounds, form, by, name)

    def more(name: str) -> Spread:
        pairs = zip(figure("key", name), figure("features", name), strict=True)
        return Spread.of(key - features for key, features in pairs)

    for by in ("features", "key"):
        cpu = Spread.of(figure(by, "server_cpu_us")).text(1)
        p99 = Spread.of(each / 1e3 for each in figure(by, "p99_us")).text()
        added = (more("server_cpu_us").text(1), more("p99_us").text(0)) if by == "key" else ("", "")
        section.rows.append((form if by == "features" else "", by, cpu, added[0], p99, added[1]))
    section.targets.append(Target(f"CPU µs more, {form}", more("server_cpu_us").median, "<=", _MOST_CPU_US))
    section.targets.append(Target(f"p99 µs more, {form}", more("p99_us").median, "<=", _MOST_P99_US))
