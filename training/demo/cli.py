"""The command `falaj demo`: from files of flights to answers by key, and how good they are."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from falaj.training.demo.outcome import Outcome
    from falaj.training.demo.server import Served

Port = Annotated[int, typer.Option(metavar="N", min=0, help="Of the server; 0: a free one.")]


def demo(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Made anew.")] = Path("falaj-demo"),
    until: Annotated[
        str, typer.Option(metavar="TIME", help="Replays flights that are asked about before then.")
    ] = "2013-08-01T00:00:00Z",
    trials: Annotated[int, typer.Option(metavar="N", min=0, help="Of tuning.")] = 6,
    ends: Annotated[bool, typer.Option("--exit", help="Stop the server at the end.")] = False,
    http_port: Port = 0,
    grpc_port: Port = 0,
    metrics_port: Port = 0,
) -> int:
    """Train on a year of real flights, serve, and replay July by HTTP and gRPC.

    Will a flight leave more than 15 minutes late, asked two hours before? All that is known is looked up by
    its carrier, airports and tail number. Ends with 0 where every answer is what training has for the flight.
    """
    from falaj.training.demo import server, steps

    begin = time.perf_counter()
    server.stop(folder)
    steps.prepare(folder, _say)
    for step in steps.steps(trials):
        seconds = steps.run(step, folder, _say)
        typer.echo(f"({seconds:.1f} s)\n")
    ports = (http_port, grpc_port, metrics_port)
    served = server.start(folder, steps.serve_flags(ports))
    stays = False
    try:
        good = _replay_and_tell(folder, served, until)
        minutes = (time.perf_counter() - begin) / 60
        _say(f"All of it took {minutes:.1f} minutes.")
        stays = not ends
    finally:
        if not stays:
            server.stop(folder)
    if stays:
        _tell_where(served)
    return 0 if good else 1


def _replay_and_tell(folder: Path, served: "Served", until: str) -> bool:
    from falaj.training.demo.data import TRAINED_AT
    from falaj.training.demo.outcome import outcome_of
    from falaj.training.demo.replay import Pusher, Transport, replay, waves
    from falaj.training.demo.screen import latencies, shown
    from falaj.training.demo.steps import MODEL
    from falaj.training.demo.transports import Grpc, Http

    _say(
        f"Replay the time from {TRAINED_AT} to {until}: what became known is pushed, and each flight asked\n"
        f"about two hours before it was to leave, by HTTP ({served.http}) and gRPC ({served.grpc}) in turn"
    )
    all_waves = waves(folder / "data", TRAINED_AT, until)
    total = sum(len(wave.asked) for wave in all_waves)
    transports: list[Transport] = [Http(served.http, MODEL), Grpc(served.grpc, MODEL)]
    begin = time.perf_counter()
    with shown(total, transports, _say) as tell:
        done = replay(all_waves, Pusher(served.http).push, transports, tell)
    seconds = time.perf_counter() - begin
    rate = f"{total / seconds:,.0f} flights/s"
    _say(f"{total:,} flights and {done.pushed:,} pushed rows in {seconds:.1f} s: {rate}")
    for each in transports:
        typer.echo(f"  {each.name}: {latencies(each)}")
    outcome = outcome_of(folder, done)
    _tell_outcome(outcome)
    return outcome.equal


def _tell_outcome(outcome: "Outcome") -> None:
    from rich.console import Console
    from rich.table import Table

    from falaj.training.demo.outcome import BOUND

    _say(
        f"{outcome.within:,} of {outcome.asked:,} served answers are what training has for the flight, "
        f"within {BOUND:g} (largest difference {outcome.largest:.1e}); their AUC: {outcome.auc:.4f}"
    )
    title = "AUC of training's model, and of scikit-learn's without the rolling features"
    table = Table("2013", "flights", "late", "AUC", "AUC without", title=title, title_justify="left")
    for month in outcome.months:
        figures: list[Any] = [f"{month.month:02d}", f"{month.flights:,}", f"{month.late:.1%}"]
        table.add_row(*figures, f"{month.auc:.4f}", f"{month.plain_auc:.4f}")
    Console().print(table)


def _tell_where(served: "Served") -> None:
    from falaj.training.demo.steps import MODEL

    _say(
        f"The server stays: http://127.0.0.1:{served.http}/v2/models/{MODEL}, gRPC on port {served.grpc},\n"
        f"administration at http://127.0.0.1:{served.metrics}/docs, metrics at :{served.metrics}/metrics.\n"
        f"End it with: kill {served.pid}"
    )


def _say(text: str) -> None:
    typer.secho(text, bold=True)
