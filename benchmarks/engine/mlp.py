"""What Falaj adds to a request of a model that costs next to nothing, asked from native threads."""

from typing import Any

from benchmarks.engine.report import Section, Spread, Target, column
from benchmarks.engine.setup import Setup, falaj_settings
from falaj import Engine

INFLIGHT = 64
CLIENTS = ("event-loop", "blocking", "callback")
ADDED_US = 3.0


def measure(setup: Setup) -> Section:
    """Run every client, and after each ONNX Runtime alone at the batch size that the client reached."""
    settings = mlp_settings(setup)
    rounds = [
        {client: one_client(setup, client, settings) for client in CLIENTS} for _ in range(setup.rounds)
    ]
    section = Section(
        f"mlp 32-64-64-2, one row a request, {INFLIGHT} in flight, native threads: CPU µs per request",
        ("client", "Falaj", "rows/batch", "ONNX Runtime alone", "added", "requests/s"),
        data={"settings": settings, "rounds": rounds},
    )
    for client in CLIENTS:
        section.rows.append(
            (
                client,
                Spread.of(column(rounds, client, "cpu_us_per_request")).text(),
                Spread.of(column(rounds, client, "rows_per_batch")).text(1),
                Spread.of(column(rounds, client, "bare_cpu_us")).text(),
                Spread.of(column(rounds, client, "added_us")).text(),
                Spread.of(column(rounds, client, "requests_per_second")).text(0),
            )
        )
        added = Spread.of(column(rounds, client, "added_us")).median
        section.targets.append(Target(f"CPU µs added per request, {client}", added, "<=", ADDED_US))
    return section


def mlp_settings(setup: Setup) -> dict[str, float]:
    """Return the engine's own choice, with room for batches of all that is in flight."""
    with Engine(setup.repository) as engine:
        chosen = falaj_settings(engine.describe("mlp"))
    return {**chosen, "max_batch": max(INFLIGHT, chosen["max_batch"])}


def one_client(setup: Setup, client: str, settings: dict[str, float]) -> dict[str, Any]:
    """Measure one client, then ONNX Runtime alone at its batch size on one thread."""
    result = setup.native("closed", "mlp", client=client, inflight=INFLIGHT, threads=2, **settings)
    rows = max(1, round(result["rows_per_batch"]))
    bare = setup.native("bare", "mlp", rows=rows, threads=1, intra_op=1, seconds=setup.seconds / 2)
    alone = bare["cpu_us_per_row"]
    return {**result, "bare_cpu_us": alone, "added_us": result["cpu_us_per_request"] - alone}
