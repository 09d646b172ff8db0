"""How fast a body of a million floats is read: bytes per second of the server's CPU."""

from benchmarks.engine.report import Section, Spread, Target, column
from benchmarks.wire.bodies import grpc_raw, http_binary, http_json
from benchmarks.wire.servers import Server
from benchmarks.wire.setup import MILLION, Wire

LEAST = 300.0  # MB (10^6 bytes) of body per second of CPU
CONNECTIONS = 2
_JSON = "HTTP JSON"
_MB = "body_mb_per_cpu_second"


def measure(wire: Wire) -> Section:
    """Send it as JSON and, for comparison, as raw bytes and to a server that only receives it."""
    if wire.server.pid is None:
        raise RuntimeError("the server's CPU cannot be read: give --target-pid")
    model, row = wire.engine.models["million"], wire.engine.row("million")
    forms = {_JSON: http_json(model, row, 2), "HTTP binary": http_binary(model, row)}
    bodies = wire.heard({**forms, "gRPC raw": grpc_raw(model, row)})
    with wire.echo("beast_echo", wire.answer_bytes(bodies[_JSON])) as bare:
        ways: list[tuple[str, Server, str]] = [(form, wire.server, form) for form in bodies]
        ways.append(("HTTP JSON, beast_echo", bare, _JSON))
        rounds = []
        for _ in range(wire.rounds):
            one = {}
            for name, server, form in ways:
                got = wire.load(server, bodies[form], connections=CONNECTIONS)
                sent = got["requests"] * len(bodies[form].content)
                one[name] = {**got, _MB: sent / 1e6 / got["server_cpu_seconds"]}
            rounds.append(one)
    size = len(bodies[_JSON].content)
    section = Section(
        f"{MILLION:,} floats a request, {CONNECTIONS} connections: MB of body per second of the server's CPU",
        ("form", "MB per CPU second", "requests/s", "p50 ms"),
        notes=[f"the JSON has {size / 1e6:.1f} MB, {size / MILLION:.1f} bytes a number, no spaces"],
        data={"json_bytes": size, "rounds": rounds},
    )
    for name, _, _ in ways:
        megabytes = Spread.of(column(rounds, name, _MB)).text(0)
        rate = Spread.of(column(rounds, name, "requests_per_second")).text(1)
        half = Spread.of(t / 1e3 for t in column(rounds, name, "p50_us")).text(1)
        section.rows.append((name, megabytes, rate, half))
    read = Spread.of(column(rounds, _JSON, _MB)).median
    section.targets.append(Target("MB of JSON per CPU second", read, ">=", LEAST))
    return section
