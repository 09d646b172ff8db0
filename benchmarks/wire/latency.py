"""What the wire adds to the latency of requests that come as they like, at half of the capacity."""

from benchmarks.engine.report import Section, Spread, Target, column
from benchmarks.wire.bodies import Body
from benchmarks.wire.conv import ENGINE, conv_bodies, engine_closed
from benchmarks.wire.setup import Wire

SHARE = 0.5
ADDED_US = 200.0
_FORMS = ("HTTP binary", "gRPC raw")
_CONNECTIONS = 64  # more than are ever needed at a time
_LONGER = 3.0  # than the other measurements: it is the tail that counts
_KEYS = ("p50_us", "p99_us", "late_p99_us")


def measure(wire: Wire) -> Section:
    """In each round: the engine's capacity, then the same Poisson arrivals in process and over the wire."""
    bodies = {form: body for form, body in conv_bodies(wire).items() if form in _FORMS}
    rounds = [_round(wire, bodies) for _ in range(wire.rounds)]
    section = Section(
        f"conv net, the same Poisson arrivals at {SHARE:.0%} of the engine's capacity: latency in µs",
        ("way", "p50", "p99", "p99 added", "late arrivals p99"),
        notes=[f"capacity: {Spread.of(column(rounds, ENGINE, 'capacity')).text(0)} rows/s"],
        data={"settings": wire.conv_settings, "rounds": rounds},
    )
    base = column(rounds, ENGINE, "p99_us")
    for way in (ENGINE, *bodies):
        p99 = column(rounds, way, "p99_us")
        added = Spread.of(a - b for a, b in zip(p99, base, strict=True))
        half, late = (Spread.of(column(rounds, way, key)).text(0) for key in ("p50_us", "late_p99_us"))
        shown = added.text(0) if way != ENGINE else ""
        section.rows.append((way, half, Spread.of(p99).text(0), shown, late))
        if way != ENGINE:
            section.targets.append(Target(f"{way}, p99 µs added", added.median, "<=", ADDED_US))
    return section


def _round(wire: Wire, bodies: dict[str, Body]) -> dict[str, dict[str, float]]:
    capacity = engine_closed(wire)["requests_per_second"]
    rate, seconds = capacity * SHARE, wire.engine.seconds * _LONGER
    got = wire.engine.native("open", "conv_net", rate=rate, seconds=seconds, **wire.conv_settings)
    names = ("latency_p50_ms", "latency_p99_ms", "late_arrivals_p99_ms")
    engine = {key: got[name] * 1e3 for key, name in zip(_KEYS, names, strict=True)}
    one = {ENGINE: {"capacity": capacity, **engine}}
    for form, body in bodies.items():
        one[form] = wire.load(wire.server, body, connections=_CONNECTIONS, rate=rate, seconds=seconds)
    return one
