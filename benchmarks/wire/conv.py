"""What of the engine's throughput is left over the wire where the model is all the work."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from benchmarks.engine.report import Section, Spread, Target, column, ratios
from benchmarks.wire.bodies import Body, grpc_raw, http_binary, http_json
from benchmarks.wire.setup import Wire

INFLIGHT = 16
SHARE = 0.97
ENGINE = "engine, in process"
_CLASSES = 10
_JUDGED = ("HTTP binary", "gRPC raw")
_ECHO = {"http": "beast_echo", "grpc": "nghttp2_echo"}


def conv_bodies(wire: Wire) -> dict[str, Body]:
    """Return a row of the conv net, 12 KiB of floats, in each form."""
    model, row = wire.engine.models["conv_net"], wire.engine.row("conv_net")
    forms = {
        "HTTP binary": http_binary(model, row),
        "gRPC raw": grpc_raw(model, row),
        "HTTP JSON": http_json(model, row, _CLASSES),
    }
    return wire.heard(forms)


def engine_closed(wire: Wire) -> dict[str, float]:
    """Run the engine's native client with as much in flight, for as long."""
    return wire.engine.native(
        "closed", "conv_net", client="callback", inflight=INFLIGHT, threads=2, **wire.conv_settings
    )


def beside_echo(
    wire: Wire,
    body: Body,
    reply_bytes: int,
    engine: Callable[[], dict[str, float]],
    *,
    connections: int,
    rate: float,
    seconds: float | None = None,
) -> dict[str, float]:
    """Exchange a body with a server that only echoes, `rate` times a second, while `engine` works beside it.

    The engine takes the cores, and the caches, from an echo as from a server.
    """
    with wire.echo(_ECHO[body.protocol], reply_bytes) as bare, ThreadPoolExecutor(1) as pool:
        working = pool.submit(engine)
        exchange = wire.load(bare, body, connections=connections, rate=rate, seconds=seconds)
        working.result()
    return exchange


def measure(wire: Wire) -> Section:
    """In each round: the engine in process, every form over the wire, and the engine again.

    Both cores run the model all the time, so that what load generator and wire take of them is lost.
    `at most` is what would be left with a server that only echoes: of the CPU of a row, the engine's part of
    the sum of its own, this load generator's and a bare echo's.
    """
    bodies = conv_bodies(wire)
    replies = {form: wire.answer_bytes(body) for form, body in bodies.items()}
    rounds = []
    for _ in range(wire.rounds):
        before = engine_closed(wire)
        one = {form: wire.load(wire.server, body, connections=INFLIGHT) for form, body in bodies.items()}
        after = engine_closed(wire)  # the machine's speed may drift over a round
        for form, body in bodies.items():
            rate = one[form]["requests_per_second"]
            engine = partial(engine_closed, wire)
            echo = beside_echo(wire, body, replies[form], engine, connections=INFLIGHT, rate=rate)
            one[form]["echo_cpu_us"] = echo["server_cpu_us"]
        one[ENGINE] = {key: (value + after[key]) / 2 for key, value in before.items()}
        rounds.append(one)
    head = (
        "way",
        "rows/s",
        "of the engine",
        "at most",
        "CPU µs a row",
        "load's CPU",
        "an echo's",
        "p50 ms",
        "p99 ms",
    )
    section = Section(
        f"conv net, {wire.engine.models['conv_net'].notes}, {INFLIGHT} connections: rows per second",
        head,
        data={"settings": wire.conv_settings, "rounds": rounds},
    )
    base = column(rounds, ENGINE, "requests_per_second")
    engine_cpu = column(rounds, ENGINE, "cpu_us_per_request")
    row = (ENGINE, Spread.of(base).text(0), "", "", Spread.of(engine_cpu).text(0), "", "", "", "")
    section.rows.append(row)
    for form in bodies:
        _add_row(section, rounds, form, known=wire.server.pid is not None)
    return section


def _add_row(section: Section, rounds: list[dict[str, dict[str, float]]], form: str, *, known: bool) -> None:
    rate = column(rounds, form, "requests_per_second")
    share = ratios(rate, column(rounds, ENGINE, "requests_per_second"))
    load, echo = column(rounds, form, "own_cpu_us"), column(rounds, form, "echo_cpu_us")
    engine = column(rounds, ENGINE, "cpu_us_per_request")
    most = Spread.of(own / (own + ask + bare) for own, ask, bare in zip(engine, load, echo, strict=True))
    cpu = Spread.of(column(rounds, form, "server_cpu_us")).text(0) if known else "-"
    costs = (cpu, Spread.of(load).text(0), Spread.of(echo).text(0))
    times = [Spread.of(t / 1e3 for t in column(rounds, form, key)).text() for key in ("p50_us", "p99_us")]
    section.rows.append((form, Spread.of(rate).text(0), share.text(3), most.text(3), *costs, *times))
    if form in _JUDGED:
        section.targets.append(Target(f"{form}, rows/s of the engine's", share.median, ">=", SHARE))
