"""CPU per request of a model that costs next to nothing, beside servers that only echo."""

from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks.engine.report import Section, Spread, Target, column, ratios
from benchmarks.wire.bodies import Body, grpc_raw, http_binary, http_json
from benchmarks.wire.servers import Server
from benchmarks.wire.setup import Wire

MOST = 1.5  # times the CPU of the bare server
_JUDGED = 16  # requests under way at least: one at a time is all wake-ups
_CPU = "server_cpu_us"
_IN_PROCESS = {"in process, 16 in flight": 16, "in process, 64 in flight": 64}
# NVIDIA Triton's C++ server: CPU µs per request, p50 and p99 in ms, at 1, 16 and 64 connections.
_TRITON = {
    "http": "CPU 173 / 74-80 / 64-81 µs, p50 0.20 / 0.85 / 2.7-3.0 ms, p99 0.32 / 2.0 / 7.8 ms",
    "grpc": "CPU 267 / 78-99 / 85-110 µs",
}
Rounds = list[dict[str, dict[str, dict[str, float]]]]  # by round, case and server


@dataclass(frozen=True)
class Case:
    """One way of asking. `bare` are the servers beside it; the first is the one that the target names."""

    form: str
    body: Body
    connections: int
    streams: int
    bare: tuple[Server, ...]

    @property
    def name(self) -> str:
        """Return it for people."""
        streams = f" x {self.streams} streams" if self.streams > 1 else ""
        return f"{self.form}, {self.connections}{streams}"

    @property
    def judged(self) -> bool:
        """Whether a target is set for it."""
        return self.connections * self.streams >= _JUDGED


def measure_http(wire: Wire) -> Section:
    """JSON and binary tensors over HTTP/1.1, beside Boost.Beast."""
    row, model = wire.engine.row("mlp"), wire.engine.models["mlp"]
    bodies = {"JSON": http_json(model, row, 2), "binary": http_binary(model, row)}
    with ExitStack() as stack:
        cases = []
        for form, body in bodies.items():
            bare = stack.enter_context(wire.echo("beast_echo", wire.answer_bytes(body)))
            cases += [Case(form, body, connections, 1, (bare,)) for connections in (1, 16, 64)]
        return _measure(wire, "http", "HTTP/1.1", cases)


def measure_grpc(wire: Wire) -> Section:
    """Raw tensors over gRPC, beside nghttp2, and beside grpc++ where it was built."""
    body = grpc_raw(wire.engine.models["mlp"], wire.engine.row("mlp"))
    reply = wire.answer_bytes(body)
    with ExitStack() as stack:
        programs = [name for name in ("nghttp2_echo", "grpcpp_echo") if (wire.programs / name).is_file()]
        bare = tuple(stack.enter_context(wire.echo(name, reply)) for name in programs)
        ways = ((1, 1), (16, 1), (64, 1), (1, 64))
        cases = [Case("raw", body, connections, streams, bare) for connections, streams in ways]
        return _measure(wire, "grpc", "gRPC", cases)


def _measure(wire: Wire, key: str, title: str, cases: list[Case]) -> Section:
    rounds = [
        {case.name: _one(wire, case, turn) for case in cases} | _without_wire(wire)
        for turn in range(wire.rounds)
    ]
    section = Section(
        f"{title}, mlp 32-64-64-2, one row a request, its run included: CPU µs of the server per request",
        ("form, connections", "server", "CPU µs", "times bare", "requests/s", "p50 ms", "p99 ms"),
        notes=[f"for scale, NVIDIA Triton on 2 cores, in another run: {_TRITON[key]}; the goal is a quarter"],
        data={"rounds": rounds},
    )
    for case in cases:
        _add_rows(section, rounds, case, wire.server)
    for name in _IN_PROCESS:
        cpu, rate = (
            column(rounds, name, "engine", key) for key in ("cpu_us_per_request", "requests_per_second")
        )
        section.rows.append((name, "engine", Spread.of(cpu).text(1), "", Spread.of(rate).text(0), "", ""))
    return section


def _without_wire(wire: Wire) -> dict[str, dict[str, dict[str, float]]]:
    """The same requests from one event loop in the engine's own process: the cost that is not the wire's."""
    return {
        name: {
            "engine": wire.engine.native("closed", "mlp", client="event-loop", inflight=inflight, threads=1)
        }
        for name, inflight in _IN_PROCESS.items()
    }


def _one(wire: Wire, case: Case, turn: int) -> dict[str, dict[str, float]]:
    servers = [*case.bare, wire.server]
    if turn % 2 == 1:  # so that neither has always the other's heat behind it
        servers.reverse()
    asked = {"connections": case.connections, "streams": case.streams}
    return {server.name: wire.load(server, case.body, **asked) for server in servers}


def _add_rows(section: Section, rounds: Rounds, case: Case, server: Server) -> None:
    def figure(of: Server, name: str) -> list[float]:
        return column(rounds, case.name, of.name, name)

    base = case.bare[0]
    for of in (server, *case.bare):
        known = of.pid is not None
        cpu = Spread.of(figure(of, _CPU)).text(1) if known else "-"
        times = ratios(figure(of, _CPU), figure(base, _CPU)) if known and of is not base else None
        section.rows.append(
            (
                case.name if of is server else "",
                of.name,
                cpu,
                times.text() if times else "",
                Spread.of(figure(of, "requests_per_second")).text(0),
                _milliseconds(figure(of, "p50_us")),
                _milliseconds(figure(of, "p99_us")),
            )
        )
        if of is server and times and case.judged:
            name = f"CPU of {section.title.partition(',')[0]} {case.name}, times {base.name}"
            section.targets.append(Target(name, times.median, "<=", MOST))


def _milliseconds(microseconds: list[float]) -> str:
    return Spread.of(figure / 1e3 for figure in microseconds).text()
