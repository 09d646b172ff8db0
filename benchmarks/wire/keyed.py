"""What it costs that the server looks the features up, beside requests that bring them."""

from dataclasses import replace

from benchmarks.engine.report import Section, Spread, Target, column
from benchmarks.wire.bodies import Body, Varied, grpc_raw, http_binary, http_json
from benchmarks.wire.keyed_model import COLUMNS, ENTITIES, FIRST, KEYED
from benchmarks.wire.setup import Wire
from tests.zoo.model import Arrays

_IN_FLIGHT = 64
_ANSWERS_VARY = 32  # bytes: two numbers in JSON, of any customer
_MOST_CPU_US, _MOST_P99_US = 5.0, 100.0  # more than a request that brings the features


def measure(wire: Wire) -> Section:
    """The same model with its features in the request and with a key, in turns."""
    raw, keyed = wire.engine.models["mlp"], wire.engine.models[KEYED]
    row, key = wire.engine.row("mlp"), wire.engine.row(KEYED)
    bodies = {
        "JSON": (http_json(raw, row, 2), _of_any(http_json(keyed, key, 2), "text", key)),
        "binary": (http_binary(raw, row), _of_any(http_binary(keyed, key), "int64", key)),
        "gRPC": (grpc_raw(raw, row), _of_any(grpc_raw(keyed, key), "int64", key)),
    }
    rounds = [{form: _one(wire, pair, turn) for form, pair in bodies.items()} for turn in range(wire.rounds)]
    section = Section(
        f"mlp by key: 1 view of {COLUMNS} FP32, LMDB of {ENTITIES:,} entities, {_IN_FLIGHT} in flight",
        ("form", "asked by", "CPU µs", "more", "p99 ms", "more µs"),
        notes=["each request by key asks for another entity, drawn evenly from all"],
        data={"rounds": rounds},
    )
    for form in bodies:
        _add_rows(section, rounds, form)
    return section


def _of_any(body: Body, form: str, key: Arrays) -> Body:
    """The same request for a customer that is drawn anew each time."""
    (customer,) = key["customer_id"].ravel()
    written = str(customer).encode() if form == "text" else customer.tobytes()
    if body.content.count(written) != 1:
        raise RuntimeError(f"customer {customer} is not found once in the request")
    varied = Varied(body.content.index(written), form, FIRST, ENTITIES)
    return replace(body, varied=varied, length_slack=_ANSWERS_VARY if form == "text" else 0)


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
