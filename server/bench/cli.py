"""The command `falaj bench`. What it needs is imported when it runs."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from falaj._core import InvalidInput

if TYPE_CHECKING:
    from falaj.server.bench.run import Step
    from falaj.server.bench.target import Target

_FORMS = ("auto", "json", "binary")


def bench(
    url: Annotated[
        str, typer.Argument(metavar="URL", help="http://, https://, grpc:// or grpcs://HOST:PORT.")
    ],
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Its name.")],
    version: Annotated[str | None, typer.Option("--version", help="By default the server's choice.")] = None,
    concurrency: Annotated[
        str | None,
        typer.Option(metavar="N|N,…|FROM:TO:STEP|FROM:TO:2x", help="Requests under way at a time; 1."),
    ] = None,
    rate: Annotated[
        str | None,
        typer.Option(metavar="R|R,…|FROM:TO:STEP", help="Requests a second, whatever the server does."),
    ] = None,
    arrivals: Annotated[str, typer.Option(metavar="poisson|constant", help="Of --rate.")] = "poisson",
    connections: Annotated[int, typer.Option(help="Of --rate, at most.")] = 64,
    streams: Annotated[int, typer.Option(help="gRPC calls that share a connection.")] = 1,
    threads: Annotated[int, typer.Option(help="Of the load generator.")] = 1,
    form: Annotated[
        str,
        typer.Option(metavar="auto|json|binary", help="How HTTP carries tensors; auto: as the server can."),
    ] = "auto",
    batch: Annotated[int, typer.Option(help="Rows of a request.")] = 1,
    shape: Annotated[
        list[str] | None, typer.Option(metavar="NAME:SIZE,…", help="Of an input with variable dimensions.")
    ] = None,
    without: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="An input that is left out.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Inputs: V2 requests in .json, or arrays in .npz.")
    ] = None,
    sequence_length: Annotated[
        int | None,
        typer.Option(metavar="N", help="Requests are of sequences, of N in the mean: of stateful models."),
    ] = None,
    sequence_length_variation: Annotated[
        float | None, typer.Option(metavar="PERCENT", help="What a length may be off, at random; 20.")
    ] = None,
    sequence_ids: Annotated[
        str | None, typer.Option(metavar="START[:END]", help="Taken in turn; 1:4294967295.")
    ] = None,
    sequences: Annotated[
        int | None, typer.Option(metavar="N", help="Live at a time, with --rate; 4. Else --concurrency.")
    ] = None,
    shared_memory: Annotated[
        str,
        typer.Option(
            metavar="none|system", help="Tensors lie in shared memory; the server is on this machine."
        ),
    ] = "none",
    output_shared_memory_size: Annotated[
        int | None,
        typer.Option(metavar="BYTES", help="Of each output there; by default as its shape is, or 102400."),
    ] = None,
    parameter: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Of each request.")
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option(metavar="'NAME: VALUE'", help="Of each request, as for authentication."),
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(metavar="[NAME=]URL[,MODEL]", help="Another server in the same report, in turns."),
    ] = None,
    name: Annotated[str, typer.Option(help="What reports call the first server.")] = "",
    warm_up: Annotated[float, typer.Option(metavar="SECONDS", help="Before each load's figures.")] = 1.0,
    window: Annotated[float, typer.Option(metavar="SECONDS", help="Of one window.")] = 1.0,
    max_windows: Annotated[int, typer.Option(help="After so many it is taken as it is.")] = 10,
    stability: Annotated[
        str, typer.Option(metavar="SHARE", help="What three windows' throughput and p50 may be off.")
    ] = "10%",
    timeout: Annotated[float, typer.Option(metavar="SECONDS", help="Then a request has failed.")] = 10.0,
    ca_file: Annotated[
        str | None, typer.Option(metavar="FILE", help="PEM file of the authorities for https and grpcs.")
    ] = None,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a row for each load.")] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page with curves.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> int:
    """Measure how fast a V2 server answers, and at what latency.

    Closed loop (--concurrency): the next request goes out when one is answered. Open loop (--rate): requests
    come at a rate, and a latency counts from when its request should have been sent, so that a server that
    stops is seen to. The figures are those of the last three windows of time. Exits with 1 where a request
    failed, or a load could not be measured.
    """
    from falaj.server.bench import options
    from falaj.server.bench.machine import machine
    from falaj.server.bench.report import Report
    from falaj.server.bench.run import Windows, run
    from falaj.server.bench.target import Target

    if form not in _FORMS:
        raise InvalidInput(f"--form: expected auto, json or binary, got '{form}'")
    options.check_writable(csv, "--csv")
    options.check_writable(html, "--html")
    first = Target(
        url=url,
        model=model,
        version=version,
        form=form,  # type: ignore[arg-type]  # it is one of _FORMS
        batch_size=batch,
        shapes=options.shapes_of(shape or ()),
        data=data,
        without=tuple(without or ()),
        parameters=options.parameters_of(parameter or ()),
        headers=options.headers_of(header or ()),
        timeout_s=timeout,
        ca_file=ca_file,
        name=name,
        sequences=options.sequences_of(
            sequence_length, sequence_length_variation, sequence_ids, sequences, rate=rate
        ),
        shared_memory=options.shared_of(shared_memory, output_shared_memory_size, form),
        output_bytes=output_shared_memory_size,
    )
    loads = options.loads_of(
        concurrency, rate, arrivals=arrivals, connections=connections, streams=streams, threads=threads
    )
    windows = Windows(warm_up, window, max_windows, options.share_of(stability))
    with _progress(warm_up + window * max_windows) as tell:
        ran = run([first, *_others(first, against or ())], loads, windows, tell)
    settings: dict[str, Any] = {
        "batch": batch,
        "warm_up_s": warm_up,
        "window_s": window,
        "max_windows": max_windows,
        "stability": windows.stability,
        "timeout_s": timeout,
        **_settings_of(first, rate is not None),
    }
    report = Report(ran.points, settings, machine(), ran.problem)
    _write(report, csv, html, as_json)
    return 1 if report.failed or report.problem else 0


def _others(first: "Target", against: list[str] | tuple[()]) -> "Iterator[Target]":
    from falaj.server.bench.options import against_of

    for text in against:
        name, url, model = against_of(text, first.model)
        version = first.version if model == first.model else None
        yield replace(first, url=url, model=model, version=version, name=name)


def _settings_of(target: "Target", is_open: bool) -> dict[str, Any]:
    """What a report says of sequences and shared memory; nothing where there are none."""
    settings: dict[str, Any] = {}
    told = target.sequences
    if told is not None:
        settings["sequence_length"] = told.length
        settings["sequence_length_variation"] = told.variation
        settings["sequence_ids"] = f"{told.first_id}:{told.last_id}"
        settings["sequences"] = told.live if is_open else "concurrency"
    if target.shared_memory:
        settings["shared_memory"] = "system"
    return settings


def _write(report: Any, csv: Path | None, html: Path | None, as_json: bool) -> None:
    from falaj.server.bench.csv_report import csv_text
    from falaj.server.bench.html_report import html_text
    from falaj.server.bench.table import print_report

    if csv is not None:
        csv.write_text(csv_text(report), encoding="utf-8")
    if html is not None:
        html.write_text(html_text(report), encoding="utf-8")
    if as_json:
        print(json.dumps(report.plain(), ensure_ascii=False))
    else:
        print_report(report)


@contextmanager
def _progress(seconds: float) -> "Iterator[Callable[[Step], None] | None]":
    """A bar on standard error while the context lasts; none where that is no terminal.

    Args:
        seconds: A load takes at most.
    """
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    # Drawn when there is news only: a thread of its own would take CPU time that is being measured.
    with Progress(console=console, transient=True, auto_refresh=False) as bar:
        task = bar.add_task("connecting", total=1.0)

        def tell(step: "Step") -> None:
            share = min(1.0, step.progress.elapsed_s / seconds)
            told = _told(step)
            bar.update(task, completed=step.number + share, total=step.count, description=told, refresh=True)

        yield tell


def _told(step: "Step") -> str:
    from rich.markup import escape

    windows = step.progress.windows
    so_far = f", {windows[-1].throughput:,.0f}/s" if windows else ""
    load = step.load
    what = f"{load.concurrency} at a time" if load.arrivals == "closed" else f"{load.rate:,.10g}/s"
    return escape(f"{step.target.label}: {what}: {step.progress.phase} {len(windows) or ''}{so_far}")
