"""What of the engine's throughput is left over the wire where the model is all the work."""

from benchmarks.engine.report import Section, Spread, Target, column, ratios
from benchmarks.wire.bodies import Body, grpc_raw, http_binary, http_json
from benchmarks.wire.setup import Wire

INFLIGHT = 16
SHARE = 0.97
ENGINE = "engine, in process"
_CLASSES = 10
_JUDGED = ("HTTP binary", "gRPC raw")


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


def measure(wire: Wire) -> Section:
    """In each round: the engine in process, every form over the wire, and the engine again.

    The load generator runs on the same cores, all of which the model could use: what it takes of them is
    lost however little the server adds. `at most` is what would be left if the server added nothing.
    """
    bodies = conv_bodies(wire)
    rounds = []
    for _ in range(wire.rounds):
        before = engine_closed(wire)
        one = {form: wire.load(wire.server, body, connections=INFLIGHT) for form, body in bodies.items()}
        after = engine_closed(wire)  # the machine's speed may drift over a round
        one[ENGINE] = {key: (value + after[key]) / 2 for key, value in before.items()}
        rounds.append(one)
    section = Section(
        f"conv net, {wire.engine.models['conv_net'].notes}, {INFLIGHT} connections: rows per second",
        ("way", "rows/s", "of the engine", "at most", "CPU µs a row", "load's CPU", "p50 ms", "p99 ms"),
        data={"settings": wire.conv_settings, "rounds": rounds},
    )
    base = column(rounds, ENGINE, "requests_per_second")
    engine_cpu = column(rounds, ENGINE, "cpu_us_per_request")
    section.rows.append((ENGINE, Spread.of(base).text(0), "", "", Spread.of(engine_cpu).text(0), "", "", ""))
    for form in bodies:
        rate = column(rounds, form, "requests_per_second")
        share = ratios(rate, base)
        times = [Spread.of(t / 1e3 for t in column(rounds, form, key)).text() for key in ("p50_us", "p99_us")]
        known = wire.server.pid is not None
        cpu = Spread.of(column(rounds, form, "server_cpu_us")).text(0) if known else "-"
        load_cpu = column(rounds, form, "own_cpu_us")
        most = Spread.of(own / (own + load) for own, load in zip(engine_cpu, load_cpu, strict=True))
        shares = (share.text(3), most.text(3))
        section.rows.append(
            (form, Spread.of(rate).text(0), *shares, cpu, Spread.of(load_cpu).text(0), *times)
        )
        if form in _JUDGED:
            section.targets.append(Target(f"{form}, rows/s of the engine's", share.median, ">=", SHARE))
    return section
