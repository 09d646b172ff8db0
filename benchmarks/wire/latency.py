"""What the wire adds to the latency of requests that come as they like, at half of the capacity."""

from functools import partial

from benchmarks.engine import stalls
from benchmarks.engine.report import Section, Spread, Target, column
from benchmarks.wire import phases
from benchmarks.wire.bodies import Body
from benchmarks.wire.conv import ENGINE, beside_echo, conv_bodies, engine_closed
from benchmarks.wire.setup import Wire

SHARE = 0.5
ADDED_US = 200.0
_FORMS = ("HTTP binary", "gRPC raw")
_CONNECTIONS = 64  # more than are ever needed at a time
_LONGER = 3.0  # than the other measurements: it is the tail that counts
_KEYS = ("p50_us", "p99_us", "late_p99_us")
_OWN = "own_p99_us"
_ECHO = "echo_p99_us"  # of the same exchange with a bare server, beside the engine
_WATCH_SECONDS = 5.0  # after the rounds, with the machine idle


def measure(wire: Wire) -> Section:
    """In each round: the engine's capacity, then the same Poisson arrivals in process and over the wire.

    Where the machine itself stops for milliseconds, a p99 is those stops, and the more threads and cores a
    request has to do with, the more of them it meets. So they are measured too, and so is the server's own
    part, which is the same whatever the machine does in between, and the p99 of the same exchange with a
    server that only echoes, while the engine has in process as much to do as otherwise.
    """
    bodies = {form: body for form, body in conv_bodies(wire).items() if form in _FORMS}
    replies = {form: wire.answer_bytes(body) for form, body in bodies.items()}
    rounds = [_round(wire, bodies, replies) for _ in range(wire.rounds)]
    added = ("p50 added", "p99", "p99 added")
    limits = ("late arrivals p99", "read + decode + encode p99", "an echo's p99")
    section = Section(
        f"conv net, the same Poisson arrivals at {SHARE:.0%} of the engine's capacity: latency in µs",
        ("way", "p50", *added, *limits),
        notes=[
            f"capacity: {Spread.of(column(rounds, ENGINE, 'capacity')).text(0)} rows/s",
            f"this machine, idle: {stalls.measure(_WATCH_SECONDS).text()}",
        ],
        data={"settings": wire.conv_settings, "rounds": rounds},
    )
    for way in (ENGINE, *bodies):
        half, p99, late = (Spread.of(column(rounds, way, key)).text(0) for key in _KEYS)
        if way == ENGINE:
            section.rows.append((way, half, "", p99, "", late, "", ""))
            continue
        half_added, added_p99 = (_added(rounds, way, key) for key in _KEYS[:2])
        own = Spread.of(column(rounds, way, _OWN)).text(0) if _OWN in rounds[0][way] else ""
        echo = Spread.of(column(rounds, way, _ECHO)).text(0)
        added_text = (half_added.text(0), p99, added_p99.text(0))
        section.rows.append((way, half, *added_text, late, own, echo))
        section.targets.append(Target(f"{way}, p99 µs added", added_p99.median, "<=", ADDED_US))
    return section


def _added(rounds: list[dict[str, dict[str, float]]], way: str, key: str) -> Spread:
    pairs = zip(column(rounds, way, key), column(rounds, ENGINE, key), strict=True)
    return Spread.of(over_wire - in_process for over_wire, in_process in pairs)


def _engine_open(wire: Wire, rate: float, seconds: float) -> dict[str, float]:
    got = wire.engine.native("open", "conv_net", rate=rate, seconds=seconds, **wire.conv_settings)
    names = ("latency_p50_ms", "latency_p99_ms", "late_arrivals_p99_ms")
    return {key: got[name] * 1e3 for key, name in zip(_KEYS, names, strict=True)}


def _round(wire: Wire, bodies: dict[str, Body], replies: dict[str, int]) -> dict[str, dict[str, float]]:
    capacity = engine_closed(wire)["requests_per_second"]
    rate, seconds = capacity * SHARE, wire.engine.seconds * _LONGER
    one = {ENGINE: {"capacity": capacity, **_engine_open(wire, rate, seconds)}}
    for form, body in bodies.items():
        before = phases.counts(wire.server, body.protocol)
        one[form] = wire.load(wire.server, body, connections=_CONNECTIONS, rate=rate, seconds=seconds)
        own = phases.p99(before, phases.counts(wire.server, body.protocol))
        if own is not None:
            one[form][_OWN] = own * 1e6
        engine = partial(_engine_open, wire, rate, seconds)
        asked = {"connections": _CONNECTIONS, "rate": rate, "seconds": seconds}
        one[form][_ECHO] = beside_echo(wire, body, replies[form], engine, **asked)["p99_us"]
    return one
