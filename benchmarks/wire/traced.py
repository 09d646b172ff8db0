"""What tracing costs: nothing sampled, and every request, beside a server that does not trace."""

import http.client
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from prometheus_client.parser import text_string_to_metric_families

from benchmarks.engine.report import Section, Spread, Target, column
from benchmarks.wire.bodies import Body, grpc_raw, http_binary, http_json
from benchmarks.wire.servers import Server, falaj_command, started
from benchmarks.wire.setup import Wire

_MOST_CPU_US = 2.0  # more, for a sampled request, its export included
_NEVER = 4_294_967_295  # one of so many
_CPU = "server_cpu_us"
_SAMPLED, _LOST = "falaj_trace_requests_total", "falaj_trace_dropped_total"
# How many connections, and streams of each.
_WAYS = {"64": (64, 1), "1 x 64 streams": (1, 64)}


def measure(wire: Wire) -> Section:
    """The same requests to three servers in turns: tracing off, on with nothing sampled, every request."""
    model, row = wire.engine.models["mlp"], wire.engine.row("mlp")
    cases = {"JSON, 64": (http_json(model, row, 2), 64, 1), "binary, 64": (http_binary(model, row), 64, 1)}
    cases |= {f"gRPC, {name}": (grpc_raw(model, row), *way) for name, way in _WAYS.items()}
    with ExitStack() as stack:
        collector = stack.enter_context(wire.echo("beast_echo", 0))
        servers = [
            stack.enter_context(_served(wire, "off")),
            stack.enter_context(_served(wire, "none of them", collector, _NEVER)),
            stack.enter_context(_served(wire, "every request", collector, 1)),
        ]
        rounds = [
            {name: _one(wire, servers, *case, turn) for name, case in cases.items()}
            for turn in range(wire.rounds)
        ]
    section = Section(
        "tracing, mlp 32-64-64-2, one row a request: CPU µs of the server per request, by what is sampled",
        ("form, connections", "sampled", "CPU µs", "more than off", "requests/s", "p99 ms", "spans lost"),
        notes=["the CPU of the export, OTLP by HTTP, is the server's, that of the collector is not"],
        data={"rounds": rounds},
    )
    for name in cases:
        _add_rows(section, rounds, name, [server.name for server in servers])
    return section


@contextmanager
def _served(wire: Wire, name: str, collector: Server | None = None, rate: int = 1) -> Iterator[Server]:
    command = [*falaj_command(wire.folder / "models", wire.io_threads), "--load", "mlp"]
    if collector is not None:
        url = f"http://{collector.host}:{collector.ports['http']}"
        values = {"enabled": "true", "endpoint": url, "rate": str(rate)}
        command += [part for key, value in values.items() for part in ("--set", f"tracing.{key}={value}")]
    with started(name, command) as server:
        yield server


def _one(
    wire: Wire, servers: list[Server], body: Body, connections: int, streams: int, turn: int
) -> dict[str, dict[str, float]]:
    found = {}
    for server in servers[turn % len(servers) :] + servers[: turn % len(servers)]:
        before = _traced(server)
        found[server.name] = wire.load(server, body, connections=connections, streams=streams)
        after = _traced(server)
        sampled, lost = (after[name] - before[name] for name in (_SAMPLED, _LOST))
        found[server.name]["lost_share"] = lost / sampled if sampled else 0.0
    return found


def _traced(server: Server) -> dict[str, float]:
    """The counters of tracing."""
    connection = http.client.HTTPConnection(server.host, server.ports["metrics"], timeout=10)
    connection.request("GET", "/metrics")
    page = connection.getresponse().read().decode()
    connection.close()
    found = {_SAMPLED: 0.0, _LOST: 0.0}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.name in found:
                found[sample.name] += sample.value
    return found


def _add_rows(
    section: Section, rounds: list[dict[str, dict[str, dict[str, float]]]], name: str, servers: list[str]
) -> None:
    off = column(rounds, name, servers[0], _CPU)
    for server in servers:
        cpu = column(rounds, name, server, _CPU)
        more = Spread.of(a - b for a, b in zip(cpu, off, strict=True))
        lost = Spread.of(100 * share for share in column(rounds, name, server, "lost_share"))
        section.rows.append(
            (
                name if server == servers[0] else "",
                server,
                Spread.of(cpu).text(1),
                "" if server == servers[0] else more.text(2),
                Spread.of(column(rounds, name, server, "requests_per_second")).text(0),
                Spread.of(p99 / 1e3 for p99 in column(rounds, name, server, "p99_us")).text(),
                f"{lost.text(1)} %" if server == servers[-1] else "",
            )
        )
        if server == servers[-1]:
            target = f"CPU µs more for a sampled request, {name}"
            section.targets.append(Target(target, more.median, "<=", _MOST_CPU_US))
